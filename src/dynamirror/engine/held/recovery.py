"""Targets that are away: noticed, no longer waited for, asked now and then, brought up to date.

A target is away once it has taken nothing for ``backlog_seconds`` while requests failed in ways
that may pass. From then on its changes are parked, and the checkpoint moves on. Once it answers
again, its changes go to it as ever, but for those of parked keys, which are redriven beside them.

A target whose link is paused goes the same way, only at once, in good order, and until it is
resumed: however long that takes, nothing is lost, for its changes wait in a table and not in the
stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

import msgspec

from dynamirror.core.values import Wire
from dynamirror.engine.held.parking import HELD_BACK, Parking
from dynamirror.engine.held.redrive import Ear, Interrupted, Redriver
from dynamirror.engine.item_log import log_item
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
    """Since when it takes nothing; None: it would, and its parked keys are brought up to date."""
    keys: int
    """How many keys wait for it."""
    oldest_ms: int | None
    """When the oldest change was made that waits for it; None: none does."""
    paused: bool
    """Whether it is to get nothing, for somebody paused its link."""


class _Watch(Ear):
    """What is known of one target."""

    def __init__(self, leg: Applier, backlog_s: float) -> None:
        self.leg = leg
        self.name = leg.target.name
        self.since_ms: int | None = None
        self.asked = False
        """Whether it was asked since it counts as away."""
        self.paused = False
        """Whether nothing is to be redriven just now."""
        self.held_back = False
        """Whether its link is paused."""
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

    def keep_keys(self) -> None:
        """Take an item's key to ask the target with later, if a change is at hand."""
        sample = next(iter(self.leg.waiting), None)
        self.keys = self.keys if sample is None else sample.keys

    def hear(self, error: ServiceError | None) -> None:
        if error is None:
            self.leg.failing_since_s = None
        elif self.leg.failing_since_s is None:
            self.leg.failing_since_s = asyncio.get_running_loop().time()
        self.leg.trouble = error

    def go_on(self) -> bool:
        return not (self.paused or self.held_back or self.leg.away or self.overdue)


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
                since_ms=watch.since_ms if watch.leg.away and not watch.held_back else None,
                keys=self._parking.shelved(watch.name),
                oldest_ms=self._parking.shelved_since_ms(watch.name),
                paused=watch.held_back,
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

    def hold_back(self, targets: Collection[str]) -> None:
        """Send nothing more to these, and to all others as ever."""
        for watch in self._watches:
            held_back, watch.held_back = watch.held_back, watch.name in targets
            if not watch.held_back or held_back:
                continue
            watch.since_ms, watch.asked = None, False
            if watch.leg.away:
                watch.leg.trouble = None
            else:
                watch.keep_keys()
                watch.leg.leave(HELD_BACK, in_order=True)

    @property
    def held_back(self) -> list[str]:
        """The targets that get nothing because that was asked for, and to which nothing is on its
        way any more.
        """
        return [
            watch.name
            for watch in self._watches
            if watch.held_back and not watch.redriving and not watch.leg.leaving
        ]

    async def settled(self) -> None:
        """Wait until each target is up to date, or is to get nothing, or is still away."""
        while not all(map(self._is_settled, self._watches)):  # noqa: ASYNC110 - one at a time
            await asyncio.sleep(LOOK_S / 10)

    def _is_settled(self, watch: _Watch) -> bool:
        if watch.held_back:
            return True
        return watch.asked if watch.leg.away else not self._parking.shelved(watch.name)

    async def _tend(self, watch: _Watch) -> None:
        leg = watch.leg
        while True:
            if leg.away and not watch.held_back:
                await self._ask(watch)
            elif watch.overdue and not leg.away:
                self._leave(watch)
            wait_s = PROBE_S if leg.away and not watch.held_back else LOOK_S
            idle = leg.away or watch.paused or self._redriver.busy
            if not idle and self._parking.shelved(watch.name):
                wait_s = await self._redrive(watch)
            await asyncio.sleep(wait_s)

    def _leave(self, watch: _Watch) -> None:
        leg = watch.leg
        failing_s = asyncio.get_running_loop().time() - (leg.failing_since_s or 0.0)
        watch.since_ms, watch.asked = self._clock() - int(failing_s * 1_000), False
        watch.keep_keys()
        trouble = leg.trouble
        why = TransientError("Away", str(trouble or "it takes no writes"))
        log.warning("%s is away: its changes are parked until it is back: %s", watch.name, why)
        leg.leave(why)
        leg.trouble = trouble

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
            if watch.held_back:
                return
            watch.leg.away = watch.leg.trouble = error
            watch.since_ms = watch.since_ms or self._clock()
        else:
            if watch.held_back:
                return
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
        log_item("refused", keys, f"is refused: {error}", target=target)
        if not self._parks_poison:
            raise PoisonError(f"{target}: a change parked while it was away is refused: {error}")
        log.warning("%s: a key parked while it was away is refused: %s", target, error)
        await self._parking.condemn(target, keys)
