"""What is on its way from a consumer to one other replica."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from dynamirror.core.mesh import Answer, Ask, Delete, Put, Skip
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire, key_of
from dynamirror.simulation.replicas import KEY, KEY_NAME, TABLE

KEYS: Wire = {KEY: {"S": KEY_NAME}}


class Line:
    """Requests that follow one another: ``ask`` is the one to send, None once there are no more."""

    __slots__ = ("_on_end", "_steps", "ask")

    def __init__(self, steps: Generator[Ask, Answer, Any], on_end: Callable[[Any], None]) -> None:
        self.ask: Ask | None = None
        self._steps = steps
        self._on_end = on_end

    def advance(self, answer: Answer | None = None) -> None:
        """Go on to the next request, given the answer to the last."""
        try:
            self.ask = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self.ask = None
            self._on_end(end.value)


@dataclass(slots=True)
class Progress:
    """A record that was read, and how many things of it are still to be done."""

    end: int
    """How many records of the stream are read with it."""
    open: int = 1


@dataclass(slots=True)
class Carried:
    """A verdict on its way to one replica, perhaps of several records."""

    verdict: Put | Delete
    of: list[Progress]


class Owner(Protocol):
    """The consumer whose leg it is."""

    rules: TwoWay
    clock: Callable[[], int]

    def settle(self, of: list[Progress]) -> None:
        """Count one thing less to be done of these."""
        ...


class Leg:
    """One other replica: verdicts in line, joined while they wait, parked while it is away."""

    def __init__(self, name: str, owner: Owner) -> None:
        self.name = name
        self.away = False
        self._owner = owner
        self._waiting: deque[Carried] = deque()
        self._sent: Carried | None = None
        self._line: Line | None = None
        self._redrive: Line | None = None
        self._parked = False
        """Whether the key waits to be redriven; changes after that wait behind."""
        self._anew = False
        """Whether it was parked again meanwhile."""
        self._removed = False
        """Whether its newest parked change is a removal."""

    @property
    def idle(self) -> bool:
        """Whether everything has arrived."""
        return not (self._waiting or self._sent or self.away or self._parked or self._redrive)

    def lines(self) -> Iterator[Line]:
        """Yield what may wait for an answer."""
        for line in (self._line, self._redrive):
            if line is not None:
                yield line

    def take(self, carried: Carried) -> None:
        """Put a verdict in line, or join it with the last; park it where it must wait."""
        if self.away or (self._parked and self._redrive is None):
            self._park(carried)
            return
        last = self._waiting[-1] if self._waiting else None
        both = self._owner.rules.joined(last.verdict, carried.verdict) if last else None
        if both is not None and last is not None:
            self._waiting[-1] = Carried(both, [*last.of, *carried.of])
        else:
            self._waiting.append(carried)

    def set_out(self) -> None:
        """Begin what can be begun: first a redrive, if its changes are parked."""
        if self._parked and not self.away and self._redrive is None:
            self._redrive = Line(self._redriven(), self._released)
            self._redrive.advance()
        if self._line is None and self._waiting and not self._parked:
            self._sent = self._waiting.popleft()
            rules, now_ms = self._owner.rules, self._owner.clock()
            self._line = Line(rules.remote(self._sent.verdict, self.name, now_ms), self._arrived)
            self._line.advance()

    def leave(self) -> None:
        """Take the replica for away, and park what is on its way there."""
        self.away = True
        carried = [*([self._sent] if self._sent else []), *self._waiting]
        self.forget()
        for one in carried:
            self._park(one)

    def forget(self) -> None:
        """Lose what is not kept in a table."""
        self._waiting.clear()
        self._sent = self._line = self._redrive = None

    def _park(self, carried: Carried) -> None:
        self._parked = self._anew = True
        self._removed = isinstance(carried.verdict, Delete)
        self._owner.settle(carried.of)

    def _arrived(self, _: object) -> None:
        sent, self._sent, self._line = self._sent, None, None
        if sent is not None:
            self._owner.settle(sent.of)

    def _released(self, _: object) -> None:
        self._redrive = None

    def _redriven(self) -> Generator[Ask, Answer, None]:
        """Carry what is here now to a replica that lacks changes."""
        rules = self._owner.rules
        while self._parked:
            self._anew = False
            request = {"TableName": TABLE, "Key": KEYS, "ConsistentRead": True}
            answer = yield Ask(rules.here, "GetItem", request)
            name, now_ms = "REMOVE" if self._removed else "MODIFY", self._owner.clock()
            key, at_s = key_of(KEYS), now_ms / 1_000
            record = StreamRecord(0, name, key, KEYS, answer.item, None, at_s, by_ttl=False)
            verdict = yield from rules.redriven(record, now_ms)
            if not isinstance(verdict, Skip):
                yield from rules.remote(verdict, self.name, self._owner.clock())
            self._parked = self._anew
