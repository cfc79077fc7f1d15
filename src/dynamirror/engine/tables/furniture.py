"""What the tables of a mirror are like beside their items: what ``init`` and ``check`` compare.

``observe`` looks at all of them. What a server doesn't know, or these credentials may not see, is
None: nothing is concluded from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Mirror, Place, Transport
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.source import Table, describe
from dynamirror.engine.tables.needs import spot, tables_of_ours
from dynamirror.errors import AccessDeniedError, RefusedError
from dynamirror.ports import DynamoDB

ApiOf = Callable[[Place, Transport], DynamoDB]

AWS_TAGS = "aws:"
"""Tags that begin so are AWS's own and can't be set (DynamoDB Developer Guide, 'Tagging')."""


class Recovery(msgspec.Struct, frozen=True):
    """Point-in-time recovery."""

    on: bool
    days: int | None = None
    """How far back it reaches; None where that is off or not told."""


class Seen(msgspec.Struct, frozen=True):
    """What was observed of one table; ``table`` is None if there is none."""

    table: Table | None = None
    expires_by: str | None = None
    """The attribute by which its items expire."""
    recovery: Recovery | None = None
    tags: Mapping[str, str] | None = None


World = Mapping[Place, Seen]
"""By ``spot``: the tables that some mirrors have to do with."""


async def observe(mirrors: Sequence[Mirror], api_of: ApiOf, backoff: Backoff) -> World:
    """Look at every table that the mirrors have to do with."""
    users: dict[Place, Transport] = {}
    ours: dict[Place, Transport] = {}
    for mirror in mirrors:
        for place in (mirror.source, *mirror.targets):
            users.setdefault(spot(place), mirror.transport)
        for table in tables_of_ours(mirror):
            ours.setdefault(table.place, mirror.transport)
    seen = await asyncio.gather(
        *(see(api_of(place, transport), place, backoff) for place, transport in users.items()),
        *(
            see(api_of(place, transport), place, backoff, ours=True)
            for place, transport in ours.items()
        ),
    )
    return dict(zip((*users, *ours), seen, strict=True))


async def see(api: DynamoDB, place: Place, backoff: Backoff, *, ours: bool = False) -> Seen:
    """Look at one table; of ours, only at what its rows need."""
    table = await describe(api, place.table, backoff)
    if table is None:
        return Seen()
    expires_by = await expiry(api, place.table, backoff)
    if ours:
        return Seen(table, expires_by)
    return Seen(
        table,
        expires_by,
        await recovery_of(api, place.table, backoff),
        await tags_of(api, table, backoff),
    )


async def expiry(api: DynamoDB, table: str, backoff: Backoff) -> str | None:
    """Return the attribute by which a table's items expire; None where that is off or untold."""
    answer = await _told(api, "DescribeTimeToLive", {"TableName": table}, backoff)
    told = (answer or {}).get("TimeToLiveDescription", {})
    on = told.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return told.get("AttributeName") if on else None


async def recovery_of(api: DynamoDB, table: str, backoff: Backoff) -> Recovery | None:
    """Return a table's point-in-time recovery; None where that isn't told."""
    answer = await _told(api, "DescribeContinuousBackups", {"TableName": table}, backoff)
    if answer is None:
        return None
    told = answer.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
    on = told.get("PointInTimeRecoveryStatus") == "ENABLED"
    return Recovery(on, told.get("RecoveryPeriodInDays") if on else None)


async def tags_of(api: DynamoDB, table: Table, backoff: Backoff) -> dict[str, str] | None:
    """Return the tags that somebody has set; None where they aren't told."""
    request: Wire = {"ResourceArn": table.description.get("TableArn", "")}
    tags: dict[str, str] = {}
    while True:
        answer = await _told(api, "ListTagsOfResource", request, backoff)
        if answer is None:
            return None
        tags.update((tag["Key"], tag["Value"]) for tag in answer.get("Tags", ()))
        if "NextToken" not in answer:
            return {name: text for name, text in tags.items() if not name.startswith(AWS_TAGS)}
        request["NextToken"] = answer["NextToken"]


async def _told(api: DynamoDB, operation: str, request: Wire, backoff: Backoff) -> Wire | None:
    """Return an answer; None where we may not ask (as of another account's table) or the server
    doesn't know the operation.
    """
    body = encode(request)
    try:
        return decode(await persist(lambda: api.call(operation, body), backoff))
    except (AccessDeniedError, RefusedError):
        return None
