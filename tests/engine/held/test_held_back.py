"""One link paused: its target gets nothing, the others all, and nothing is lost however long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.engine.held.test_recovery import OTHER, Pair, Running, away, throttle, until
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import PARKED, TARGET, contents

from dynamirror.config.model import Guard
from dynamirror.core.facts import LinkReport
from dynamirror.engine.held.redrive import HeldBackError, Redriver
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.control import obeyed, pause, resume, resumed
from dynamirror.engine.stream.lease import Lease
from dynamirror.errors import TransientError

HOUR_S = 3_600


def looking(world: Pair) -> Lease:
    return world.lease("a person")


async def ask(world: Pair, **more: Any) -> bool:
    """Pause the link to the other target, as the command does."""
    asked = {"by": "ada", "why": "index", "now_ms": now_ms(), "target": OTHER.name, **more}
    await pause(world.checkpoints, **asked)
    return await obeyed(world.checkpoints, looking(world), asked["target"])


def held(engine: Consumer) -> LinkReport:
    (link,) = [one for one in engine.report().links if one.target == OTHER.name]
    return link


def redriver(world: Pair) -> Redriver:
    return Redriver(world.station("a person"))


async def caught_up(world: Pair, engine: Consumer) -> None:
    """Wait until nothing is parked, and see that both targets have it all."""
    await until(lambda: not away(engine) and engine.report().lag_ms == 0)
    await asyncio.sleep(5)
    assert world.lacking(world.target) == []
    assert world.lacking(world.other) == []
    assert world.rows(PARKED) == []


@pytest.mark.parametrize("guard", Guard)
def test_only_its_target_gets_nothing_until_it_is_resumed(guard: Guard) -> None:
    """From the moment that `pause` says so, and without the stream being needed for it."""

    async def main() -> None:
        world = Pair(guard)
        async with Running(world) as engine:
            await world.write(40)
            writing = asyncio.create_task(world.write(200))
            assert await ask(world)
            before = contents(world.other, "Stories")
            applied = held(engine).applied
            assert (await world.checkpoints.load()).paused_for(now_ms()) == []  # not the whole
            await writing
            await asyncio.sleep(HOUR_S)
            await world.write(40)
            await until(lambda: engine.report().lag_ms == 0)
            assert contents(world.other, "Stories") == before
            assert world.lacking(world.target) == []
            assert held(engine).paused
            assert held(engine).away_since_ms is None
            assert held(engine).applied == applied  # parked is not applied
            assert held(engine).behind_ms(now_ms()) > HOUR_S * 1_000
            assert len(world.parked) <= 2 * 30  # a few changes of each key, not hundreds

            assert await resume(world.checkpoints, OTHER.name)
            assert await resumed(world.checkpoints, looking(world))
            await caught_up(world, engine)
            assert not held(engine).paused

    run(main)


def test_a_pause_outlives_the_process() -> None:
    """The next one sends that target nothing either, and brings it up to date when resumed."""

    async def main() -> None:
        world = Pair()
        async with Running(world) as engine:
            await world.write(20)
            assert await ask(world)
            await world.write(20)
        before = contents(world.other, "Stories")
        await world.write(20)
        async with Running(world) as engine:
            await world.write(20)
            await until(lambda: engine.report().lag_ms == 0)
            assert world.lacking(world.target) == []
            assert contents(world.other, "Stories") == before
            assert await resume(world.checkpoints)  # all pauses of persons, this one among them
            await caught_up(world, engine)

    run(main)


def test_a_pause_ends_by_itself_and_begins_while_the_target_is_away() -> None:
    """With its time; and a target that was away is not asked for while its link is paused."""

    async def main() -> None:
        world = Pair()
        async with Running(world) as engine:
            await world.write(10)
            asked: list[str] = []

            async def gone(operation: str, _: bytes) -> None:
                if operation != "DescribeTable":
                    asked.append(operation)
                    raise TransientError("Timeout", "no answer")

            world.other.before = gone
            writing = asyncio.create_task(world.write(400))
            await until(lambda: held(engine).away_since_ms is not None)
            assert await ask(world, until_ms=now_ms() + 60_000)
            asked.clear()
            await asyncio.sleep(30)
            assert held(engine).paused
            assert asked == []
            await until(lambda: not held(engine).paused, 60)
            await until(lambda: held(engine).away_since_ms is not None)
            world.other.before = None
            await writing
            await caught_up(world, engine)

    run(main)


def test_where_nothing_can_be_parked_all_of_the_source_waits() -> None:
    """backlog_seconds = 0: no target that is to get nothing is written to, at any price."""

    async def main() -> None:
        world = Pair()
        world.mirror = replace(world.mirror, backlog_seconds=0)
        async with Running(world) as engine:
            await world.write(10)
            assert await ask(world)
            before = contents(world.other, "Stories")
            await world.write(10)
            assert engine.report().state == "paused"
            assert contents(world.other, "Stories") == before
            await resume(world.checkpoints, OTHER.name)
            await caught_up(world, engine)

    run(main)


def test_a_redrive_leaves_what_is_parked_for_a_paused_link() -> None:
    """It is brought to its target when it is resumed; until then that is to get nothing."""

    async def main() -> None:
        world = Pair()
        async with Running(world):
            await world.write(10)
            assert await ask(world)
            await world.write(10)
            before = contents(world.other, "Stories")
            left: list[Exception] = []
            done = await redriver(world).run(lambda _: None, lambda _, error: left.append(error))
            assert (done.keys, done.left) == (0, len(left))
            assert left
            assert all(isinstance(error, HeldBackError) for error in left)
            assert contents(world.other, "Stories") == before

    run(main)


def test_a_target_whose_turn_has_not_come_can_be_paused_at_once() -> None:
    """Another's parked keys may take hours; nobody waits for these but its own."""

    async def main() -> None:
        world = Pair()
        world.target.before = world.other.before = throttle
        async with Running(world) as engine:
            for number in range(400):
                world.put(f"key {number}")
            await until(lambda: len(away(engine)) == 2)
            await asyncio.sleep(10)

            async def slow(_: str, __: bytes) -> None:
                await asyncio.sleep(5)

            world.target.before = slow
            await asyncio.sleep(20)
            world.other.before = None
            await asyncio.sleep(20)
            asked_ms = now_ms()
            assert await ask(world)
            assert now_ms() - asked_ms < 5_000
            waiting = {link.target: link.waiting_keys for link in away(engine)}
            assert 0 < waiting[TARGET.name] < waiting[OTHER.name] == 400

    run(main)
