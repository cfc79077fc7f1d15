"""Apply one delivered batch before a deadline, and say where it stopped, as Lambda wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from dynamirror.core.record import StreamRecord
from dynamirror.engine.held.outages import Outages
from dynamirror.engine.writing.apply import Applier


class Delivery(msgspec.Struct, frozen=True):
    """How a batch went."""

    lowest_unapplied: int | None
    """The sequence number to deliver again from; None: everything is applied."""
    errors: tuple[BaseException, ...]
    """Why appliers stopped, if one did."""


class Outcome:
    """Collects what becomes of a batch at every target; pass ``failed`` to the appliers."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._over = asyncio.Event()
        self._open = 0

    def failed(self, error: BaseException) -> None:
        """Note that an applier stopped."""
        self.errors.append(error)
        self._over.set()

    def expect(self) -> None:
        """Count a target that must apply the batch."""
        self._open += 1

    def done(self) -> None:
        """Count a target that has."""
        self._open -= 1
        if self._open == 0:
            self._over.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until all is applied, something failed, or time is up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), max(0.0, timeout_s))


async def deliver(
    appliers: Sequence[Applier],
    records: Sequence[StreamRecord],
    outcome: Outcome,
    timeout_s: float,
    outages: Outages | None = None,
) -> Delivery:
    """Apply records at every target, for at most ``timeout_s`` seconds.

    After that nothing is sent and what is unanswered is given up. A failure ends the delivery at
    once: all from the lowest unapplied record on is delivered again, so more writes would only
    be repeated. With ``outages`` what a target that is away lacks is parked.
    """
    if timeout_s <= 0:  # even to begin would send something before we could stop it
        return Delivery(min((one.sequence_number for one in records), default=None), ())
    for applier in appliers:
        outcome.expect()
        applier.submit(records, outcome.done)
    watching: asyncio.Task[None] | None = None
    if outages is not None:
        legs = [leg for applier in appliers for leg in applier.legs]
        watching = asyncio.create_task(outages.watch(legs, records, timeout_s))
    try:
        await outcome.wait(timeout_s)
    finally:
        if watching is not None:
            watching.cancel()
        await asyncio.gather(*(applier.stop() for applier in appliers))
    unapplied = {key for applier in appliers for key in applier.unapplied}
    left = [record for record in records if record.key in unapplied] if unapplied else []
    lowest = min((record.sequence_number for record in left), default=None)
    return Delivery(lowest, tuple(outcome.errors))
