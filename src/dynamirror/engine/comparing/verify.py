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

from dynamirror.config.model import Place, Side
from dynamirror.core.drift import End, Sight, sampled
from dynamirror.core.prices import read_units
from dynamirror.core.servers import habits_of
from dynamirror.core.values import Key
from dynamirror.engine.comparing.compared import EVERYTHING, Compared, Estimate, Method, Scope
from dynamirror.engine.comparing.join import Join
from dynamirror.engine.comparing.lag import Lag
from dynamirror.engine.comparing.sight import Showing, extras_of, sight_of
from dynamirror.engine.comparing.suspects import Drift, Suspects, placed
from dynamirror.engine.comparing.untold import explained
from dynamirror.engine.copying.meter import Meter
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table, described
from dynamirror.engine.stream.checkpoints import VERIFIED_ROW, Checkpoints
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.tables.furniture import expiry
from dynamirror.engine.writing.links import Links
from dynamirror.engine.writing.viewed import note_views
from dynamirror.ports import Clock, DynamoDB

SEGMENTS_MAX = 4
"""Of each table, scanned at the same time: they keep one core busy."""

SEGMENT_BYTES = 64 * 1024 * 1024
"""A smaller table is not worth more requests at a time: a server on this machine may choke."""


class _Pair(msgspec.Struct, frozen=True):
    """A source and one target."""

    sight: Sight
    showing: Showing
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
        self._source = Meter(source)
        self._targets = {name: Meter(api) for name, api in targets.items()}
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
        self._bytes = 0
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
                if one is target and scope.method is Method.LOOKUP and not extras_of(self._links):
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
        self._bytes = table.bytes
        self._expected = table.items * len(mirror.compared) // scope.segment[1]
        for place in mirror.compared:
            pair = await self._pair(place, table)
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

    async def note(self, checkpoints: Checkpoints, compared: Compared) -> None:
        """Write down when all was compared and what was found, for ``status`` to tell.

        Raises NotFoundError where the mirror has no checkpoint table, AccessDeniedError where we
        may not write it.
        """
        found = {name: getattr(compared, name) for name in (*self._counts, "in_flight")}
        await checkpoints.put(VERIFIED_ROW, at_ms=self._clock(), items=compared.items, **found)
        if not any(found.values()):
            await note_views(checkpoints, self._links.mirror)

    async def _pair(self, place: Place, table: Table) -> _Pair:
        mirror = self._links.mirror
        showing = Showing(self._links, place, table)
        sight = sight_of(self._links, place, keys_only=self._scope.keys_only)
        api = self._targets[place.name]
        reads = (
            Reads(self._source, mirror.source, table.key_names, self._backoff),
            Reads(api, place, showing.key_names, self._backoff),
        )
        ends = (mirror.source, place)
        held_back_s = max(habits_of(one.server).visible_after_s for one in ends)
        suspects = Suspects(
            sight,
            showing,
            reads,
            expires_by=await expiry(api, place.table, self._backoff),
            lag_ms=self._lag.ms,
            settle_ms=int((self._scope.settle_s + held_back_s) * 1_000),
            clock=self._clock,
            on_drift=self._found,
        )
        return _Pair(sight, showing, reads, suspects)

    @property
    def _segments(self) -> list[tuple[int, int]]:
        number, count = self._scope.segment
        # Shares must be cut alike by all who have one, whatever size they are told.
        wanted = SEGMENTS_MAX if count > 1 else max(1, -(-self._bytes // SEGMENT_BYTES))
        each = min(SEGMENTS_MAX, wanted)
        return [(segment, each * count) for segment in range(each * (number - 1), each * number)]

    async def _join(self, pair: _Pair) -> None:
        with Join(pair.sight) as join:
            async with asyncio.TaskGroup() as tasks:
                for segment in self._segments:
                    tasks.create_task(self._side_by_side(pair, join, segment))
            for items in join.rest():
                await pair.suspects.add(items)

    async def _side_by_side(self, pair: _Pair, join: Join, segment: tuple[int, int]) -> None:
        """Scan a segment of both tables in step: whichever is behind goes on."""
        only = self._scope.keys_only
        scans = {end: self._pages(pair, end, segment, keys_only=only) for end in End}
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
                await pair.suspects.add(join.add(end, self._chosen(pair, end, page)))

    async def _look_up(self, pair: _Pair) -> None:
        for end in End:
            if end is End.SOURCE or pair.sight.extras:
                async with asyncio.TaskGroup() as tasks:
                    for segment in self._segments:
                        tasks.create_task(self._look_up_segment(pair, end, segment))

    async def _look_up_segment(self, pair: _Pair, end: End, segment: tuple[int, int]) -> None:
        """Look a segment's items up in the other table: the source's whole, then only keys."""
        keys_only = self._scope.keys_only or end is End.TARGET
        async for whole in self._pages(pair, end, segment, keys_only=keys_only):
            page = self._chosen(pair, end, whole)
            found = await self._looked_up(pair, end, page, keys_only=keys_only)
            unlike = []
            for item in page:
                other = found.get(item.key)
                if other is None or (
                    end is End.SOURCE and not pair.sight.same(item.image, other.image)
                ):
                    unlike.append(item)
            await pair.suspects.add(unlike)

    async def _looked_up(
        self, pair: _Pair, end: End, page: Sequence[Item], *, keys_only: bool
    ) -> dict[Key, Item]:
        """Return what the other table has of a page's items."""
        showing, consistent = pair.showing, self._scope.consistent
        if end is End.SOURCE:
            return await pair.reads[End.TARGET].get(
                placed(page), keys_only=keys_only, consistent=consistent
            )
        only = keys_only and not showing.reshapes
        keys = showing.all_at_source(page)
        found = await pair.reads[End.SOURCE].get(keys, keys_only=only, consistent=consistent)
        shown = (showing.shown(End.SOURCE, item) for item in found.values())
        return {item.key: item for item in shown if item is not None}

    def _pages(
        self, pair: _Pair, end: End, segment: tuple[int, int], *, keys_only: bool
    ) -> AsyncGenerator[list[Item], None]:
        only = keys_only and not (end is End.SOURCE and pair.showing.reshapes)
        return pair.reads[end].scan(*segment, keys_only=only, consistent=self._scope.consistent)

    def _chosen(self, pair: _Pair, end: End, page: list[Item]) -> list[Item]:
        """Return the items of a page that are to be compared, as the target is to have them."""
        rate, shown = self._scope.sample, pair.showing.shown
        chosen = page
        if pair.showing.selects:
            chosen = [one for item in page if (one := shown(end, item)) is not None]
        if rate < 1:
            chosen = [item for item in chosen if sampled(item.key, rate)]
        if end is End.SOURCE:
            self._items += len(chosen)
            self._on_progress(self._compared())
        return chosen

    async def _found(self, drifts: Sequence[Drift]) -> None:
        mirror = self._links.mirror
        if isinstance(mirror, Side):
            apis = {mirror.source.name: self._source, **self._targets}
            now_s = self._clock() // 1_000
            drifts = await explained(mirror, apis, drifts, now_s=now_s, backoff=self._backoff)
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
            expired=sum(pair.suspects.expired for pair in self._pairs),
            read_units=sum(one.read_units for one in (self._source, *self._targets.values())),
        )
