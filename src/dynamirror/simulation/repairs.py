"""A repair beside the consumers: the engine's own, whose requests the scheduler lets through.

It runs on an event loop of its own that turns only when a request of its has been answered, so
that between any two of them everybody else may act.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache

from dynamirror.config.load import load
from dynamirror.config.model import Side
from dynamirror.core.drift import Kind
from dynamirror.core.mesh import Ask
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.comparing.resync import TwoWayRepairer
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.retry import Backoff
from dynamirror.errors import ConditionFailedError, TransientError
from dynamirror.simulation.chance import Ticket
from dynamirror.simulation.replicas import KEY, KEY_NAME, NAMES, TABLE, Place

TURNS = 12
"""Turns of the loop after which every task waits for a request again."""

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "sa-east-1")


class Repairs:
    """Repairs the item now and then, whether or not it differs."""

    name = "repair"

    def __init__(
        self,
        places: Mapping[str, Place],
        clock: Callable[[], int],
        tell: Callable[[str], None] | None,
    ) -> None:
        self.wanted = 0
        self.sent = 0
        self.unseen: list[str] = []
        self.zombies: list[Ask] = []
        self._places = places
        self._tell = tell
        self._asked: dict[asyncio.Future[bytes], Ask] = {}
        self._task: asyncio.Task[None] | None = None
        self._loop = _loop()
        apis = {name: _Gate(self._asked, self._loop, name) for name in places}
        self._repairer = TwoWayRepairer(
            _side(len(places)), apis, [], clock=clock, backoff=Backoff(draw=lambda: 0.0)
        )

    @property
    def drained(self) -> bool:
        """Whether nothing is left to repair."""
        return self._task is None and not self.wanted and not self.zombies

    def oldest_s(self, now_s: float) -> float:
        """Return since when what it has read may be out of date, in epoch seconds."""
        return now_s if self.drained else 0.0

    def step(self, ticket: Ticket, *, hostile: bool) -> None:
        """Let one request through, or begin a repair if one is wanted."""
        if self._task is None:
            if not self.wanted:
                return
            self.wanted -= 1
            drift = Drift(Kind.DIFFERENT, NAMES[0], {KEY: {"S": KEY_NAME}}, [])
            repair = self._repairer.run([drift], lambda _: None)
            self._task = self._loop.create_task(repair)
            self._turn()
        waiting = [future for future in self._asked if not future.done()]
        if waiting:
            self._pass(ticket.one(waiting), ticket.below(100) if hostile else 100)

    def haunt(self, ticket: Ticket) -> None:
        """Let a request land whose sender has long given it up."""
        if self.zombies:
            self._perform(self.zombies.pop(ticket.below(len(self.zombies))), "(late)")

    def save(self) -> None:
        """Do nothing: it keeps no position."""

    def crash(self, ticket: Ticket) -> None:
        """Die, perhaps with requests on their way, and begin anew."""
        if self._task is None:
            return
        self.zombies += [ask for ask in self._asked.values() if ticket.below(2)]
        self._task.cancel()
        self._turn()
        self.wanted += 1

    def _pass(self, future: asyncio.Future[bytes], fate: int) -> None:
        if fate < 4:  # noqa: PLR2004 - of 100: throttled
            return
        ask = self._asked.pop(future)
        if fate < 8:  # noqa: PLR2004 - a time-out: it may land, now or later
            if fate % 2:
                self._perform(ask, "(answer lost)")
            else:
                self.zombies.append(ask)
            future.set_exception(TransientError("Timeout", "no answer"))
        else:
            answer = self._perform(ask, "")
            if isinstance(answer, bytes):
                future.set_result(answer)
            else:
                future.set_exception(answer)
        self._turn()

    def _turn(self) -> None:
        for _ in range(TURNS):
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
        if self._task is not None and self._task.done():
            if not self._task.cancelled():
                self._task.result()
            self._task = None
            self._asked.clear()

    def _perform(self, ask: Ask, note: str) -> bytes | ConditionFailedError:
        self.sent += 1
        answer: bytes | ConditionFailedError
        try:
            answer = encode(self._places[ask.replica].db.perform(ask.operation, ask.request))
        except ConditionFailedError as error:
            answer = error
        if self._tell and ask.request["TableName"] == TABLE:
            refused = "" if isinstance(answer, bytes) else ", refused"
            self._tell(f"repair, {ask.operation} at {ask.replica}{refused} {note}")
        return answer


class _Gate:
    """One replica's region, as the repair sees it: requests wait for the scheduler."""

    def __init__(
        self, asked: dict[asyncio.Future[bytes], Ask], loop: asyncio.AbstractEventLoop, name: str
    ) -> None:
        self._asked = asked
        self._loop = loop
        self._name = name

    async def call(self, operation: str, request: bytes) -> bytes:
        future: asyncio.Future[bytes] = self._loop.create_future()
        parsed: Wire = decode(request)
        self._asked[future] = Ask(self._name, operation, parsed)
        return await future

    async def close(self) -> None:
        """Do nothing."""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _side(count: int) -> Side:
    replicas = ", ".join(
        f'{{ region = "{region}", name = "{name}", table = "{TABLE}" }}'
        for name, region in zip(NAMES[:count], REGIONS, strict=False)
    )
    config = load(f'[mirrors.sessions]\nmode = "two-way"\nreplicas = [{replicas}]\n')
    return next(one for one in config.mirrors if isinstance(one, Side))
