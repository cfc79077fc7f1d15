"""Equal is said only of what was compared."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, World, item, key

from dynamirror.engine.compared import Compared
from dynamirror.engine.hold import Hold
from dynamirror.engine.suspects import PATIENCE_MS, WAIT_MS_MAX, Drift
from dynamirror.engine.verify import Verifier


async def compared(world: World, drifts: list[Drift] | None = None) -> Compared:
    verifier = Verifier(
        world.links,
        world.connect(world.source),
        {TARGET.name: world.connect(world.target)},
        [(world.checkpoints, world.lease("verify"))],
        clock=now_ms,
        backoff=world.backoff,
    )
    found = list[Drift]() if drifts is None else drifts
    return await verifier.run(found.append, lambda _: None)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_drift_is_told_by_kind_and_attribute() -> None:
    async def main() -> None:
        world, drifts = World(), list[Drift]()
        for name in ("same", "missing", "different"):
            world.put(name, 1)
        for held in (item("same", 1), item("different", 2), item("extra", 1)):
            world.target.perform("PutItem", {"TableName": "Stories", "Item": held})
        told = await compared(world, drifts)
        assert (told.missing, told.extra, told.different, told.in_flight) == (1, 1, 1, 0)
        assert not told.equal
        assert {drift.kind: (drift.key, drift.attributes) for drift in drifts} == {
            "missing": (key("missing"), []),
            "extra": (key("extra"), []),
            "different": (key("different"), ["value"]),
        }

    run(main)


def test_beside_a_running_engine_what_is_on_its_way_is_no_drift() -> None:
    async def main() -> None:
        world = World()
        engine = asyncio.create_task(world.consumer().run())

        async def write() -> None:
            while True:
                world.write_at_random(3, 50)
                await asyncio.sleep(0.3)

        writing = asyncio.create_task(write())
        await asyncio.sleep(10)
        told = await compared(world)
        assert told.equal
        assert told.items > 0
        await end(writing)
        await end(engine)

    run(main)


def test_an_item_that_never_rests_is_not_called_equal() -> None:
    """Nobody mirrors it, and no look at it found it at rest: that is no green."""

    async def main() -> None:
        world = World()

        async def write() -> None:
            for value in range(10**6):
                world.put("hot", value)
                await asyncio.sleep(2)

        writing, since_ms = asyncio.create_task(write()), now_ms()
        await asyncio.sleep(0.1)
        told = await compared(world)
        assert told.in_flight == 1
        assert not told.equal
        assert not told.drift
        assert now_ms() - since_ms < 2 * PATIENCE_MS
        await end(writing)

    run(main)


def test_beside_a_pause_it_says_why_it_waits_and_gives_up_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the paused link has not brought yet is neither drift nor equal."""

    async def main() -> None:
        world = World()
        engine = asyncio.create_task(world.consumer("engine").run())
        await asyncio.sleep(3)
        async with Hold(world.checkpoints, world.lease("backfill"), now_ms):
            world.put("a", 1)
            since_ms = now_ms()
            with caplog.at_level(logging.WARNING, "dynamirror"):
                told = await compared(world)
        assert (told.missing, told.in_flight, told.equal) == (0, 1, False)
        assert now_ms() - since_ms < WAIT_MS_MAX + 60_000
        assert "waiting for stories/us-east-1, which is paused" in caplog.text
        await asyncio.sleep(10)
        assert (await compared(world)).equal
        await end(engine)

    run(main)
