"""What was, second by second, for some minutes: lag and throughput of each link."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from dynamirror.observe.status import Status

KEPT = 900
"""Samples kept of each link: a quarter of an hour at one a second."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One second of one link."""

    at_ms: int
    lag_ms: int | None
    """null: nobody knew."""
    per_second: float | None
    """Changes applied at the target since the sample before; null: nobody counted."""


class Series:
    """The last samples of every link, by ``<link>-><target>``."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self._applied: dict[str, tuple[int, int]] = {}

    def note(self, at_ms: int, statuses: Iterable[Status]) -> None:
        """Take a sample of every link."""
        for status in statuses:
            for link in status.links:
                name = f"{status.link}->{link.target}"
                rate = self._rate(name, at_ms, None if link.lag_ms is None else link.applied)
                kept = self._samples.setdefault(name, deque(maxlen=KEPT))
                kept.append(Sample(at_ms, link.lag_ms, rate))

    def since(self, at_ms: int) -> dict[str, list[Sample]]:
        """Return the samples that are newer than a time."""
        return {
            name: [sample for sample in kept if sample.at_ms > at_ms]
            for name, kept in self._samples.items()
        }

    def _rate(self, name: str, at_ms: int, applied: int | None) -> float | None:
        before = self._applied.pop(name, None)
        if applied is None:
            return None
        self._applied[name] = at_ms, applied
        if before is None or applied < before[1] or at_ms <= before[0]:  # counted anew
            return None
        return round((applied - before[1]) * 1_000 / (at_ms - before[0]), 1)
