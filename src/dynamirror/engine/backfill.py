"""Copy what the stream no longer tells: every item of the source, beside live writes.

Guards ``order`` and ``item`` can't tell a copied image from a newer one, so the link is paused
while a few segments are copied; then the stream goes on from before them, and whatever changed
meanwhile is applied again. Guard ``ledger`` copies beside the running stream: an item is put only
where neither it nor any change of it has arrived, and every delete leaves a row that says so.
A two-way mirror's replicas copy beside it too, by rank, and carry the deletes they know of.
Where history was lost, no engine runs, and copies overwrite: they begin a new epoch.

A backfill that was killed goes on where it stood. What it had copied stays as good as it was, for
the stream still brings every change made since, each applied after the copy or refused for its
sake; where that is no longer certain (history was lost since, or the copy that makes up for a loss
is half a day old) it begins anew. docs/backfill.md reasons it out, guard by guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Guard, Side
from dynamirror.core.values import decode
from dynamirror.engine.checkpoints import Checkpoints, Known
from dynamirror.engine.copier import Copied, Copier, Left
from dynamirror.engine.history import RETENTION_MS, oldest_ms, shards_of, why_lost
from dynamirror.engine.hold import Hold
from dynamirror.engine.lease import RENEW_S, Lease
from dynamirror.engine.links import Links
from dynamirror.engine.members import left_of, note, require_joined
from dynamirror.engine.meter import Meter
from dynamirror.engine.parts import Part, Segment, Tombstones, size_of
from dynamirror.engine.positions import Done
from dynamirror.engine.reads import Reads
from dynamirror.engine.retry import Backoff
from dynamirror.engine.shares import Share, groups
from dynamirror.engine.source import Table, described, stream_of
from dynamirror.errors import ConditionFailedError, DynamirrorError, HeldError
from dynamirror.ports import Clock, DynamoDB

PAUSE_MS_MAX = 12 * 60 * 60 * 1_000
"""The stream keeps 24 hours; half of it is left to catch up."""

CATCH_UP_LAG_MS = 10_000
"""Between two pauses the running engine must come this near to the stream's end."""

JOIN_LAG_MS = 60 * 60 * 1_000
"""Of an engine that is paused for another machine's share already, so much may be waiting."""

FRESH_MS = 1_000
"""A report made so long after the link was resumed tells of what came in meanwhile."""

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

    def __init__(
        self,
        links: Links,
        source: DynamoDB,
        checkpoints: Checkpoints,
        lease: Lease,
        *,
        clock: Clock,
        backoff: Backoff,
        meters: Mapping[str, Meter] | None = None,
    ) -> None:
        """``meters``: those through which ``links`` and ``source`` send, by the places' names."""
        self._links = links
        self._source = source
        self._checkpoints = checkpoints
        self._lease = lease
        self._clock = clock
        self._backoff = backoff
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
    ) -> Copied:
        """Copy the table, or with ``segment`` (I, N) the I-th of N shares, counted from 1.

        Goes on where an earlier attempt ended, unless ``restart``. Makes up for lost history once
        the whole table is copied, all its shares. ``on_left`` is told of items that can't be
        copied, if the mirror parks such. Raises HeldError if the link can't be kept paused,
        PoisonError or a ServiceError if a target can't be written.
        """
        mirror = self._links.mirror
        table = await described(self._source, mirror.source.table, self._backoff)
        stream = await stream_of(self._source, mirror.source.table, self._backoff)
        known = await self._begin(stream)
        lost = known.lost is not None
        number, shares = segment or (1, 1)
        self._on_progress = on_progress
        self._copier = Copier(self._links, on_left)
        self._epoch = len(known.streams) + 1 if lost else None
        self._share = share = Share(
            self._checkpoints,
            (number, shares),
            self._epoch or len(known.streams),
            self._links.names,
        )
        since_ms = self._clock() - PAUSE_MS_MAX if lost else 0
        await share.begin(self._clock(), table.bytes, restart=restart, since_ms=since_ms)
        if lost:
            self._deadline = share.began_ms + RETENTION_MS, TOO_OLD
        self._positions = share.positions
        self._done = await self._positions.load()
        resumed = sum(done.items for done in self._done.values())
        self._tell(
            items=resumed,
            resumed=resumed,
            bytes=sum(done.bytes for done in self._done.values()),
            expected_items=table.items // shares,
            expected_bytes=table.bytes // shares,
        )
        for group in groups(self._parts(table, lost=lost)):
            await self._copy_group(group, stream)
        began_ms = await share.copied()
        if began_ms is not None:
            await self._finish(stream, began_ms)
            await share.finish(self._clock(), self._told.items)
        self._tell()
        return self._told

    def _parts(self, table: Table, *, lost: bool) -> list[Part]:
        """Return what is left to copy."""
        mirror, share = self._links.mirror, self._share
        # Copies of a new epoch come before all its changes, whose numbers aren't negative, and
        # after those of an earlier attempt: the mark's text sorts so.
        number = -share.attempt if lost and mirror.guard is Guard.LEDGER else 0
        reads = Reads(self._source, mirror.source.table, table.key_names, self._backoff)
        parts: list[Part] = [Segment(reads, segment, number) for segment in share.segments]
        if isinstance(mirror, Side) and share.segments[0][0] == 0:
            parts.insert(0, Tombstones(mirror, table, self._source, self._clock, self._backoff))
        return [part for part in parts if not self._done.get(part.name, Done()).whole]

    async def _begin(self, stream: str) -> Known:
        """Write down a loss that nobody has found yet, so that everyone goes by it."""
        known = await self._checkpoints.met(stream, self._clock())
        require_joined(self._links.mirror, known)
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
            if self._clock() - began_ms > RETENTION_MS:
                raise DynamirrorError(TOO_OLD)
            try:
                await self._checkpoints.enroll(known, stream, began_ms)
            except ConditionFailedError:
                raise HeldError(
                    f"{self._checkpoints.link} was begun anew by another process"
                ) from None
        await note(self._checkpoints, self._links.mirror, left_of(known))

    async def _copy_group(self, group: Sequence[Part], stream: str) -> None:
        if self._links.mirror.copies_beside:
            await self._together(group, None)
            return
        unread_ms = await self._caught_up(stream)
        if self._epoch is None:
            self._deadline = unread_ms + PAUSE_MS_MAX, TOO_SLOW
        self._in_time()
        async with Hold(self._checkpoints, self._lease, self._clock) as hold:
            await self._together(group, hold)
        self._resumed_ms = self._clock()

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
        """Copy one part, reading a page ahead of what is being written."""
        done = before = self._done.get(part.name, Done())
        copying: asyncio.Future[None] | None = None
        async for records, after in part.pages(before):
            if copying is not None:
                await copying
                await self._positions.save(part.name, done, self._clock())
            if hold is not None:
                hold.require()
            self._in_time()
            copying, done = self._copier.write(records), after
            removed = sum(record.new_image is None for record in records)
            self._tell(
                items=self._told.items + len(records) - removed,
                bytes=self._told.bytes + sum(map(size_of, records)),
                deletes=self._told.deletes + removed,
            )
        if copying is not None:
            await copying
            await self._positions.save(part.name, done, self._clock())

    def _in_time(self) -> None:
        if self._deadline is not None and self._clock() > self._deadline[0]:
            raise DynamirrorError(self._deadline[1])

    async def _caught_up(self, stream: str) -> int:
        """Before a pause: wait until a running engine is near the stream's end; return since when
        changes may be waiting in the stream, milliseconds since the epoch.
        """
        asked_ms = max(self._resumed_ms, self._clock() - int(2 * RENEW_S * 1_000))
        while True:
            known = await self._checkpoints.load()
            if known.lease is None or self._lease.is_free(known.lease):
                shards = await shards_of(self._source, stream, self._backoff)
                since_ms = oldest_ms(known, shards)
                return self._share.began_ms if since_ms is None else since_ms
            report = decode(known.lease["report"].encode()) if known.lease["report"] else {}
            if report.get("at_ms", 0) > asked_ms + FRESH_MS:
                most_ms = JOIN_LAG_MS if report["state"] == "paused" else CATCH_UP_LAG_MS
                if report["lag_ms"] <= most_ms:
                    return int(report["at_ms"] - report["lag_ms"])
            await asyncio.sleep(1.0)

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
