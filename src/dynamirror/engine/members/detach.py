"""Take our attributes from the items of a mirror that is given up: the stamp, or guard item's mark.

Nothing else of an item is touched, and only where the attribute still is as it was read. Each of
these updates makes a record in the table's stream, which a consumer could not tell from a write
that an application made; so history counts as lost from before the first on, and no engine starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Guard, Mirror, Place, Side
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.source import described
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.writing.limiter import Pace
from dynamirror.errors import ConditionFailedError
from dynamirror.ports import DynamoDB

PASSES_MAX = 8
"""An item that is saved as often as this while we look is left, and told."""

WRITES_AT_ONCE = 64

WHY = (
    "the mirror was detached and its attributes were taken from the items, which the stream shows"
    " as writes: to mirror again, turn the tables' streams off, run `dynamirror init` and backfill"
)


class Stripped(msgspec.Struct, frozen=True):
    """How far it has come."""

    items: int = 0
    """Items that have lost our attribute."""
    left: int = 0
    """Items that were saved each time between our look and our write."""
    seen: int = 0
    """Items read."""
    expected_items: int = 0
    """About how many there are; the service counts them every six hours."""


def attribute_of(mirror: Mirror) -> str | None:
    """Return our attribute on the items that a mirror writes; None: there is none."""
    if isinstance(mirror, Side):
        return mirror.stamp_attribute
    return mirror.sequence_attribute if mirror.guard is Guard.ITEM else None


def written_by(mirrors: Sequence[Mirror]) -> list[Place]:
    """Return the tables whose items have it: all replicas, or all targets."""
    first = mirrors[0]
    return list(first.replicas if isinstance(first, Side) else first.targets)


class Detach:
    """Strips one mirror's tables."""

    def __init__(
        self,
        mirrors: Sequence[Mirror],
        apis: Mapping[str, DynamoDB],
        consumers: Sequence[tuple[Checkpoints, Lease]],
        *,
        backoff: Backoff,
        per_second: float | None = None,
    ) -> None:
        """``mirrors``: one, or all sides; ``consumers``: whose leases are needed, one for each."""
        self._places = written_by(mirrors)
        self._attribute = attribute_of(mirrors[0])
        self._apis = apis
        self._consumers = consumers
        self._backoff = backoff
        self._pace = Pace(per_second) if per_second else None
        self._told = Stripped()

    async def run(self, on_progress: Callable[[Stripped], None]) -> Stripped:
        """Strip all. Raises HeldError while an engine runs, or starts meanwhile."""
        leases = [lease for _, lease in self._consumers]
        held: list[Lease] = []
        keeping: list[asyncio.Task[None]] = []
        try:
            for lease in leases:
                await lease.acquire()
                held.append(lease)
                keeping.append(asyncio.create_task(lease.keep(lambda: "")))
            for checkpoints, _ in self._consumers:
                known = await checkpoints.load()
                if known.streams and known.lost is None:
                    await checkpoints.lose(known, WHY)
            for place in self._places:
                await self._strip(place, keeping, on_progress)
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await asyncio.shield(asyncio.gather(*(lease.release() for lease in held)))
        return self._told

    async def _strip(
        self,
        place: Place,
        keeping: Sequence[asyncio.Task[None]],
        on_progress: Callable[[Stripped], None],
    ) -> None:
        table = await described(self._apis[place.name], place.table, self._backoff)
        self._tell(expected_items=self._told.expected_items + table.items)
        changed = 0
        for attempt in range(PASSES_MAX):
            changed = 0
            async for page, seen in self._pages(place, table.key_names):
                for task in keeping:
                    if task.done():
                        task.result()
                for at in range(0, len(page), WRITES_AT_ONCE):
                    some = page[at : at + WRITES_AT_ONCE]
                    done = await asyncio.gather(*(self._take(place, item) for item in some))
                    changed += done.count(False)
                    self._tell(items=self._told.items + done.count(True))
                self._tell(seen=self._told.seen + (0 if attempt else seen))
                on_progress(self._told)
            if not changed:
                return
        self._tell(left=self._told.left + changed)

    async def _pages(
        self, place: Place, names: Sequence[str]
    ) -> AsyncIterator[tuple[list[Wire], int]]:
        """Yield the keys and our attribute of the items that have it, and how many were read."""
        aliases = {f"#k{at}": name for at, name in enumerate(names)}
        request: Wire = {
            "TableName": place.table,
            "ConsistentRead": True,
            "FilterExpression": "attribute_exists(#a)",
            "ProjectionExpression": ", ".join([*aliases, "#a"]),
            "ExpressionAttributeNames": {**aliases, "#a": self._attribute},
        }
        while True:
            answer = decode(await self._call(place, "Scan", request))
            yield answer["Items"], answer["ScannedCount"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _take(self, place: Place, item: Wire) -> bool:
        """Take it from one item; False if that was changed since it was read."""
        if self._pace is not None:
            await self._pace.take(1)
        name = self._attribute or ""
        request = {
            "TableName": place.table,
            "Key": {key: value for key, value in item.items() if key != name},
            "UpdateExpression": "REMOVE #a",
            "ConditionExpression": "#a = :a",
            "ExpressionAttributeNames": {"#a": name},
            "ExpressionAttributeValues": {":a": item[name]},
        }
        try:
            await self._call(place, "UpdateItem", request)
        except ConditionFailedError:
            return False
        return True

    async def _call(self, place: Place, operation: str, request: Wire) -> bytes:
        api, body = self._apis[place.name], encode(request)
        return await persist(lambda: api.call(operation, body), self._backoff)

    def _tell(self, **changes: int) -> None:
        self._told = msgspec.structs.replace(self._told, **changes)
