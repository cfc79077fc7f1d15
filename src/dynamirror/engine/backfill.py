"""Copy what the stream no longer tells: every item of the source, beside live writes.

Guards ``order`` and ``item`` can't tell a copied image from a newer one, so the link is paused
while a few segments are copied; then the stream goes on from before them, and whatever changed
meanwhile is applied again. Guard ``ledger`` copies beside the running stream: an item is put only
where neither it nor any change of it has arrived, and every delete leaves a row that says so.
A two-way mirror's replicas copy beside it too, by rank.
Where history was lost, no engine runs, and copies overwrite: they begin a new epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import msgspec

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import decode
from dynamirror.engine.apply import Applier
from dynamirror.engine.checkpoints import BACKFILL_ROW, Checkpoints
from dynamirror.engine.follow import to_each
from dynamirror.engine.hold import Hold
from dynamirror.engine.lease import Lease
from dynamirror.engine.links import Links
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table, described, stream_of
from dynamirror.errors import DynamirrorError
from dynamirror.ports import Clock, DynamoDB

SEGMENT_BYTES = 256 * 1024 * 1024
"""A segment's size: at 1,000 items of 1 KB a second it is copied in a few minutes."""

SEGMENTS_AT_ONCE = 4
"""Segments scanned at the same time, within one pause."""

PAUSE_MS_MAX = 12 * 60 * 60 * 1_000
"""The stream keeps 24 hours; half of it is left to catch up."""

CATCH_UP_LAG_MS = 10_000
"""Between two pauses the running engine must come this near to the stream's end."""


FRESH_MS = 1_000
"""A report made so long after the link was resumed tells of what came in meanwhile."""

TOO_SLOW = (
    "copying has kept the link paused for 12 hours, half of what the stream keeps: raise the "
    'target\'s capacity, or use guard = "ledger", which needs no pause'
)


class Copied(msgspec.Struct, frozen=True):
    """How far a backfill has come."""

    items: int = 0
    bytes: int = 0
    """JSON text of the items copied."""
    skipped: int = 0
    """Items that were there already, or of which a newer change had arrived."""
    expected_items: int = 0
    """About how many there are; the service counts them every six hours."""


class Backfill:
    """Copies one mirror's source to its targets."""

    def __init__(
        self,
        links: Links,
        source: DynamoDB,
        checkpoints: Checkpoints,
        lease: Lease,
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        self._links = links
        self._source = source
        self._checkpoints = checkpoints
        self._lease = lease
        self._clock = clock
        self._backoff = backoff
        self._failure: BaseException | None = None
        self._writing: set[asyncio.Future[None]] = set()
        self._paused_ms: int | None = None
        self._resumed_ms: int | None = None
        self._appliers: list[Applier] = []
        self._items = 0
        self._bytes = 0
        self._expected = 0

    async def run(
        self,
        on_progress: Callable[[Copied], None],
        segment: tuple[int, int] | None = None,
    ) -> Copied:
        """Copy the table, or with ``segment`` (I, N) the I-th of N shares, counted from 1.

        Makes up for lost history once the whole table is copied. Raises HeldError if the link
        can't be kept paused, PoisonError or a ServiceError if a target can't be written.
        """
        mirror = self._links.mirror
        table = await described(self._source, mirror.source.table, self._backoff)
        stream = await stream_of(self._source, mirror.source.table, self._backoff)
        known = await self._checkpoints.load()
        started_ms = self._clock()
        if not known.streams:
            known = await self._checkpoints.enroll(known, stream, started_ms)
        await self._checkpoints.put(BACKFILL_ROW, started_ms=started_ms)
        self._expected = table.items
        lost = known.lost is not None or stream != known.streams[-1]
        epoch = len(known.streams) + 1 if lost else None
        self._appliers = self._links.open_for_copies(self._fail, epoch)
        reads = Reads(self._source, mirror.source.table, table.key_names, self._backoff)
        try:
            for group in _groups(_segments(table, segment)):
                await self._copy_group(reads, group, on_progress)
        finally:
            await asyncio.gather(*(applier.stop() for applier in self._appliers))
        if segment is None:
            await self._finish(stream, started_ms)
        return self._copied()

    async def _finish(self, stream: str, started_ms: int) -> None:
        """Note that the table is whole; what was lost before the copy began no longer matters."""
        known = await self._checkpoints.load()
        if known.lost is not None or stream != known.streams[-1]:
            await self._checkpoints.enroll(known, stream, started_ms)
        await self._checkpoints.put(
            BACKFILL_ROW, started_ms=started_ms, finished_ms=self._clock(), items=self._items
        )

    async def _copy_group(
        self,
        reads: Reads,
        group: Sequence[tuple[int, int]],
        on_progress: Callable[[Copied], None],
    ) -> None:
        if self._links.mirror.copies_beside:
            await self._together(reads, group, on_progress, lambda: None)
            return
        await self._caught_up()
        self._paused_ms = self._paused_ms or self._clock()
        async with Hold(self._checkpoints, self._lease, self._clock) as hold:

            def require() -> None:
                hold.require()
                if self._clock() - (self._paused_ms or 0) > PAUSE_MS_MAX:
                    raise DynamirrorError(TOO_SLOW)

            await self._together(reads, group, on_progress, require)
        self._resumed_ms = self._clock()

    async def _together(
        self,
        reads: Reads,
        group: Sequence[tuple[int, int]],
        on_progress: Callable[[Copied], None],
        require: Callable[[], None],
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, segments in group:
                    tasks.create_task(self._copy(reads, number, segments, on_progress, require))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _copy(
        self,
        reads: Reads,
        number: int,
        segments: int,
        on_progress: Callable[[Copied], None],
        require: Callable[[], None],
    ) -> None:
        """Copy one segment, reading a page ahead of what is being written."""
        writing: asyncio.Future[None] | None = None
        async for page in reads.scan(number, segments):
            if writing is not None:
                await writing
            require()
            writing = self._write(page)
            self._items += len(page)
            self._bytes += sum(len(item.image) for item in page)
            on_progress(self._copied())
        if writing is not None:
            await writing

    def _write(self, page: Sequence[Item]) -> asyncio.Future[None]:
        """Hand a page to every target; the future is done when all have it, or one has failed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing.add(future)
        future.add_done_callback(self._writing.discard)
        if self._failure is not None:
            future.set_exception(self._failure)
        else:
            submit = to_each([applier.submit for applier in self._appliers])
            submit([_record(item) for item in page], lambda: future.set_result(None))
        return future

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        for future in list(self._writing):
            if not future.done():
                future.set_exception(error)

    async def _caught_up(self) -> None:
        """Between two pauses: wait until a running engine is near the stream's end again."""
        while self._resumed_ms is not None:
            lease = (await self._checkpoints.load()).lease
            if self._lease.is_free(lease):
                return  # none runs; the limit on one pause is then the limit on all of them
            report = decode(lease["report"].encode()) if lease and lease["report"] else {}
            fresh = report.get("at_ms", 0) > self._resumed_ms + FRESH_MS
            if fresh and report["lag_ms"] <= CATCH_UP_LAG_MS:
                self._resumed_ms = None
                self._paused_ms = None
                return
            await asyncio.sleep(1.0)

    def _copied(self) -> Copied:
        skipped = sum(applier.target.stale for applier in self._appliers)
        return Copied(self._items, self._bytes, skipped, self._expected)


def _record(item: Item) -> StreamRecord:
    """Return a copied item as the change that puts it."""
    return StreamRecord(0, "INSERT", item.key, item.keys, item.image, None, 0.0, False)  # noqa: FBT003


def _segments(table: Table, share: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Return the (segment, of how many) to scan: the table's, or one share of them."""
    total = max(SEGMENTS_AT_ONCE, -(-table.bytes // SEGMENT_BYTES))
    if share is None:
        return [(number, total) for number in range(total)]
    mine, shares = share
    total = -(-total // shares) * shares
    return [(number, total) for number in range(mine - 1, total, shares)]


def _groups(segments: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    for at in range(0, len(segments), SEGMENTS_AT_ONCE):
        yield segments[at : at + SEGMENTS_AT_ONCE]
