"""The engine that carries the rules out, broken on purpose: the checkers notice that too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.engine.virtual_time import run
from tests.engine.world import Faults
from tests.simulation.test_engine import HYBRID, World, mirrors

from dynamirror.core.mesh import Answer, Ask
from dynamirror.core.progress import Progress
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.engine.writing import steps
from dynamirror.engine.writing.replicas import CarryTarget, JudgeTarget
from dynamirror.engine.writing.steps import Part, answered
from dynamirror.errors import ServiceError
from dynamirror.runtimes.process import consumer_of
from dynamirror.simulation.replicas import JOURNAL

WRITES = 300


class Hasty(World):
    """Everybody writes the same few items at once, requests take long, consumers die often."""

    pause_s = 0.1

    def strike(self, seed: int, rate: float) -> None:
        for number, region in enumerate(self.regions.values()):
            faults = Faults(seed + number, rate)
            faults.delay_s = 0.3
            region.db.before, region.db.after = faults.before, faults.after

    async def mirror(self) -> None:
        writing = asyncio.create_task(self.write(WRITES))
        while not writing.done():
            tasks = [
                asyncio.create_task(consumer_of(self.wiring, one).run()) for one in mirrors(self)
            ]
            await asyncio.sleep(4 + self.chance.random() * 8)
            for task in tasks:
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end
        self.spare()
        for _ in range(3):  # what one mirrors is news to the others
            for one in mirrors(self):
                await consumer_of(self.wiring, one).run(once=True)


Break = Callable[[pytest.MonkeyPatch], None]


def squashing_all(patch: pytest.MonkeyPatch) -> None:
    """of a key's records in a page only the last is applied"""
    patch.setattr(JudgeTarget, "_squashed", lambda _self, _first, second: second)


def refusals_unseen(patch: pytest.MonkeyPatch) -> None:
    """a refused write counts as written"""

    async def blind(apis: Any, ask: Ask) -> Answer:
        answer = await answered(apis, ask)
        return Answer(held=True, item=answer.item if answer.held else None)

    patch.setattr(steps, "answered", blind)


def unjournaled(patch: pytest.MonkeyPatch) -> None:
    """what lost is not written to the journal"""

    async def silent(apis: Any, ask: Ask) -> Answer:
        if ask.request["TableName"] == JOURNAL:
            return Answer(held=True)
        return await answered(apis, ask)

    patch.setattr(steps, "answered", silent)


def joining_all(patch: pytest.MonkeyPatch) -> None:
    """of what waits for a replica only the last is carried"""
    patch.setattr(TwoWay, "joined", lambda _self, _first, second: second)


def failures_dropped(patch: pytest.MonkeyPatch) -> None:
    """a replica that fails once is left out"""

    async def sent(self: CarryTarget, records: Any) -> Sequence[StreamRecord]:
        with contextlib.suppress(ServiceError):
            await records[0].part.carry_out(self._apis)
        return ()

    patch.setattr(CarryTarget, "send", sent)


def failures_unseen(patch: pytest.MonkeyPatch) -> None:
    """requests whose answers were lost count as answered"""
    carry_out = Part.carry_out

    async def carried_out(self: Part, apis: Any) -> Any:
        try:
            return await carry_out(self, apis)
        except ServiceError:
            self._answer, self._ask = Answer(held=True), None
            raise

    patch.setattr(Part, "carry_out", carried_out)


def done_too_soon(patch: pytest.MonkeyPatch) -> None:
    """positions move over what is not applied yet"""
    hand_in = Progress.hand_in

    def handed_in(self: Progress, *given: Any, **named: Any) -> Any:
        page = hand_in(self, *given, **named)
        self.settle(page)
        return page

    patch.setattr(Progress, "hand_in", handed_in)


KILLERS: dict[Break, tuple[int, bool]] = {
    squashing_all: (0, False),
    refusals_unseen: (0, True),
    unjournaled: (0, False),
    joining_all: (1, True),
    failures_dropped: (1, False),
    failures_unseen: (2, False),
    done_too_soon: (0, False),
}
"""A history that shows each: its seed, and whether applications count from 1."""


@pytest.mark.parametrize("broken", KILLERS, ids=lambda one: one.__name__)
def test_a_broken_engine_is_noticed(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece that carries the rules out matters: broken, histories end badly."""
    seed, counting = KILLERS[broken]
    assert complaints(seed, counting=counting) == []

    broken(monkeypatch)

    assert complaints(seed, counting=counting) != []


def complaints(seed: int, *, counting: bool) -> list[str]:
    async def main() -> list[str]:
        world = Hasty(seed, ("add",) if counting else HYBRID)
        await world.init()
        world.strike(seed, 0.15)
        await world.mirror()
        found = world.complaints()
        # Of counters, the journal is not complete: see docs/correctness.md.
        return [one for one in found if "differs" in one] if counting else found

    return run(main)
