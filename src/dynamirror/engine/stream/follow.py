"""Follow a table's stream: find its shards, read each after its parent, keep positions durable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Coroutine, Sequence
from operator import attrgetter
from typing import Any

from dynamirror.core.limits import SHARDS_PER_PAGE_MAX, STREAM_RETENTION_S
from dynamirror.core.lineage import Shard, StreamPage, merged, readable, stream_page_of
from dynamirror.core.progress import Position
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.stream.checkpoints import Checkpoints, Known
from dynamirror.engine.stream.room import Room
from dynamirror.engine.stream.shard import HandOver, Reading, ShardReader
from dynamirror.errors import HistoryLostError, NotFoundError
from dynamirror.ports import Clock, DynamoDB

SAVE_S = 1.0
"""Positions are saved this often: what is between two saves is applied again after a crash."""

QUIET_SAVE_MS = 10 * 60 * 1_000
"""A position that only ages is saved this often."""

FORGET_MS = 2 * STREAM_RETENTION_S * 1_000
"""A shard that was read to its end and isn't listed any more is forgotten when all in it is so old:
no listing has it again, and its children have been found."""


class Follower:
    """The one consumer of a stream.

    ``hand_over`` takes records in the order of each shard and calls back when all of them are
    applied everywhere; only then do positions move over them.
    """

    def __init__(
        self,
        api: DynamoDB,
        stream: str,
        known: Known,
        checkpoints: Checkpoints,
        hand_over: HandOver,
        *,
        clock: Clock,
        reading: Reading | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.stream = stream
        self.readers: dict[str, ShardReader] = {}
        self.failure: BaseException | None = None
        """Why it stopped, or would have, had it not been stopping already."""
        self._api = api
        self._known = known
        self._epoch = len(known.streams)
        self._checkpoints = checkpoints
        self._hand_over = hand_over
        self._clock = clock
        self._reading = reading or Reading()
        self._backoff = backoff or Backoff()
        self._shards: dict[str, Shard] = {}
        self._saved: dict[str, Position] = dict(known.positions)
        self._records = self._applied = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._room = Room(self._reading.backlog_bytes)
        self._gate = asyncio.Event()
        self._gate.set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._failing = asyncio.Event()

    @property
    def records(self) -> int:
        """How many records were read, of all shards there were."""
        return self._records + sum(reader.records for reader in self.readers.values())

    @property
    def applied(self) -> int:
        """How many of them are applied everywhere."""
        return self._applied + sum(reader.applied for reader in self.readers.values())

    @property
    def drained(self) -> bool:
        """Whether nothing was left to read or apply, as far as the stream tells."""
        listed = all(shard in self.readers or self._position(shard).done for shard in self._shards)
        return bool(self._shards) and listed and all(r.drained for r in self.readers.values())

    def fail(self, error: BaseException) -> None:
        """Stop following, with this error."""
        self.failure = self.failure or error
        self._failing.set()
        if not self._failed.done():
            self._failed.set_exception(error)
            self._ended.set()

    def pause(self) -> None:
        """Read no further; what was read is still applied."""
        self._gate.clear()

    def resume(self) -> None:
        """Read on after a pause."""
        self._gate.set()

    async def settled(self) -> None:
        """Wait until all that was read is applied."""
        for reader in list(self.readers.values()):
            await reader.settled()

    async def run(self, *, once: bool = False) -> None:
        """Follow until cancelled, or, with ``once``, until drained.

        Raises HistoryLostError, and whatever ``fail`` was told.
        """
        saving = asyncio.create_task(self._keep_saving())
        try:
            while True:
                self._ended.clear()
                await self._unless_failed(self._discover())
                self._open_readers()
                # Judged after the look for new shards: the last one's end may have made some.
                if once and self.drained:
                    return
                await self._wait(self._reading.poll_s if once else self._reading.discover_s)
        finally:
            for task in (saving, *self._tasks.values()):
                task.cancel()
            await asyncio.gather(saving, *self._tasks.values(), return_exceptions=True)
            if not self._failed.cancel():
                self._failed.exception()  # a failure that came too late to matter is not unheard

    async def finish(self, within_s: float) -> None:
        """After ``run``: wait for what was read to be applied, or for a failure; save positions."""
        # What isn't applied by then isn't saved either: the next run applies it again.
        settled = asyncio.create_task(self.settled())
        failed = asyncio.create_task(self._failing.wait())
        waiting = {settled, failed}
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await self.save()

    async def save(self) -> None:
        """Write the positions that have moved."""
        for shard_id, reader in list(self.readers.items()):
            position, saved = reader.progress.position, self._saved[shard_id]
            aged_ms = position.read_until_ms - saved.read_until_ms
            moved = (position.sequence_number, position.done) != (saved.sequence_number, saved.done)
            if moved or aged_ms > QUIET_SAVE_MS:
                await self._checkpoints.save(self._epoch, shard_id, position, self._clock())
                self._saved[shard_id] = position

    async def _wait(self, timeout_s: float) -> None:
        """Wait for a shard's end, a failure or the time-out, whichever is first."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout_s)
        if self._failed.done():
            self._failed.result()

    async def _unless_failed(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, or raise the failure that comes meanwhile: a request may be tried for long."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            await task
        finally:
            task.cancel()

    async def _keep_saving(self) -> None:
        try:
            while True:
                await asyncio.sleep(SAVE_S)
                await self.save()
        except Exception as error:
            self.fail(error)
            raise

    async def _discover(self) -> None:
        """List all shards, and note those that are new."""
        request: Wire = {"StreamArn": self.stream, "Limit": SHARDS_PER_PAGE_MAX}
        listed: list[Shard] = []
        while True:
            page = await self._describe(encode(request))
            listed.extend(page.shards)
            if page.last_shard_id is None:
                break
            request["ExclusiveStartShardId"] = page.last_shard_id
        # One that we haven't finished counts though it isn't listed: its reader finds out whether
        # it is gone, and its children wait until then.
        unfinished = [
            Shard(name, position.parent)
            for name, position in self._saved.items()
            if not position.done
        ]
        self._shards = merged({}, [*unfinished, *self._shards.values(), *listed])
        self._check_alive(page)
        for shard in self._shards.values():
            if shard.shard_id not in self._saved:
                position = self._first_position(shard)
                await self._checkpoints.save(self._epoch, shard.shard_id, position, self._clock())
                self._saved[shard.shard_id] = position
        self._forget({shard.shard_id for shard in listed})

    def _forget(self, listed: Container[str]) -> None:
        """Drop what is known of shards that are long gone: in a day a partition has six."""
        before_ms = self._clock() - FORGET_MS
        for name, position in list(self._saved.items()):
            if name in listed or not position.done or position.read_until_ms > before_ms:
                continue
            del self._saved[name]
            self._shards.pop(name, None)
            self._tasks.pop(name, None)
            if (reader := self.readers.pop(name, None)) is not None:
                self._records += reader.records
                self._applied += reader.applied

    def _first_position(self, shard: Shard) -> Position:
        """Nothing of it is read; what is in it came after what was read of its parent."""
        since_ms = self._known.enrolled_ms
        if shard.parent is not None and shard.parent in self._saved:
            since_ms = max(since_ms, self._position(shard.parent).read_until_ms)
        return Position(read_until_ms=since_ms, parent=shard.parent)

    async def _describe(self, body: bytes) -> StreamPage:
        try:
            answer = await persist(lambda: self._api.call("DescribeStream", body), self._backoff)
        except NotFoundError as error:
            raise HistoryLostError(
                f"the stream is gone: {self.stream}; changes made since are in no stream of ours"
            ) from error
        return stream_page_of(answer)

    def _check_alive(self, page: StreamPage) -> None:
        """See that a stream that has nothing more to read isn't one that was switched off."""
        ended = all(self._position(shard_id).done for shard_id in self._shards)
        if page.status in ("DISABLING", "DISABLED") and ended:
            raise HistoryLostError(
                f"the table's stream was disabled: {self.stream}; changes made since are not in it"
            )

    def _position(self, shard_id: str) -> Position:
        reader = self.readers.get(shard_id)
        return reader.progress.position if reader else self._saved.get(shard_id, Position())

    def _open_readers(self) -> None:
        done = {shard_id for shard_id in self._shards if self._position(shard_id).done}
        for shard_id in readable(self._shards, done):
            if shard_id in self.readers:
                continue
            position = self._position(shard_id)
            if position.sequence_number is None:
                # Its parent has been read on since the shard was found, maybe for hours.
                since = self._first_position(self._shards[shard_id])
                position = max(position, since, key=attrgetter("read_until_ms"))
            reader = self.readers[shard_id] = ShardReader(
                self._api,
                self.stream,
                shard_id,
                position,
                self._hand_over,
                clock=self._clock,
                gate=self._gate,
                room=self._room,
                reading=self._reading,
                backoff=self._backoff,
            )
            task = self._tasks[shard_id] = asyncio.create_task(reader.run())
            task.add_done_callback(self._reader_ended)

    def _reader_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
        self._ended.set()


def to_each(submits: Sequence[HandOver]) -> HandOver:
    """Return what hands records to several takers, and calls back when all have applied them."""

    def hand_over(records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        left = len(submits)

        def one_done() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                on_done()

        for submit in submits:
            submit(records, one_done)

    return hand_over
