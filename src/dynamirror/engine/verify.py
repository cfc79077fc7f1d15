"""Compare a source with its targets, item by item, while all are written.

Both tables are scanned once, side by side and eventually consistent, and their items are brought
together by key (``join``): no way of reading both is cheaper. Where the target holds far more than
the source, the source's items can be looked up there instead. What differs is only a suspicion,
settled by strongly consistent reads (``suspects``). Memory holds pages and suspects, never a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Deletes, Place, Side
from dynamirror.core.drift import End, Sight, sampled
from dynamirror.core.prices import read_units
from dynamirror.core.rank import Peers
from dynamirror.core.stamp import Marks
from dynamirror.engine.checkpoints import Checkpoints
from dynamirror.engine.compared import EVERYTHING, Compared, Estimate, Method, Scope
from dynamirror.engine.join import Join
from dynamirror.engine.lag import Lag
from dynamirror.engine.lease import Lease
from dynamirror.engine.links import Links
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table, described
from dynamirror.engine.suspects import Drift, Suspects
from dynamirror.ports import Clock, DynamoDB

SEGMENTS = 4
"""Of each table, scanned at the same time."""

VERIFIED_ROW = "#verified"
"""By the checkpoints: when the whole tables were compared last, and what was found."""


class _Pair(msgspec.Struct, frozen=True):
    """A source and one target."""

    sight: Sight
    reads: tuple[Reads, Reads]
    """The source's, the target's; see ``End``."""
    suspects: Suspects


async def _nobody(drifts: Sequence[Drift]) -> None:
    """Do nothing more about what was found."""


class Verifier:
    """Compares one mirror's source with each of its targets."""

    def __init__(
        self,
        links: Links,
        source: DynamoDB,
        targets: Mapping[str, DynamoDB],
        engines: Sequence[tuple[Checkpoints, Lease]],
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        """``engines``: whose lag matters, the source's and those of other replicas."""
        self._links = links
        self._source = source
        self._targets = targets
        self._lag = Lag(engines, clock)
        self._clock = clock
        self._backoff = backoff
        self._scope = EVERYTHING
        self._on_drift: Callable[[Drift], None] = lambda _: None
        self._on_progress: Callable[[Compared], None] = lambda _: None
        self._on_drifts: Callable[[Sequence[Drift]], Awaitable[None]] = _nobody
        self._counts = {"missing": 0, "extra": 0, "different": 0}
        self._pairs: list[_Pair] = []
        self._items = 0
        self._expected = 0

    async def estimate(self, scope: Scope = EVERYTHING) -> Estimate:
        """Return what a comparison is going to read."""
        mirror = self._links.mirror
        source = await described(self._source, mirror.source.table, self._backoff)
        share = 1 / scope.segment[1]
        items, total, units = 0, 0, 0.0
        for place in mirror.compared:
            target = await described(self._targets[place.name], place.table, self._backoff)
            items += int(source.items * share)
            for one, other in ((source, target), (target, source)):
                if one is target and scope.method is Method.LOOKUP and not self._extras:
                    break
                total += int(one.bytes * share)
                units += read_units(one.bytes, consistent=scope.consistent) * share
                if scope.method is Method.LOOKUP:
                    looked_up = one.items * share * min(1.0, scope.sample)
                    size = other.bytes / max(1, other.items)
                    units += looked_up * read_units(size, consistent=scope.consistent)
        return Estimate(items, total, units)

    async def run(
        self,
        on_drift: Callable[[Drift], None],
        on_progress: Callable[[Compared], None],
        scope: Scope = EVERYTHING,
        *,
        on_drifts: Callable[[Sequence[Drift]], Awaitable[None]] = _nobody,
    ) -> Compared:
        """Compare what the scope says; ``on_drift`` is told of each difference that stays.

        ``on_drifts`` is awaited with the same, some at a time: to repair them, say.
        """
        self._on_drift, self._on_progress, self._on_drifts = on_drift, on_progress, on_drifts
        self._scope = scope
        mirror = self._links.mirror
        table = await described(self._source, mirror.source.table, self._backoff)
        self._expected = table.items * len(mirror.compared) // scope.segment[1]
        for place in mirror.compared:
            pair = self._pair(place, table)
            self._pairs.append(pair)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pair.suspects.run())
                if scope.method is Method.SCAN:
                    await self._join(pair)
                else:
                    await self._look_up(pair)
                pair.suspects.close()
        compared = self._compared()
        self._on_progress(compared)
        return compared

    @property
    def _extras(self) -> bool:
        """Whether what only a target has is drift; else the source may have deleted it."""
        mirror = self._links.mirror
        return {mirror.deletes, mirror.ttl_deletes} == {Deletes.MIRROR}

    def _pair(self, place: Place, table: Table) -> _Pair:
        mirror, names = self._links.mirror, table.key_names
        sight = Sight(
            mirror.source.name,
            place.name,
            (*self._links.ours, mirror.sequence_attribute),
            marks_of(mirror) if isinstance(mirror, Side) else None,
            self._extras,
            self._scope.keys_only,
        )
        api = self._targets[place.name]
        reads = (
            Reads(self._source, mirror.source.table, names, self._backoff),
            Reads(api, place.table, names, self._backoff),
        )
        suspects = Suspects(
            sight,
            reads,
            lag_ms=self._lag.ms,
            settle_ms=int(self._scope.settle_s * 1_000),
            clock=self._clock,
            on_drift=self._found,
        )
        return _Pair(sight, reads, suspects)

    @property
    def _segments(self) -> list[tuple[int, int]]:
        number, count = self._scope.segment
        return [
            (segment, SEGMENTS * count)
            for segment in range(SEGMENTS * (number - 1), SEGMENTS * number)
        ]

    async def _join(self, pair: _Pair) -> None:
        with Join(pair.sight) as join:
            async with asyncio.TaskGroup() as tasks:
                for segment in self._segments:
                    tasks.create_task(self._side_by_side(pair, join, segment))
            for items in join.rest():
                await pair.suspects.add(items)

    async def _side_by_side(self, pair: _Pair, join: Join, segment: tuple[int, int]) -> None:
        """Scan a segment of both tables in step: whichever is behind goes on."""
        scans = {end: self._pages(pair, end, segment) for end in End}
        taken = dict.fromkeys(scans, 0)
        while scans:
            least = min(taken[end] for end in scans)
            behind = [end for end in scans if taken[end] == least]
            pages = await asyncio.gather(*(anext(scans[end], None) for end in behind))
            for end, page in zip(behind, pages, strict=True):
                if page is None:
                    del scans[end]
                    continue
                taken[end] += len(page)
                await pair.suspects.add(join.add(end, self._chosen(end, page)))

    async def _look_up(self, pair: _Pair) -> None:
        for end in End:
            if end is End.SOURCE or pair.sight.extras:
                async with asyncio.TaskGroup() as tasks:
                    for segment in self._segments:
                        tasks.create_task(self._look_up_segment(pair, end, segment))

    async def _look_up_segment(self, pair: _Pair, end: End, segment: tuple[int, int]) -> None:
        """Look a segment's items up in the other table: the source's whole, then only keys."""
        keys_only = self._scope.keys_only or end is End.TARGET
        consistent = self._scope.consistent
        async for whole in self._pages(pair, end, segment, keys_only=keys_only):
            page = self._chosen(end, whole)
            found = await pair.reads[end.other].get(
                [item.keys for item in page], keys_only=keys_only, consistent=consistent
            )
            unlike = []
            for item in page:
                other = found.get(item.key)
                if other is None or (
                    end is End.SOURCE and not pair.sight.same(item.image, other.image)
                ):
                    unlike.append(item)
            await pair.suspects.add(unlike)

    def _pages(
        self, pair: _Pair, end: End, segment: tuple[int, int], *, keys_only: bool | None = None
    ) -> AsyncGenerator[list[Item], None]:
        scope = self._scope
        only = scope.keys_only if keys_only is None else keys_only
        return pair.reads[end].scan(*segment, keys_only=only, consistent=scope.consistent)

    def _chosen(self, end: End, page: list[Item]) -> list[Item]:
        """Return the items of a page that are to be compared."""
        rate = self._scope.sample
        chosen = page if rate >= 1 else [item for item in page if sampled(item.key, rate)]
        if end is End.SOURCE:
            self._items += len(chosen)
            self._on_progress(self._compared())
        return chosen

    async def _found(self, drifts: Sequence[Drift]) -> None:
        for drift in drifts:
            self._counts[drift.kind] += 1
            self._on_drift(drift)
        self._on_progress(self._compared())
        await self._on_drifts(drifts)

    def _compared(self) -> Compared:
        return Compared(
            self._items,
            self._expected,
            **self._counts,
            in_flight=sum(pair.suspects.in_flight for pair in self._pairs),
            read_units=sum(reads.read_units for pair in self._pairs for reads in pair.reads),
        )


def marks_of(side: Side) -> Marks:
    """Return how the items of a mirror's replicas tell their ranks."""
    peers = Peers([replica.name for replica in side.replicas])
    return Marks(peers, side.version_attribute, side.stamp_attribute)
