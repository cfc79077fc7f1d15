"""Carry changes to one target: many requests in flight, never two for the same key.

Records wait in one queue; a record whose key is already waiting takes the waiting one's place
(squashing: its image is the newer whole), one whose key is in flight waits behind it. So order per
key is kept whatever runs in parallel, and a hot key costs one request at a time, not a queue.

While a target is away its changes go the same way, only to the shelf: to the parked table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key
from dynamirror.engine.held.parking import Parking, poison
from dynamirror.engine.held.shelf import SHELVING, Shelf, Sink
from dynamirror.engine.retry import Backoff, tell
from dynamirror.engine.writing.limiter import Limiter, Pace
from dynamirror.engine.writing.targets import Target
from dynamirror.engine.writing.underway import Batch, Lines, Write
from dynamirror.errors import (
    DynamirrorError,
    RefusedError,
    ServiceError,
    ThrottledError,
    UnfitError,
)

_UNPROCESSED: ServiceError = ThrottledError("UnprocessedItems", "the table took only a part")

ASK_S = 0.2
"""Time between two questions whether we may write."""


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
        parks_poison: bool = True,
    ) -> None:
        self.target = target
        self.limiter = limiter
        self.away: ServiceError | None = None
        """Why the target counts as away just now: its changes are parked; None: it doesn't."""
        self.failing_since_s: float | None = None
        """Since when it has taken nothing, by the loop's clock; None: it takes what it is sent."""
        self.patience_s = float("inf")
        """How long a change may fail before it is parked and holds up nothing any more."""
        self.requests = 0
        self.retries = 0
        self.throttles = 0
        self.trouble: ServiceError | None = None
        """Why requests are tried again just now; None: they aren't."""
        self._on_failure = on_failure
        self._may_write = may_write
        self._backoff = backoff or Backoff()
        self._pace = pace
        self._parking = parking
        self._parks_poison = parks_poison
        self._held: Mapping[Key, int] = parking.held_at(target.name) if parking else {}
        self._there: tuple[Limiter, Pace | None, Mapping[Key, int]] = (limiter, pace, self._held)
        self._sink: Sink = target
        self._lines = Lines()
        self.parked = 0
        """How many of those that are done with are parked."""
        self._settle: Callable[[Sequence[Write]], None] = self._lines.settle
        self._workers: set[asyncio.Task[None]] = set()
        self.leaving: set[asyncio.Task[None]] = set()
        """Who waits for an answer of a target that was left in good order."""
        self._coming: asyncio.Task[None] | None = None
        """The worker that was hired last, until it begins."""
        self.failed = False

    @property
    def applied(self) -> int:
        """How many changes are done with, one way or the other."""
        return self._lines.settled

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered, about."""
        return len(self._workers)

    @property
    def unapplied(self) -> frozenset[Key]:
        """The keys of which some change is not applied yet."""
        return frozenset(self._lines.heads)

    def submit(self, records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        """Take records in the order of their stream; ``on_done`` is called when all are applied."""
        batch = Batch(on_done)
        batch.expect(self._lines.admit(records, batch, self.target.squash) or 1)
        if records:
            self._hire()
        else:
            batch.settle()

    @property
    def legs(self) -> tuple[Applier, ...]:
        """The appliers that write to one target each: itself, but in a two-way mirror."""
        return (self,)

    @property
    def all(self) -> tuple[Applier, ...]:
        """All appliers through which its records pass."""
        return (self,)

    @property
    def waiting(self) -> Iterable[StreamRecord]:
        """The changes that are next of their keys and not applied yet."""
        return (write.record for write in self._lines.heads.values())

    def leave(self, why: ServiceError, *, in_order: bool = False) -> None:
        """Park all there is; give up what is unanswered, or, ``in_order``, wait for it."""
        if self._parking is None or self.failed:
            return
        self.away, self.trouble = why, None
        self._sink = Shelf(self._parking, self.target.name, why)
        self.limiter, self._pace, self._held = Limiter(SHELVING, SHELVING), None, {}
        if in_order:
            self.leaving = set(self._workers)
        else:
            for worker in self._workers:
                worker.cancel()
            self._lines.recall()
        self._hire()

    def come_back(self) -> None:
        """Write to the target again; what is parked by now stays so until it is redriven."""
        self.away = self.failing_since_s = None
        self._sink = self.target
        self.limiter, self._pace, self._held = self._there
        self._hire()

    async def stop(self) -> None:
        """Send nothing more and give up what is unanswered."""
        self.failed = True
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    def _hire(self) -> None:
        """Put one more worker on the queue, if it feeds one and one more may be in flight.

        It hires the next when it has begun: where sending takes no time, one does all the work.
        """
        if self._coming is None and self._lines.ready and not self.failed:
            if len(self._workers) >= self.limiter.limit:
                return
            worker = self._coming = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._leave)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self.leaving.discard(worker)
        if worker is self._coming:  # told to leave before it began
            self._coming = None
        if worker.cancelled():
            if self._lines.ready:  # it was told to leave, and what it had in hand is there again
                self._hire()
            return
        if (error := worker.exception()) is None:
            if self._lines.ready:  # several may leave at once, more than the limit asks for
                self._hire()
            return
        if not self.failed:
            self.failed = True
            self._on_failure(error)

    async def _work(self) -> None:
        self._coming = None
        lines, sink = self._lines, self._sink
        while lines.ready and not self.failed and len(self._workers) <= self.limiter.limit:
            if sink is not self._sink:
                return
            writes = self._lines.take(self._sink.records_max, self._held)
            self._hire()
            if self._parking is not None and writes[0].record.key in self._held:
                await self._wait_behind(writes[0], self._parking)
            elif not writes[0].record.known:
                name = writes[0].record.event_name
                await self._refuse(writes[0], UnfitError(f"an event of unknown kind, {name!r}"))
            else:
                await self._send(writes)

    async def _send(self, writes: list[Write]) -> None:
        if self._pace is not None and self._pace.per_second is not None:
            await self._pace.take(len(writes))
        while not self._may_write():  # noqa: ASYNC110 - time decides it, nobody could tell us
            await asyncio.sleep(ASK_S)
        clock = asyncio.get_running_loop().time
        sent_at = clock()
        self.requests += 1
        failure, sink = _UNPROCESSED, self._sink
        try:
            left = await sink.send([write.record for write in writes])
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
            self.trouble = None
            self.failing_since_s = None
            self.limiter.answered(now - sent_at, len(self._workers), now)
            self._done(writes, parked=sink is not self.target)
        else:
            self.limiter.throttled(now, now - sent_at)
            await self._retry_later(writes, {record.key for record in left}, failure)

    async def _retry_later(self, writes: list[Write], left: set[Key], error: ServiceError) -> None:
        """Put the unapplied ones back after a delay, in which the worker serves other keys."""
        again = [write for write in writes if write.record.key in left]
        now_s = asyncio.get_running_loop().time()
        whole = len(again) == len(writes)
        self.failing_since_s = (self.failing_since_s or now_s) if whole else None
        self._done([one for one in writes if one.record.key not in left], parked=False)
        self.throttles += 1
        self.retries += len(again)
        for write in again:
            write.attempts += 1
            write.failing_since_s = write.failing_since_s or now_s
        if not (again := await self._impatient(again, now_s, error)):
            return
        attempt = min(write.attempts for write in again)
        self.trouble = error
        tell(f"writing {self.target.name}", attempt, error)
        delay_s = self._backoff.delay_s(attempt)
        asyncio.get_running_loop().call_later(delay_s, self._again, again, self._lines.turn)

    async def _impatient(
        self, writes: list[Write], now_s: float, error: ServiceError
    ) -> list[Write]:
        """Park those that have failed for too long; return the others."""
        overdue = [one for one in writes if now_s - one.failing_since_s >= self.patience_s]
        if not overdue or self._parking is None:
            return writes
        shelf = Shelf(self._parking, self.target.name, error)
        await shelf.send([write.record for write in overdue])
        self._done(overdue, parked=True)
        return [write for write in writes if write not in overdue]

    def _again(self, writes: list[Write], turn: int) -> None:
        if turn == self._lines.turn:
            self._lines.ready.extend(writes)
            self._hire()

    async def _isolate(self, writes: list[Write], error: DynamirrorError) -> None:
        """One bad item fails its whole batch: send each alone to find it."""
        if len(writes) == 1:
            await self._refuse(writes[0], error)
            return
        for write in writes:
            write.alone = True
        self._again(writes, self._lines.turn)

    async def _refuse(self, write: Write, error: DynamirrorError) -> None:
        if self._parking is None or not self._parks_poison:
            raise poison(self.target.name, write.record, error)
        await self._parking.park(write.record, self.target.name, error)
        self._done([write], parked=True)

    async def _wait_behind(self, write: Write, parking: Parking) -> None:
        """Park a change behind its key's parked ones, unless they have been redriven."""
        await parking.finished(self.target.name, write.record.key)
        if await parking.released(self.target.name, write.record.key):
            self._again([write], self._lines.turn)
            return
        await parking.park(write.record, self.target.name, None)
        self._done([write], parked=True)

    def _done(self, writes: Sequence[Write], *, parked: bool) -> None:
        self.parked += parked * len(writes)
        self._settle(writes)
