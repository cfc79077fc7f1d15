"""An event loop whose time passes only when everybody waits: a day of lag costs a microsecond.

Runs are deterministic: the same coroutines see the same times in the same order. What waits for
something that can't happen any more is found out at once, instead of by a time-out.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_MS = 1_700_000_000_000
"""The wall clock when a loop's time is 0."""


class StuckError(Exception):
    """Every task waits, and nothing is going to happen."""


class _Skipping(selectors.SelectSelector):
    """Does not wait for the network (there is none), but has the waiting time passed over."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("everybody waits, and nothing is going to happen")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now_s

    def clock(self) -> int:
        """Return the wall clock in milliseconds."""
        return START_MS + round(self.time() * 1_000)

    def pass_s(self, seconds: float) -> None:
        """Let time pass while nobody does anything."""
        self._skipping.now_s += seconds


def now_ms() -> int:
    """Return the running loop's wall clock: the one to inject."""
    loop = asyncio.get_running_loop()
    return START_MS + round(loop.time() * 1_000)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
