"""Targets that are away or held back, for a function: it sees only one delivery, and remembers a
little.

A delivery tells by its own age how long things have stood still: once its oldest change is older
than ``backlog_seconds`` and a target takes nothing of it, what that target lacks is parked, and the
delivery counts as applied. The same execution environment then parks its next deliveries at once,
until the target answers a question.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

from dynamirror.core.record import StreamRecord
from dynamirror.engine.held.parking import HELD_BACK
from dynamirror.engine.writing.apply import Applier
from dynamirror.errors import ServiceError, TransientError
from dynamirror.ports import Clock

log = logging.getLogger("dynamirror")

TRY_S = 5.0
"""How long a target is tried at least, before it counts as away: a stumble is no absence."""

TRY_SHARE = 1 / 3
"""And no longer than this share of the time that the function has: parking takes some of it."""

PROBE_MS = 5_000
"""Time between two questions to a target that is away."""

PROBE_S = 1.0
"""How long an answer may take."""

AWAY = TransientError("Away", "it took no writes for backlog_seconds")


class Outages:
    """What an execution environment knows of a mirror's targets; it outlives its deliveries."""

    def __init__(self, backlog_s: float, clock: Clock) -> None:
        self._backlog_s = backlog_s
        self._clock = clock
        self._asked_ms: dict[str, int] = {}
        """When targets that are away were asked last."""

    def is_away(self, target: str) -> bool:
        """Tell whether a target was away when it was tried last."""
        return target in self._asked_ms

    async def meet(
        self,
        legs: Sequence[Applier],
        records: Sequence[StreamRecord],
        held_back: Collection[str] = (),
    ) -> None:
        """Before a delivery: leave those whose link is paused, and those that were away a moment
        ago, and still are.
        """
        for leg in legs:
            name = leg.target.name
            if name in held_back:
                leg.leave(HELD_BACK)
            elif name in self._asked_ms and records:
                if self._clock() - self._asked_ms[name] >= PROBE_MS:
                    await self._ask(leg, records[0])
                if name in self._asked_ms:
                    leg.leave(AWAY)

    async def watch(
        self, legs: Sequence[Applier], records: Sequence[StreamRecord], timeout_s: float
    ) -> None:
        """Beside a delivery: leave those that take nothing of it for as long as they are given."""
        oldest_s = records[0].created_at if records else 0.0  # they come in the stream's order
        age_s = self._clock() / 1_000 - oldest_s
        patience_s = max(min(TRY_S, timeout_s * TRY_SHARE), self._backlog_s - age_s)
        for leg in legs:
            leg.patience_s = patience_s
        await asyncio.sleep(patience_s)
        for leg in legs:
            if leg.unapplied and not leg.applied and not leg.away:
                log.warning("%s is away: what it lacks is parked: %s", leg.target.name, leg.trouble)
                leg.leave(AWAY)
                self._asked_ms[leg.target.name] = self._clock()

    async def _ask(self, leg: Applier, record: StreamRecord) -> None:
        name = leg.target.name
        try:
            async with asyncio.timeout(PROBE_S):
                await leg.target.probe(record.keys)
        except TimeoutError:
            self._asked_ms[name] = self._clock()
        except ServiceError as error:
            if not error.retryable:
                raise
            self._asked_ms[name] = self._clock()
        else:
            del self._asked_ms[name]
