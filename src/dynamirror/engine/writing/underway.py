"""What is on its way to a target: batches that count down, and the line of writes of each key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container

import msgspec

from dynamirror.core.record import StreamRecord
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
    batches: list[Batch]
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

    def admit(self, record: StreamRecord, batch: Batch, squash: Squash | None) -> None:
        """Take a record in: in the place of the last of its key, if that is not sent and the two
        squash to one, or behind it.
        """
        key = record.key
        first = self.heads.get(key)
        if first is None:
            write = self.heads[key] = Write(record, [batch], alone=not record.known)
            self.ready.append(write)
            return
        last = first.last or first
        both = None
        if not last.in_flight and last.record.known and record.known:
            both = record if squash is None else squash(last.record, record)
        if both is None:
            last.behind = first.last = Write(record, [batch], alone=not record.known)
        else:
            last.record = both
            last.batches.append(batch)

    def take(self, most: int, held: Container[Key]) -> list[Write]:
        """Take what the next request carries; what needs care of its own comes alone."""
        writes: list[Write] = []
        ready = self.ready
        while ready and len(writes) < most:
            write = ready[0]
            special = write.alone or write.record.key in held
            if special and writes:
                break
            write.in_flight = True
            writes.append(ready.popleft())
            if special:
                break
        return writes

    def settle(self, write: Write) -> None:
        """Note that a write is done, and make the one behind it ready."""
        self.settled += 1
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
