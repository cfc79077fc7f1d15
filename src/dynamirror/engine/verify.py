"""Compare a source with a target, item by item, while both are written.

The source is scanned and each page's items are read at the target by key; then the target's keys
are scanned and looked for at the source. What differs is only a suspicion: it counts as drift once
both sides, read again with strong consistency, still differ although the source's item has not
changed for longer than the link's lag; of two replicas, neither's. Memory holds a page and the
suspects, never a table.

Stamps differ between replicas by right: where an item was made it has none, or an older one. What
must be the same is its rank, which is told from version and stamp.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Deletes, Side
from dynamirror.core.marks import stripped
from dynamirror.core.rank import Peers, Rank
from dynamirror.core.stamp import Marks
from dynamirror.core.values import Key, Wire, decode, differing
from dynamirror.engine.checkpoints import Checkpoints
from dynamirror.engine.lease import Lease
from dynamirror.engine.links import Links
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import described
from dynamirror.errors import UnfitError
from dynamirror.ports import Clock, DynamoDB

log = logging.getLogger("dynamirror")

SEGMENTS = 4
"""Scanned at the same time."""

SUSPECTS_MAX = 5_000
"""Suspects looked at again before more of the table is read."""

SETTLE_MS = 5_000
"""What a change may take beyond the link's lag; also where none is reported, as with Lambda."""

REREAD_S = 0.5
"""Time between two looks at the suspects."""

PATIENCE_MS = 60_000
"""An item that goes on changing for so long is told as in flight."""

WAIT_MS_MAX = 10 * 60 * 1_000
"""So is one for which the link's lag would have us wait longer than this."""

TELL_MS = 30_000
"""While we wait for a link, we say so this often."""


class Drift(msgspec.Struct, frozen=True):
    """One item that differs."""

    kind: str
    """``missing`` at the target, ``extra`` there, or ``different``."""
    target: str
    """The target's short name."""
    key: Wire
    attributes: list[str]
    """In which attributes, if ``different``; the stamp's stands for the item's rank."""


class Compared(msgspec.Struct, frozen=True):
    """How far a comparison has come."""

    items: int = 0
    """Items of the source compared, each target counted."""
    expected_items: int = 0
    """About how many there are; the service counts them every six hours."""
    missing: int = 0
    extra: int = 0
    different: int = 0
    in_flight: int = 0
    """Items that could not be compared: they kept changing, or the link was too far behind."""

    @property
    def equal(self) -> bool:
        """Whether every item was compared, and none differs."""
        return not (self.drift or self.in_flight)

    @property
    def drift(self) -> bool:
        """Whether some item surely differs."""
        return bool(self.missing or self.extra or self.different)


_Seen = tuple[bytes | None, bytes | None]
"""The images whose rest says that an item isn't in flight: the source's, and of two replicas the
other's too; None where there is none, or it doesn't matter."""


class _Suspect(msgspec.Struct):
    keys: Wire
    seen: _Seen
    """As it was when it was last seen to change."""
    since_ms: int
    first_ms: int


class _Pair(msgspec.Struct, frozen=True):
    """A source and one target, and what to overlook when their items are compared."""

    name: str
    source: Reads
    target: Reads
    ours: tuple[str, ...]
    at: str
    """The source's short name."""
    marks: Marks | None
    """Of two replicas: how their items' ranks are told."""

    def same(self, one: Item | None, other: Item | None) -> bool:
        return (one is None and other is None) or (
            one is not None and other is not None and not self.differing(one, other)
        )

    def differing(self, one: Item, other: Item) -> list[str]:
        names = differing(stripped(one.image, self.ours), stripped(other.image, self.ours))
        marks = self.marks
        if marks and _rank(marks, one, self.at) != _rank(marks, other, self.name):
            names.append(marks.stamp_attribute)
        return names

    def seen(self, one: Item | None, other: Item | None) -> _Seen:
        return _image(one), _image(other) if self.marks else None


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
        self._engines = engines
        self._clock = clock
        self._backoff = backoff
        self._on_drift: Callable[[Drift], None] = lambda _: None
        self._on_progress: Callable[[Compared], None] = lambda _: None
        self._counts = {"missing": 0, "extra": 0, "different": 0, "in_flight": 0}
        self._items = 0
        self._expected = 0
        self._told_ms = clock()

    async def run(
        self, on_drift: Callable[[Drift], None], on_progress: Callable[[Compared], None]
    ) -> Compared:
        """Compare everything; ``on_drift`` is told of each difference that stays."""
        self._on_drift, self._on_progress = on_drift, on_progress
        mirror = self._links.mirror
        table = await described(self._source, mirror.source.table, self._backoff)
        self._expected = table.items * len(mirror.compared)
        source = Reads(self._source, mirror.source.table, table.key_names, self._backoff)
        deletes = {mirror.deletes, mirror.ttl_deletes}
        for place in mirror.compared:
            api = self._targets[place.name]
            target = Reads(api, place.table, table.key_names, self._backoff)
            ours = (*self._links.ours, mirror.sequence_attribute)
            marks = _marks(mirror) if isinstance(mirror, Side) else None
            pair = _Pair(place.name, source, target, ours, mirror.source.name, marks)
            await asyncio.gather(*(self._look_for_missing(pair, n) for n in range(SEGMENTS)))
            if deletes == {Deletes.MIRROR}:  # else what the source deleted may well be there
                await asyncio.gather(*(self._look_for_extra(pair, n) for n in range(SEGMENTS)))
        return self._compared()

    async def _look_for_missing(self, pair: _Pair, segment: int) -> None:
        suspects: dict[Key, _Suspect] = {}
        async for page in pair.source.scan(segment, SEGMENTS):
            theirs = await pair.target.get([item.keys for item in page])
            for item in page:
                other = theirs.get(item.key)
                if not pair.same(item, other):
                    suspects[item.key] = self._suspect(item.keys, pair.seen(item, other))
            self._items += len(page)
            self._on_progress(self._compared())
            await self._settle(pair, suspects, unless_below=SUSPECTS_MAX)
        await self._settle(pair, suspects)

    async def _look_for_extra(self, pair: _Pair, segment: int) -> None:
        suspects: dict[Key, _Suspect] = {}
        async for page in pair.target.scan(segment, SEGMENTS, keys_only=True):
            ours = await pair.source.get([item.keys for item in page], keys_only=True)
            for item in page:
                if item.key not in ours:
                    suspects[item.key] = self._suspect(item.keys, (None, None))
            await self._settle(pair, suspects, unless_below=SUSPECTS_MAX)
        await self._settle(pair, suspects)

    def _suspect(self, keys: Wire, seen: _Seen) -> _Suspect:
        now_ms = self._clock()
        return _Suspect(keys, seen, now_ms, now_ms)

    async def _settle(
        self, pair: _Pair, suspects: dict[Key, _Suspect], unless_below: int = 1
    ) -> None:
        """Read suspects again until each is equal, drift, or changes too often to tell."""
        if len(suspects) < unless_below:
            return
        while suspects:
            lag_ms = await self._lag_ms()
            keys = [suspect.keys for suspect in suspects.values()]
            mine, theirs = await pair.source.get(keys), await pair.target.get(keys)
            for key in list(suspects):
                one, other = mine.get(key), theirs.get(key)
                if self._is_settled(pair, suspects[key], one, other, lag_ms):
                    del suspects[key]
            if suspects:
                await asyncio.sleep(REREAD_S)
        self._on_progress(self._compared())

    def _is_settled(
        self,
        pair: _Pair,
        suspect: _Suspect,
        one: Item | None,
        other: Item | None,
        lag_ms: int,
    ) -> bool:
        if pair.same(one, other):
            return True
        now_ms = self._clock()
        seen = pair.seen(one, other)
        if seen != suspect.seen:
            suspect.seen, suspect.since_ms = seen, now_ms
        if now_ms - suspect.since_ms > lag_ms + SETTLE_MS:
            self._tell(pair, suspect.keys, one, other)
            return True
        if now_ms - suspect.first_ms > min(lag_ms + PATIENCE_MS, WAIT_MS_MAX):
            self._counts["in_flight"] += 1
            return True
        return False

    def _tell(self, pair: _Pair, keys: Wire, one: Item | None, other: Item | None) -> None:
        attributes: list[str] = []
        if one is not None and other is not None:
            kind, attributes = "different", pair.differing(one, other)
        else:
            kind = "extra" if one is None else "missing"
        self._counts[kind] += 1
        self._on_drift(Drift(kind, pair.name, keys, attributes))

    async def _lag_ms(self) -> int:
        """Return how far behind a running engine says it is; 0 where none runs."""
        lags = [(0, "", "")]
        for checkpoints, mine in self._engines:
            lease = (await checkpoints.load(positions=False)).lease
            if lease is not None and lease["report"] and not mine.is_free(lease):
                report = decode(lease["report"].encode())
                since_ms = max(0, self._clock() - int(report.get("at_ms", 0)))
                lag_ms = int(report.get("lag_ms", 0)) + since_ms
                lags.append((lag_ms, str(report.get("state")), checkpoints.link))
        lag_ms, state, link = max(lags)
        self._tell_why(lag_ms, state, link)
        return lag_ms

    def _tell_why(self, lag_ms: int, state: str, link: str) -> None:
        """Say now and then for what we wait."""
        now_ms = self._clock()
        if lag_ms > SETTLE_MS and now_ms - self._told_ms >= TELL_MS:
            self._told_ms = now_ms
            why = "waiting for %s, which is %s and %d s behind: what is on its way is no drift"
            log.warning(why, link, state, lag_ms // 1_000)

    def _compared(self) -> Compared:
        return Compared(self._items, self._expected, **self._counts)


def _marks(side: Side) -> Marks:
    peers = Peers([replica.name for replica in side.replicas])
    return Marks(peers, side.version_attribute, side.stamp_attribute)


def _rank(marks: Marks, item: Item, at: str) -> Rank | None:
    """Return an item's rank; None for one that has none, and is never mirrored."""
    try:
        return marks.view(item.image, at).rank
    except UnfitError:
        return None


def _image(item: Item | None) -> bytes | None:
    return None if item is None else bytes(item.image)
