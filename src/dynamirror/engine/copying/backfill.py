"""Copy what the stream no longer tells: every item of the source, beside live writes.

Guards ``order`` and ``item`` can't tell a copied image from a newer one, so the link is paused
while a few segments are copied; then the stream goes on from before them, and whatever changed
meanwhile is applied again. Guard ``ledger`` copies beside the running stream: an item is put only
where neither it nor any change of it has arrived, and every delete leaves a row that says so.
A two-way mirror's replicas copy beside it too, by rank, and carry the deletes they know of.
Where history was lost, no engine runs, and copies overwrite: they begin a new epoch.

A backfill that was killed goes on where it stood: the stream still brings every change made since,
each applied after the copy or refused for its sake. Where that is no longer certain it begins anew.
docs/backfill.md reasons it out, guard by guard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Guard, Side
from dynamirror.engine.copying.copier import Copied, Copier, Left
from dynamirror.engine.copying.export import EXPORTS_MAX, Exports
from dynamirror.engine.copying.meter import Meter
from dynamirror.engine.copying.parts import Part, Segment, Tombstones, size_of
from dynamirror.engine.copying.positions import Done
from dynamirror.engine.copying.shares import Share, groups
from dynamirror.engine.members.roster import left_of, note, require_joined
from dynamirror.engine.reads import Reads
from dynamirror.engine.source import Table, described, stream_of
from dynamirror.engine.station import Station
from dynamirror.engine.stream.checkpoints import Known
from dynamirror.engine.stream.history import RETENTION_MS, oldest_ms, shards_of, why_lost
from dynamirror.engine.stream.hold import Hold, caught_up
from dynamirror.engine.writing.viewed import note_views
from dynamirror.errors import ConditionFailedError, DynamirrorError, HeldError

PAUSE_MS_MAX = 12 * 60 * 60 * 1_000
"""The stream keeps 24 hours; half of it is left to catch up."""

CHUNKS_AT_ONCE = 2
"""Of each part, so many may be on their way: that much is copied again after a crash."""

TOO_SLOW = (
    "the stream has not been read for 12 hours, half of what it keeps. Run `dynamirror run` beside "
    "the backfill, which goes on where it stood and lets the mirror catch up between two parts; "
    'guard = "ledger" needs no pause'
)

TOO_OLD = (
    "what this backfill copied first is older than the 24 hours that the stream keeps, so it "
    "can't make up for the lost history: raise the target's capacity, share the work by --segment, "
    "and begin anew"
)


class Backfill:
    """Copies one mirror's source to its targets."""

    def __init__(self, station: Station, meters: Mapping[str, Meter] | None = None) -> None:
        """``meters``: those through which the station sends, by the places' names."""
        self._links = station.links
        self._source = station.source
        self._checkpoints = station.checkpoints
        self._lease = station.lease
        self._clock = station.clock
        self._backoff = station.backoff
        self._meters = meters or {}
        self._deadline: tuple[int, str] | None = None
        """By when the copy must have ended, and what is wrong where it hasn't."""
        self._resumed_ms = 0
        self._epoch: int | None = None
        self._told = Copied()

    async def run(
        self,
        on_progress: Callable[[Copied], None],
        segment: tuple[int, int] | None = None,
        on_left: Callable[[Left], None] = lambda _: None,
        *,
        restart: bool = False,
        exports: Exports | None = None,
    ) -> Copied:
        """Copy the table, or ``exports`` of it, or of either the share ``segment`` (I, N), counted
        from 1.

        Goes on where an earlier attempt ended, unless ``restart``. Makes up for lost history once
        the whole table is copied, all its shares. ``on_left`` is told of items that can't be
        copied, if the mirror parks such. Raises HeldError if the link can't be kept paused,
        UnsafeExportError for an export from which something could be undone or lack, PoisonError
        or a ServiceError if a target can't be written.
        """
        mirror = self._links.mirror
        table = await described(self._source, mirror.source.table, self._backoff)
        stream = await stream_of(self._source, mirror.source.table, self._backoff)
        known = await self._begin(stream)
        self._exports = exports
        if exports is not None:
            known = await self._meet_exports(exports, known, stream)
        self._on_progress = on_progress
        self._copier = Copier(self._links, on_left)
        share = await self._open(known, table, segment or (1, 1), restart=restart)
        for stage in self._stages(table, segment or (1, 1)):
            for group in groups(stage):
                await self._copy_group(group, stream)
        began_ms = await share.copied()
        if began_ms is not None:
            await self._finish(stream, exports.since_ms if exports else began_ms)
            await share.finish(self._clock(), self._told.items)
        self._tell()
        return self._told

    async def _open(
        self, known: Known, table: Table, of: tuple[int, int], *, restart: bool
    ) -> Share:
        """Begin a share, or go on with it."""
        lost, exports = known.lost is not None, self._exports
        what = exports or table
        self._epoch = len(known.streams) + 1 if lost else None
        self._share = share = Share(
            self._checkpoints,
            of,
            self._epoch or len(known.streams),
            self._links.names,
            exports.id if exports else "",
        )
        since_ms = self._clock() - PAUSE_MS_MAX if lost else 0
        await share.begin(self._clock(), table.bytes, restart=restart, since_ms=since_ms)
        if lost:
            first_ms = exports.since_ms if exports else share.began_ms
            self._deadline = first_ms + RETENTION_MS, TOO_OLD
        self._positions = share.positions
        self._done = await self._positions.load()
        resumed = sum(done.items for done in self._done.values())
        self._tell(
            items=resumed,
            resumed=resumed,
            bytes=sum(done.bytes for done in self._done.values()),
            expected_items=what.items // of[1],
            expected_bytes=what.bytes // of[1],
        )
        return share

    def _stages(self, table: Table, of: tuple[int, int]) -> list[list[Part]]:
        """Return what is left to copy, one list after the other."""
        mirror, share, lost = self._links.mirror, self._share, self._epoch is not None
        # Copies of a new epoch come before all its changes, whose numbers aren't negative, and
        # after those of an earlier attempt: the mark's text sorts so.
        marked = mirror.guard is Guard.LEDGER and not isinstance(mirror, Side)
        number = -share.attempt * EXPORTS_MAX if lost and marked else 0
        if self._exports is not None:
            stages = self._exports.stages(
                table.key_names, of, number or -1, newest_first=marked and not lost
            )
        else:
            reads = Reads(self._source, mirror.source, table.key_names, self._backoff)
            stages = [[Segment(reads, segment, number) for segment in share.segments]]
        if isinstance(mirror, Side) and of[0] == 1:
            dead = Tombstones(mirror, table, self._source, self._clock, self._backoff)
            stages.insert(0, [dead])
        return [
            [part for part in stage if not self._done.get(part.name, Done()).whole]
            for stage in stages
        ]

    async def _meet_exports(self, exports: Exports, known: Known, stream: str) -> Known:
        """See that the stream tells what came after them, and have whoever reads it know."""
        exports.require_safe(self._links.mirror, known, stream, self._clock())
        if known.lost is None and not known.positions and known.enrolled_ms > exports.since_ms:
            return await self._checkpoints.enroll(known, stream, exports.since_ms)
        return known

    async def _begin(self, stream: str) -> Known:
        """Write down a loss that nobody has found yet, so that everyone goes by it."""
        known = await self._checkpoints.met(stream, self._clock())
        require_joined(self._links.mirror, known)
        shards = await shards_of(self._source, stream, self._backoff)
        why = why_lost(known, stream, shards, self._clock())
        if why is None:
            return known
        if known.lease is not None and not self._lease.is_free(known.lease):
            told = f"history of {self._checkpoints.link} is lost, and {known.lease['owner']}"
            raise HeldError(f"{told} goes on with what is left of it")
        if known.lost is None:
            await self._checkpoints.lose(known, why)
        return await self._checkpoints.load()

    async def _finish(self, stream: str, began_ms: int) -> None:
        """Note that the table is whole; what was lost before the copy began no longer matters."""
        known = await self._checkpoints.load()
        if known.lost is not None and len(known.streams) + 1 == self._epoch:
            if self._clock() - began_ms > RETENTION_MS:
                raise DynamirrorError(TOO_OLD)
            try:
                await self._checkpoints.enroll(known, stream, began_ms)
            except ConditionFailedError:
                raise HeldError(
                    f"{self._checkpoints.link} was begun anew by another process"
                ) from None
        await note(self._checkpoints, self._links.mirror, left_of(known))
        await note_views(self._checkpoints, self._links.mirror)

    async def _copy_group(self, group: Sequence[Part], stream: str) -> None:
        if self._links.mirror.copies_beside:
            await self._together(group, None)
            return
        unread_ms = await caught_up(self._checkpoints, self._lease, self._clock, self._resumed_ms)
        if self._epoch is None:
            self._deadline = await self._unread_ms(unread_ms, stream) + PAUSE_MS_MAX, TOO_SLOW
        self._in_time()
        async with Hold(self._checkpoints, self._lease, self._clock) as hold:
            if self._exports is not None:
                known = await self._checkpoints.load()
                reader = None if self._lease.is_free(known.lease) else known.lease
                now_ms = self._clock()
                self._exports.require_safe(self._links.mirror, known, stream, now_ms, reader)
            await self._together(group, hold)
        self._resumed_ms = self._clock()

    async def _unread_ms(self, told_ms: int | None, stream: str) -> int:
        """Return since when changes may be waiting in the stream, as its reader told, if any is."""
        if told_ms is None:
            known = await self._checkpoints.load()
            shards = await shards_of(self._source, stream, self._backoff)
            told_ms = oldest_ms(known, shards)
        since_ms = self._share.began_ms if told_ms is None else told_ms
        return min(since_ms, self._exports.since_ms) if self._exports else since_ms

    async def _together(self, group: Sequence[Part], hold: Hold | None) -> None:
        """Copy parts side by side; whatever the end, nothing is sent any more after it."""
        self._copier.open(self._epoch, hold.is_held if hold else lambda: True)
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(hold.watch()) if hold else None
                await asyncio.wait([tasks.create_task(self._copy(part, hold)) for part in group])
                if watch is not None:
                    watch.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._copier.close()

    async def _copy(self, part: Part, hold: Hold | None) -> None:
        """Copy one part, reading ahead of what is being written."""
        before = self._done.get(part.name, Done())
        copying: deque[tuple[asyncio.Future[None], Done]] = deque()
        async for records, done in part.pages(before):
            if len(copying) == CHUNKS_AT_ONCE:
                await self._settle(part, *copying.popleft())
            if hold is not None:
                hold.require()
            self._in_time()
            copying.append((self._copier.write(records), done))
            removed = sum(record.new_image is None for record in records)
            self._tell(
                items=self._told.items + len(records) - removed,
                bytes=self._told.bytes + sum(map(size_of, records)),
                deletes=self._told.deletes + removed,
            )
        while copying:
            await self._settle(part, *copying.popleft())

    async def _settle(self, part: Part, copying: asyncio.Future[None], done: Done) -> None:
        """Note a position once everything up to it is at every target."""
        await copying
        await self._positions.save(part.name, done, self._clock())

    def _in_time(self) -> None:
        if self._deadline is not None and self._clock() > self._deadline[0]:
            raise DynamirrorError(self._deadline[1])

    def _tell(self, **changes: int) -> None:
        meters = self._meters.values()
        self._told = msgspec.structs.replace(
            self._told,
            **changes,
            skipped=self._copier.stale + sum(meter.refused for meter in meters),
            raised=self._copier.raised,
            left=self._copier.left,
            read_units=sum(meter.read_units for meter in meters),
            write_units=sum(meter.write_units for meter in meters),
            throttles=sum(meter.throttles for meter in meters),
        )
        self._on_progress(self._told)
