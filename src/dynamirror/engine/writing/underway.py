"""What is on its way to a target: batches that count down, and the line of writes of each key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from dynamirror.core.record import EVENT_NAMES, StreamRecord
from dynamirror.core.values import Key
from dynamirror.engine.writing.targets import Squash


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


class Write(msgspec.Struct, eq=False, gc=False):
    """A record on its way, and those behind it that touch the same key."""

    record: StreamRecord
    batches: tuple[Batch, ...]
    in_flight: bool = False
    alone: bool = False
    """Must not share a request: of an unknown kind, or in one that the service refused."""
    attempts: int = 0
    failing_since_s: float = 0.0
    """When it failed first, by the loop's clock; 0: it hasn't."""
    behind: Write | None = None
    last: Write | None = None
    """The end of the line, told by its head; None: it is the head itself."""


class Lines:
    """A line of writes per key: its head is sent or ready to be, the others wait behind it."""

    def __init__(self) -> None:
        self.heads: dict[Key, Write] = {}
        self.ready: deque[Write] = deque()
        self.settled = 0
        """How many writes are done."""
        self.turn = 0
        """How often all heads were made ready again: who waits since before has lost his place."""

    def admit(self, records: Sequence[StreamRecord], batch: Batch, squash: Squash | None) -> int:
        """Take records in, each in the place of the last of its key, if that is not sent and the
        two squash to one, or behind it. Return how many writes the batch waits for.
        """
        heads, ready, batches, writes = self.heads, self.ready, (batch,), 0
        for record in records:
            known = record.event_name in EVENT_NAMES
            first = heads.get(record.key)
            if first is None:
                write = heads[record.key] = Write(record, batches, alone=not known)
                ready.append(write)
                writes += 1
                continue
            last = first.last or first
            both = None
            if known and not last.in_flight and last.record.known:
                both = record if squash is None else squash(last.record, record)
            if both is None:
                last.behind = first.last = Write(record, batches, alone=not known)
                writes += 1
                continue
            last.record = both
            if last.batches[-1] is not batch:
                last.batches += batches
                writes += 1
        return writes

    def take(self, most: int, held: Collection[Key]) -> list[Write]:
        """Take what the next request carries; what needs care of its own comes alone."""
        writes: list[Write] = []
        ready = self.ready
        for _ in range(min(most, len(ready))):
            write = ready[0]
            special = write.alone or (held and write.record.key in held)
            if special and writes:
                break
            write.in_flight = True
            writes.append(ready.popleft())
            if special:
                break
        return writes

    def settle(self, writes: Sequence[Write]) -> None:
        """Note that writes are done, and make the ones behind them ready."""
        self.settled += len(writes)
        for write in writes:
            behind = write.behind
            if behind is None:
                del self.heads[write.record.key]
            else:
                behind.last = None if write.last is behind else write.last
                self.heads[write.record.key] = behind
                self.ready.append(behind)
            for batch in write.batches:
                batch.settle()

    def recall(self) -> None:
        """Make all heads ready, wherever they are: sent, or waiting for another try."""
        self.turn += 1
        self.ready = deque(self.heads.values())
        for write in self.ready:
            write.in_flight, write.attempts, write.failing_since_s = False, 0, 0.0
