"""Carry changes to one target: many requests in flight, never two for the same key.

Records wait in one queue; a record whose key is already waiting takes the waiting one's place
(squashing: its image is the newer whole), one whose key is in flight waits behind it. So order per
key is kept whatever runs in parallel, and a hot key costs one request at a time, not a queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key
from dynamirror.engine.limiter import Limiter, Pace
from dynamirror.engine.parking import Parking
from dynamirror.engine.retry import Backoff, tell
from dynamirror.engine.targets import Target
from dynamirror.errors import (
    DynamirrorError,
    PoisonError,
    RefusedError,
    ServiceError,
    ThrottledError,
    UnfitError,
)

_UNPROCESSED = ThrottledError("UnprocessedItems", "the table took only a part of a batch")


ASK_S = 0.2
"""Time between two questions whether we may write."""


class Batch:
    """Records handed in together; ``on_done`` is called when every one of them is applied."""

    __slots__ = ("_on_done", "_open")

    def __init__(self, on_done: Callable[[], None]) -> None:
        self._on_done = on_done
        self._open = 0

    def expect(self, writes: int) -> None:
        """Count writes that must be applied before the batch is done."""
        self._open += writes

    def settle(self) -> None:
        """Count one of them as applied."""
        self._open -= 1
        if self._open == 0:
            self._on_done()


class _Write(msgspec.Struct, eq=False, gc=False):
    """A record on its way, and those behind it that touch the same key."""

    record: StreamRecord
    batches: list[Batch]
    in_flight: bool = False
    alone: bool = False
    """Must not share a request: of an unknown kind, or in one that the service refused."""
    attempts: int = 0
    behind: _Write | None = None


class Applier:
    """Applies records to one target, in order per key.

    ``may_write`` is asked before each request, which waits as long as it says no; ``on_failure``
    is called once, with the error after which nothing more is sent.
    """

    def __init__(
        self,
        target: Target,
        limiter: Limiter,
        *,
        on_failure: Callable[[BaseException], None],
        may_write: Callable[[], bool] = lambda: True,
        backoff: Backoff | None = None,
        pace: Pace | None = None,
        parking: Parking | None = None,
    ) -> None:
        self.target = target
        self.limiter = limiter
        self.applied = 0
        self.requests = 0
        self.retries = 0
        self.throttles = 0
        self.trouble = ""
        """Why requests are tried again just now; empty: they aren't."""
        self._on_failure = on_failure
        self._may_write = may_write
        self._backoff = backoff or Backoff()
        self._pace = pace
        self._parking = parking
        self._writes: dict[Key, _Write] = {}
        self._ready: deque[_Write] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self.failed = False

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered, about."""
        return len(self._workers)

    @property
    def unapplied(self) -> frozenset[Key]:
        """The keys of which some change is not applied yet."""
        return frozenset(self._writes)

    def submit(self, records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        """Take records in the order of their stream; ``on_done`` is called when all are applied."""
        batch = Batch(on_done)
        # An event that we don't know must be seen to by itself; everything else, only the last
        # change of a key matters.
        if self.target.squash is None and all(record.known for record in records):
            records = list({record.key: record for record in records}.values())
        batch.expect(len(records) or 1)
        for record in records:
            self._admit(record, batch)
        if records:
            self._hire()
        else:
            batch.settle()

    async def stop(self) -> None:
        """Send nothing more and give up what is unanswered."""
        self.failed = True
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    def _admit(self, record: StreamRecord, batch: Batch) -> None:
        first = self._writes.get(record.key)
        if first is None:
            write = self._writes[record.key] = _Write(record, [batch], alone=not record.known)
            self._ready.append(write)
            return
        last = first
        while last.behind is not None:
            last = last.behind
        both, squash = None, self.target.squash
        if not last.in_flight and last.record.known and record.known:
            both = record if squash is None else squash(last.record, record)
        if both is None:
            last.behind = _Write(record, [batch], alone=not record.known)
        else:
            last.record = both
            last.batches.append(batch)

    def _hire(self) -> None:
        """Put workers on the queue: as many as it feeds, at most as many as may be in flight."""
        if self.failed:
            return
        wanted = -(-len(self._ready) // self.target.records_max)
        for _ in range(min(wanted, self.limiter.limit - len(self._workers))):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._leave)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if worker.cancelled():
            return
        if (error := worker.exception()) is None:
            # Several leave at once where answers come at once, more than the limit asks for.
            if self._ready:
                self._hire()
            return
        if not self.failed:
            self.failed = True
            self._on_failure(error)

    async def _work(self) -> None:
        while self._ready and not self.failed and len(self._workers) <= self.limiter.limit:
            writes = self._take()
            if self._parking is not None and self._holds(writes[0]):
                await self._wait_behind(writes[0], self._parking)
            elif not writes[0].record.known:
                name = writes[0].record.event_name
                await self._refuse(writes[0], UnfitError(f"an event of unknown kind, {name!r}"))
            else:
                await self._send(writes)

    def _take(self) -> list[_Write]:
        """Take what the next request carries; what needs care of its own comes alone."""
        writes: list[_Write] = []
        ready, most = self._ready, self.target.records_max
        while ready and len(writes) < most:
            write = ready[0]
            special = write.alone or (self._parking is not None and self._holds(write))
            if special and writes:
                break
            write.in_flight = True
            writes.append(ready.popleft())
            if special:
                break
        return writes

    async def _send(self, writes: list[_Write]) -> None:
        if self._pace is not None and self._pace.per_second is not None:
            await self._pace.take(len(writes))
        while not self._may_write():  # noqa: ASYNC110 - time decides it, nobody could tell us
            await asyncio.sleep(ASK_S)
        clock = asyncio.get_running_loop().time
        sent_at = clock()
        self.requests += 1
        failure: ServiceError = _UNPROCESSED
        try:
            left = await self.target.send([write.record for write in writes])
        except (RefusedError, UnfitError) as error:
            await self._isolate(writes, error)
            return
        except ServiceError as error:
            if not error.retryable:
                raise type(error)(
                    error.code, f"{self.target.name}: {error.message}", error.body
                ) from error
            left, failure = [write.record for write in writes], error
        now = clock()
        if not left:
            self.trouble = ""
            self.limiter.answered(now - sent_at, len(self._workers), now)
            for write in writes:
                self._settle(write)
            if len(self._ready) > self.target.records_max:
                self._hire()  # the limit may have grown: more than one worker has work
        else:
            self.limiter.throttled(now, now - sent_at)
            self._retry_later(writes, {record.key for record in left}, failure)

    def _retry_later(self, writes: list[_Write], left: set[Key], error: ServiceError) -> None:
        """Put the unapplied ones back after a delay, in which the worker serves other keys."""
        again = [write for write in writes if write.record.key in left]
        for write in writes:
            if write.record.key not in left:
                self._settle(write)
        self.throttles += 1
        self.retries += len(again)
        for write in again:
            write.attempts += 1
        attempt = min(write.attempts for write in again)
        self.trouble = str(error)
        tell(f"writing {self.target.name}", attempt, error)
        delay_s = self._backoff.delay_s(attempt)
        asyncio.get_running_loop().call_later(delay_s, self._again, again)

    def _again(self, writes: list[_Write]) -> None:
        self._ready.extend(writes)
        self._hire()

    async def _isolate(self, writes: list[_Write], error: DynamirrorError) -> None:
        """One bad item fails its whole batch: send each alone to find it."""
        if len(writes) == 1:
            await self._refuse(writes[0], error)
            return
        for write in writes:
            write.alone = True
        self._again(writes)

    async def _refuse(self, write: _Write, error: DynamirrorError) -> None:
        if self._parking is None:
            number = write.record.sequence_number
            raise PoisonError(
                f"{self.target.name}: the change with sequence number {number} "
                f"can't be applied: {error}"
            )
        await self._parking.park(write.record, self.target.name, error)
        self._settle(write)

    def _holds(self, write: _Write) -> bool:
        return self._parking is not None and self._parking.holds(self.target.name, write.record.key)

    async def _wait_behind(self, write: _Write, parking: Parking) -> None:
        """Park a change behind its key's parked ones, unless they have been redriven."""
        if await parking.released(self.target.name, write.record.key):
            self._again([write])
            return
        await parking.park(write.record, self.target.name, None)
        self._settle(write)

    def _settle(self, write: _Write) -> None:
        self.applied += 1
        if write.behind is None:
            del self._writes[write.record.key]
        else:
            self._writes[write.record.key] = write.behind
            self._ready.append(write.behind)
        for batch in write.batches:
            batch.settle()
