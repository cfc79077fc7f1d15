"""How many requests may be in flight to one target, and how many items a second.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989), with a look at
latency, as TCP Vegas does: where more requests in flight only make each of them slower, the queue
is ours or the server's, and there is nothing to gain.
"""

from __future__ import annotations

import asyncio

SLOWER_MAX = 2.0
"""Answers that take more than this many times the best one show a queue."""

SLOWER_FLOOR_S = 0.001
"""What an answer may take above the best one before we call it slower: scheduling noise."""

REMEMBER_S = 10.0
"""The best latency is that of the last 10 to 20 seconds, since the network's may rise for good."""


class Limiter:
    """The number of requests that may be in flight, adjusted by every answer."""

    def __init__(self, maximum: int, start: int = 8) -> None:
        self.maximum = maximum
        self.limit = min(start, maximum)
        """Requests that may be in flight now; at least one."""
        self._limit = float(self.limit)
        self._best_s = self._best_before_s = float("inf")
        self._since_s = 0.0
        self._doubling = True
        self._cut_at = 0.0

    def answered(self, took_s: float, in_flight: int, now_s: float) -> None:
        """Note an answer that was no throttle; ``in_flight`` counts it too."""
        if now_s - self._since_s > REMEMBER_S:
            self._best_before_s, self._best_s, self._since_s = self._best_s, took_s, now_s
        self._best_s = min(took_s, self._best_s)
        if in_flight < self.limit or self.limit >= self.maximum:
            return
        best_s = min(self._best_s, self._best_before_s)
        if took_s > best_s * SLOWER_MAX + SLOWER_FLOOR_S:
            return
        self._set(self._limit + (1 if self._doubling else 1 / self._limit))

    def throttled(self, now_s: float, took_s: float) -> None:
        """Note a throttle; requests that were sent before the last cut don't cut again."""
        if now_s - took_s < self._cut_at:
            return
        self._cut_at = now_s
        self._doubling = False
        self._set(self._limit / 2)

    def _set(self, limit: float) -> None:
        self._limit = max(1.0, min(self.maximum, limit))
        self.limit = int(self._limit)


LOOK_S = 1.0
"""Those who wait for their turn look this often whether the pace was changed."""


class Pace:
    """At most so many items per second; those who ask are let through in their order."""

    def __init__(self, per_second: float | None) -> None:
        """``per_second`` None: as many as they like."""
        self.per_second = per_second
        self._free_at_s = 0.0
        self._changes = 0

    def change(self, per_second: float | None) -> None:
        """From now on let so many through a second, those who wait already among them."""
        if per_second != self.per_second:
            self.per_second = per_second
            self._free_at_s = 0.0
            self._changes += 1

    async def take(self, items: float) -> None:
        """Wait until this many items may be sent."""
        while self.per_second is not None:
            clock, changes = asyncio.get_running_loop().time, self._changes
            cost_s = items / self.per_second
            start_s = max(clock(), self._free_at_s)
            self._free_at_s = start_s + cost_s
            try:
                while self._changes == changes and (left_s := start_s - clock()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(min(left_s, LOOK_S))
            except asyncio.CancelledError:
                # What isn't sent doesn't count: a function's invocations share one pace.
                if self._changes == changes:
                    self._free_at_s -= cost_s
                raise
            if self._changes == changes:
                return
