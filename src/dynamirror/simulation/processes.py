"""Processes of ours as the scheduler sees them: the shipped engine, each of whose requests waits to
be let through; any of them may be killed, with requests on their way.

All live on one event loop, which runs until everybody waits, and whose time passes only when told.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from dynamirror.errors import HeldError

START_MS = 1_700_000_000_000


class _Idle(selectors.SelectSelector):
    """Waits for nothing (there is no network): where everybody waits, the loop stops."""

    loop: SteppedLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.loop.stop()
        return []


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that runs until everybody waits."""

    def __init__(self) -> None:
        self._now_s = 0.0
        idle = _Idle()
        idle.loop = self
        super().__init__(idle)

    def time(self) -> float:
        return self._now_s

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds."""
        return START_MS + round(self._now_s * 1_000)

    def turn(self, pass_s: float = 0.0) -> None:
        """Let so much time pass, and then everybody go on until all wait."""
        self._now_s += pass_s
        self.run_forever()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way."""

    place: str
    operation: str
    request: bytes


Tell = Callable[[str], None]


@dataclass(slots=True, eq=False)
class Process:
    """One process; ``name`` is that under which it holds leases."""

    name: str
    main: Coroutine[Any, Any, Any] | None = None
    asked: dict[asyncio.Future[bytes], Asked] = field(default_factory=dict)
    dead: bool = False
    given_up: list[Asked] = field(default_factory=list)
    """Requests that nobody waits for any more: they may land."""
    task: asyncio.Task[Any] | None = None

    def start(self, loop: SteppedLoop) -> None:
        """Begin; nothing is sent before the loop turns."""
        if self.main is not None:
            self.task = loop.create_task(self.main)

    @property
    def ended(self) -> bool:
        """Whether it is done, or dead."""
        return self.dead or (self.task is not None and self.task.done())

    @property
    def failure(self) -> str | None:
        """Why it ended badly; that another process was at it is no fault."""
        if self.dead or self.task is None or not self.task.done() or self.task.cancelled():
            return None
        error = self.task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        return None if error is None or isinstance(error, HeldError) else repr(error)

    def kill(self) -> list[Asked]:
        """End it as ``kill -9`` does; return what was on its way."""
        self.dead = True
        left = [*self.given_up, *self.asked.values()]
        self.asked.clear()
        self.given_up = []
        if self.task is not None:
            self.task.cancel()
        return left


class Gate:
    """One place as a process sees it: every request waits for the scheduler."""

    def __init__(self, process: Process, place: str) -> None:
        self._process = process
        self._place = place

    async def call(self, operation: str, request: bytes) -> bytes:
        process = self._process
        if process.dead:
            raise asyncio.CancelledError  # what unwinds of it sends nothing any more
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        asked = process.asked[future] = Asked(self._place, operation, request)
        try:
            return await future
        finally:
            if process.asked.pop(future, None) is not None:
                process.given_up.append(asked)

    async def close(self) -> None:
        """Do nothing."""
