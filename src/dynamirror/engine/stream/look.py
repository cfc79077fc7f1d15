"""What a mirror's tables and stream tell of it: whoever may read them learns it, wherever the
engine runs. What it means is ``observe``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dynamirror.config.model import Mirror, Side
from dynamirror.core.facts import Copying, Facts, Report, ShardFacts, Verified
from dynamirror.core.lineage import Shard
from dynamirror.core.rows import plain
from dynamirror.core.values import Wire
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.reported import reported, reports
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table, describe
from dynamirror.engine.stream.checkpoints import Checkpoints, Known
from dynamirror.engine.stream.history import oldest_ms, read_elsewhere, shards_of, why_lost
from dynamirror.engine.tables.findings import label
from dynamirror.engine.writing.viewed import changed_views
from dynamirror.errors import NotFoundError
from dynamirror.ports import DynamoDB


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    table: Table
    shards: Sequence[Shard]
    known: Known
    parts: Sequence[Wire]
    """Of a backfill that is underway: rows of how far its parts have come."""
    parked_keys: int
    unversioned_keys: int = 0
    now_ms: int


async def look(
    mirror: Mirror,
    source: DynamoDB,
    checkpoints: Checkpoints,
    parking: Parking,
    *,
    now_ms: int,
    is_dead: Callable[[str], bool],
    backoff: Backoff,
) -> Facts:
    """Look at a mirror; ``is_dead`` tells of a lease's owner whether it has surely ended.

    Raises NotFoundError if its source is not there.
    """
    table = await describe(source, mirror.source.table, backoff)
    if table is None:
        raise NotFoundError(
            "ResourceNotFoundException", f"mirror {mirror.title}: no table {label(mirror.source)}"
        )
    known = _without_dead(await _known(checkpoints), is_dead)
    seen = Seen(
        table=table,
        shards=await shards_of(source, table.stream, backoff),
        known=known,
        parts=await _parts(checkpoints, known),
        parked_keys=await parking.count(),
        unversioned_keys=len(await reported(mirror, checkpoints)) if reports(mirror) else 0,
        now_ms=now_ms,
    )
    return facts_of(mirror, seen)


def facts_of(mirror: Mirror, seen: Seen) -> Facts:
    """Return what was seen as numbers and texts."""
    known, now_ms = seen.known, seen.now_ms
    lease = known.lease if known.lease and known.lease["until_ms"] > now_ms else None
    return Facts(
        at_ms=now_ms,
        mirror=mirror.title,
        name=mirror.name,
        link=mirror.link,
        source=label(mirror.source),
        source_name=mirror.source.name,
        targets={place.name: label(place) for place in mirror.targets},
        two_way=isinstance(mirror, Side),
        stream=seen.table.stream,
        started=bool(known.streams),
        elsewhere=read_elsewhere(known),
        lost=why_lost(known, seen.table.stream, seen.shards, now_ms),
        stopped=known.stopped,
        held_by=lease["owner"] if lease else None,
        report=_report(lease["report"]) if lease else None,
        oldest_ms=oldest_ms(known, seen.shards),
        parked_keys=seen.parked_keys,
        changed_views=changed_views(mirror, known),
        unversioned_keys=seen.unversioned_keys,
        pauses=list(known.pauses_at(now_ms).values()),
        limit_per_second=known.limit_per_second,
        shards=_shards(known, seen.shards),
        backfill=_copying(known.backfill, seen.parts, seen.table.items),
        verified=_verified(known.verified),
    )


def _shards(known: Known, listed: Sequence[Shard]) -> list[ShardFacts]:
    """Tell of every shard that is listed, and of those that we still know."""
    there = {shard.shard_id: shard for shard in listed}
    gone = [
        Shard(name, position.parent, closed=True)
        for name, position in sorted(known.positions.items())
        if name not in there
    ]
    told = []
    for shard in [*gone, *listed]:
        position = known.positions.get(shard.shard_id)
        number = position.sequence_number if position else None
        told.append(
            ShardFacts(
                shard=shard.shard_id,
                parent=shard.parent,
                closed=shard.closed,
                listed=shard.shard_id in there,
                sequence_number=None if number is None else str(number),
                done=position.done if position else False,
                read_until_ms=position.read_until_ms if position else None,
            )
        )
    return told


def _copying(row: dict[str, Any] | None, parts: Sequence[Wire], expected: int) -> Copying | None:
    """Tell of a backfill from its row and those of its parts; see ``shares``, ``positions``."""
    if row is None:
        return None
    begun = [entry.split("@") for entry in row.get("begun", ())]
    began_ms = {int(text): int(ms) for _, ms, text in begun}
    copied = [plain(wire) for wire in parts]
    so_far = sum(one["items"] for one in copied if one["begun"] in began_ms)
    return Copying(
        began_ms=min(began_ms.values(), default=row["attempt"]),
        finished_ms=row.get("finished_ms"),
        items=row.get("items", so_far),
        expected_items=expected,
        shares_done=len(row["shares"]),
        shares=max((int(name.partition("/")[2]) for name, *_ in begun), default=0),
    )


async def _parts(checkpoints: Checkpoints, known: Known) -> list[Wire]:
    """Read how far a backfill's parts have come, if one is underway."""
    if known.backfill is None or "finished_ms" in known.backfill:
        return []
    return list((await checkpoints.beside("backfill").rows()).values())


def _verified(row: dict[str, Any] | None) -> Verified | None:
    try:
        return None if row is None else msgspec.convert(row, type=Verified)
    except msgspec.ValidationError:  # another version's
        return None


def _report(text: str) -> Report | None:
    """Return a holder's report; None in its first seconds, and from another version."""
    try:
        return msgspec.json.decode(text, type=Report)
    except msgspec.DecodeError:
        return None


async def _known(checkpoints: Checkpoints) -> Known:
    try:
        return await checkpoints.load()
    except NotFoundError:  # before `init`
        return Known()


def _without_dead(known: Known, is_dead: Callable[[str], bool]) -> Known:
    if known.lease is not None and is_dead(known.lease["owner"]):
        return msgspec.structs.replace(known, lease=None)
    return known
