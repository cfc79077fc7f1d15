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
from collections.abc import Callable, Sequence

import msgspec

from dynamirror.config.model import Guard, OnPoison
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.apply import Applier
from dynamirror.engine.checkpoints import TARGETS_ROW, Checkpoints, Known
from dynamirror.engine.follow import to_each
from dynamirror.engine.history import shards_of, why_lost
from dynamirror.engine.hold import Hold
from dynamirror.engine.lease import Lease
from dynamirror.engine.links import Links
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff
from dynamirror.engine.shares import Share, groups, segments_of
from dynamirror.engine.source import described, stream_of
from dynamirror.errors import ConditionFailedError, DynamirrorError, HeldError, PoisonError
from dynamirror.ports import Clock, DynamoDB

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
    left: int = 0
    """Items that can't be at a target as they are, each target counted."""


class Left(msgspec.Struct, frozen=True):
    """One item that can't be copied."""

    target: str
    """The target's short name."""
    key: Wire
    error: str


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
        self._epoch: int | None = None
        self._number = 0
        self._on_left: Callable[[Left], None] = lambda _: None
        self._items = 0
        self._bytes = 0
        self._skipped = 0
        self._left = 0
        self._expected = 0

    async def run(
        self,
        on_progress: Callable[[Copied], None],
        segment: tuple[int, int] | None = None,
        on_left: Callable[[Left], None] = lambda _: None,
    ) -> Copied:
        """Copy the table, or with ``segment`` (I, N) the I-th of N shares, counted from 1.

        Makes up for lost history once the whole table is copied, all its shares. ``on_left`` is
        told of items that can't be copied, if the mirror parks such. Raises HeldError if the link
        can't be kept paused, PoisonError or a ServiceError if a target can't be written.
        """
        self._on_left = on_left
        mirror = self._links.mirror
        table = await described(self._source, mirror.source.table, self._backoff)
        stream = await stream_of(self._source, mirror.source.table, self._backoff)
        known = await self._begin(stream)
        lost = known.lost is not None
        self._expected = table.items
        self._epoch = len(known.streams) + 1 if lost else None
        share = Share(
            self._checkpoints,
            segment or (1, 1),
            self._epoch or len(known.streams),
            [place.name for place in mirror.targets],
        )
        await share.begin(self._clock())
        if lost and mirror.guard is Guard.LEDGER:
            # Copies of a new epoch come before all its changes, whose numbers aren't negative,
            # and after those of an earlier attempt: the mark's text sorts so.
            self._number = -share.attempt
        reads = Reads(self._source, mirror.source.table, table.key_names, self._backoff)
        for group in groups(segments_of(table.bytes, segment or (1, 1))):
            await self._copy_group(reads, group, on_progress)
        began_ms = await share.copied()
        if began_ms is not None:
            await self._finish(stream, began_ms)
            await share.finish(self._clock(), self._items)
        return self._copied()

    async def _begin(self, stream: str) -> Known:
        """Write down a loss that nobody has found yet, so that everyone goes by it."""
        known = await self._checkpoints.met(stream, self._clock())
        shards = await shards_of(self._source, stream, self._backoff)
        why = why_lost(known, stream, shards, self._clock())
        if why is None:
            return known
        if known.lease is not None and not self._lease.is_free(known.lease):
            raise HeldError(
                f"history of {self._checkpoints.link} is lost, and {known.lease['owner']} goes on "
                "with what is left of it"
            )
        if known.lost is None:
            await self._checkpoints.lose(known, why)
        return await self._checkpoints.load()

    async def _finish(self, stream: str, began_ms: int) -> None:
        """Note that the table is whole; what was lost before the copy began no longer matters."""
        known = await self._checkpoints.load()
        if known.lost is not None and len(known.streams) + 1 == self._epoch:
            try:
                await self._checkpoints.enroll(known, stream, began_ms)
            except ConditionFailedError:
                raise HeldError(
                    f"{self._checkpoints.link} was begun anew by another process"
                ) from None
        names = [place.name for place in self._links.mirror.targets]
        await self._checkpoints.put(TARGETS_ROW, names=names)

    async def _copy_group(
        self,
        reads: Reads,
        group: Sequence[tuple[int, int]],
        on_progress: Callable[[Copied], None],
    ) -> None:
        if self._links.mirror.copies_beside:
            await self._together(reads, group, on_progress, None)
            return
        await self._caught_up()
        self._paused_ms = self._paused_ms or self._clock()
        async with Hold(self._checkpoints, self._lease, self._clock) as hold:
            await self._together(reads, group, on_progress, hold)
        self._resumed_ms = self._clock()

    async def _together(
        self,
        reads: Reads,
        group: Sequence[tuple[int, int]],
        on_progress: Callable[[Copied], None],
        hold: Hold | None,
    ) -> None:
        """Copy segments side by side; whatever the end, nothing is sent any more after it."""
        may_write = hold.is_held if hold else lambda: True
        self._appliers = self._links.open_for_copies(
            self._fail, self._epoch, self._leave, may_write
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(hold.watch()) if hold else None
                copies = [
                    tasks.create_task(self._copy(reads, number, segments, on_progress, hold))
                    for number, segments in group
                ]
                await asyncio.wait(copies)
                if watch is not None:
                    watch.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await asyncio.gather(*(applier.stop() for applier in self._appliers))
            self._skipped += sum(applier.target.stale for applier in self._appliers)
            self._appliers = []

    async def _copy(
        self,
        reads: Reads,
        number: int,
        segments: int,
        on_progress: Callable[[Copied], None],
        hold: Hold | None,
    ) -> None:
        """Copy one segment, reading a page ahead of what is being written."""
        writing: asyncio.Future[None] | None = None
        async for page in reads.scan(number, segments):
            if writing is not None:
                await writing
            if hold is not None:
                hold.require()
                if self._clock() - (self._paused_ms or 0) > PAUSE_MS_MAX:
                    raise DynamirrorError(TOO_SLOW)
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
            submit([_record(item, self._number) for item in page], lambda: future.set_result(None))
        return future

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        for future in list(self._writing):
            if not future.done():
                future.set_exception(error)

    def _leave(self, record: StreamRecord, target: str, error: DynamirrorError) -> None:
        """Pass over an item that can't be at a target, or end there."""
        if self._links.mirror.on_poison is OnPoison.STOP:
            key = encode(record.keys).decode()
            raise PoisonError(f"{target}: the item {key} can't be copied: {error}")
        self._left += 1
        self._on_left(Left(target, record.keys, str(error)))

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
        skipped = self._skipped + sum(applier.target.stale for applier in self._appliers)
        return Copied(self._items, self._bytes, skipped, self._expected, self._left)


def _record(item: Item, number: int) -> StreamRecord:
    """Return a copied item as the change that puts it."""
    return StreamRecord(number, "INSERT", item.key, item.keys, item.image, None, 0.0, by_ttl=False)
