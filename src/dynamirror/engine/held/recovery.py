"""Targets that are away: noticed, no longer waited for, asked now and then, brought up to date.

A target is away once it has taken nothing for ``backlog_seconds`` while requests failed in ways
that may pass. From then on its changes are parked, and the checkpoint moves on. Once it answers
again, its changes go to it as ever, but for those of parked keys, which are redriven beside them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from dynamirror.core.values import Wire
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.held.redrive import Ear, Interrupted, Redriver
from dynamirror.engine.writing.apply import Applier
from dynamirror.errors import (
    DynamirrorError,
    HeldError,
    PoisonError,
    ServiceError,
    TransientError,
)
from dynamirror.ports import Clock

log = logging.getLogger("dynamirror")

LOOK_S = 1.0
"""Time between two looks at how a target fares."""

PROBE_S = 5.0
"""Time between two questions to one that is away."""

HELD_S = 10.0
"""Time until we try again to redrive what somebody else redrives just now."""

BEFORE = TransientError("Away", "it was away when the process before this one ended")


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """A target that is away, or back and not up to date yet."""

    since_ms: int | None
    """Since when it takes nothing; None: it is back, and its parked keys are brought up to date."""
    keys: int
    """How many keys wait for it."""


class _Watch(Ear):
    """What is known of one target."""

    def __init__(self, leg: Applier, backlog_s: float) -> None:
        self.leg = leg
        self.name = leg.target.name
        self.since_ms: int | None = None
        self.asked = False
        """Whether it was asked since it counts as away."""
        self.paused = False
        self.redriving = False
        self.keys: Wire | None = None
        """Of some item: what it is asked with."""
        self._backlog_s = backlog_s

    @property
    def overdue(self) -> bool:
        """Whether it has taken nothing for so long that it counts as away."""
        since_s = self.leg.failing_since_s
        now_s = asyncio.get_running_loop().time()
        return since_s is not None and now_s - since_s >= self._backlog_s

    def hear(self, error: ServiceError | None) -> None:
        if error is None:
            self.leg.failing_since_s = None
        elif self.leg.failing_since_s is None:
            self.leg.failing_since_s = asyncio.get_running_loop().time()
        self.leg.trouble = "" if error is None else str(error)

    def go_on(self) -> bool:
        return not (self.paused or self.leg.away or self.overdue)


class Recovery:
    """Looks after the targets of one running mirror."""

    def __init__(
        self,
        legs: Sequence[Applier],
        parking: Parking,
        redriver: Redriver,
        *,
        backlog_s: float,
        parks_poison: bool,
        clock: Clock,
    ) -> None:
        self._parking = parking
        self._redriver = redriver
        self._parks_poison = parks_poison
        self._clock = clock
        self._watches = [_Watch(leg, backlog_s) for leg in legs]
        for leg in legs:
            leg.patience_s = backlog_s
            if parking.shelved(leg.target.name):
                # Until it has answered, nothing need wait to see whether it still is.
                leg.leave(BEFORE)
        for watch in self._watches:
            if watch.leg.away:
                watch.since_ms = parking.shelved_since_ms(watch.name)

    def absences(self) -> dict[str, Absence]:
        """Tell of the targets that are away, or back and not up to date yet, by their names."""
        return {
            watch.name: Absence(
                since_ms=watch.since_ms if watch.leg.away else None,
                keys=self._parking.shelved(watch.name),
            )
            for watch in self._watches
            if watch.leg.away or self._parking.shelved(watch.name)
        }

    async def run(self) -> None:
        """Look after them until cancelled. Raises what stops the mirror."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for watch in self._watches:
                    tasks.create_task(self._tend(watch))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def pause(self) -> None:
        """Redrive nothing until told to go on; what is sent by now is waited for."""
        for watch in self._watches:
            watch.paused = True
        while any(watch.redriving for watch in self._watches):  # noqa: ASYNC110 - one at a time
            await asyncio.sleep(LOOK_S / 10)

    def resume(self) -> None:
        """Redrive again."""
        for watch in self._watches:
            watch.paused = False

    async def settled(self) -> None:
        """Wait until each target is up to date, or was asked and is still away."""
        while not all(map(self._is_settled, self._watches)):  # noqa: ASYNC110 - one at a time
            await asyncio.sleep(LOOK_S / 10)

    def _is_settled(self, watch: _Watch) -> bool:
        return watch.asked if watch.leg.away else not self._parking.shelved(watch.name)

    async def _tend(self, watch: _Watch) -> None:
        leg = watch.leg
        while True:
            if leg.away:
                await self._ask(watch)
            elif watch.overdue:
                self._leave(watch)
            wait_s = PROBE_S if leg.away else LOOK_S
            if not leg.away and not watch.paused and self._parking.shelved(watch.name):
                wait_s = await self._redrive(watch)
            await asyncio.sleep(wait_s)

    def _leave(self, watch: _Watch) -> None:
        leg = watch.leg
        failing_s = asyncio.get_running_loop().time() - (leg.failing_since_s or 0.0)
        watch.since_ms, watch.asked = self._clock() - int(failing_s * 1_000), False
        if leg.sample is not None:
            watch.keys = leg.sample.keys
        why = TransientError("Away", leg.trouble or "it takes no writes")
        log.warning("%s is away: its changes are parked until it is back: %s", watch.name, why)
        leg.leave(why)
        leg.trouble = why.message

    async def _ask(self, watch: _Watch) -> None:
        """Ask a target whether it is back."""
        if watch.keys is None:
            watch.keys = await self._some_keys(watch.name)
        try:
            if watch.keys is not None:
                await watch.leg.target.probe(watch.keys)
        except ServiceError as error:
            if not error.retryable:
                raise
            watch.leg.away, watch.leg.trouble = error, str(error)
        else:
            log.info("%s is back: its parked keys are brought up to date", watch.name)
            watch.leg.come_back()
        watch.asked = True

    async def _some_keys(self, target: str) -> Wire | None:
        async for listed in self._parking.listed():
            if listed.target == target:
                return listed.keys
        return None

    async def _redrive(self, watch: _Watch) -> float:
        """Bring a target that is back up to date; return how long to wait before the next try."""
        watch.redriving = True
        try:
            for keys, error in await self._redriver.resync(watch.name, watch):
                await self._condemn(watch.name, keys, error)
            await self._parking.recheck(watch.name)
        except Interrupted:
            pass
        except HeldError as error:
            log.info("%s: %s", watch.name, error)
            return HELD_S
        finally:
            watch.redriving = False
        return LOOK_S

    async def _condemn(self, target: str, keys: Wire, error: DynamirrorError) -> None:
        if not self._parks_poison:
            raise PoisonError(f"{target}: a change parked while it was away is refused: {error}")
        log.warning("%s: a key parked while it was away is refused: %s", target, error)
        await self._parking.condemn(target, keys)
