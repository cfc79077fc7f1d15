"""A pause that is granted holds until it is surely over, and is never taken for another's."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import World

from dynamirror.engine.stream.checkpoints import PAUSED_ROW
from dynamirror.engine.stream.hold import ANSWER_S, LANDING_MS, PAUSE_S, Hold
from dynamirror.errors import HeldError, TransientError


class Cut:
    """A network between a process and the checkpoint table that can be cut."""

    def __init__(self, world: World) -> None:
        self.is_cut = False
        world.source.before = self._before

    async def _before(self, operation: str, request: bytes) -> None:
        if self.is_cut and b"#pause/" in request:
            await asyncio.sleep(1)
            raise TransientError("ConnectFailed", f"cut off: {operation}")


def hold_of(world: World) -> Hold:
    return Hold(world.checkpoints, world.lease("backfill"), now_ms)


async def engine_of(world: World) -> asyncio.Task[None]:
    task = asyncio.create_task(world.consumer("engine").run())
    await asyncio.sleep(3)
    return task


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_pause_is_kept_as_long_as_it_is_needed() -> None:
    """Nothing is applied within it, and everything afterwards."""

    async def main() -> None:
        world = World()
        engine = await engine_of(world)
        async with hold_of(world) as hold:
            world.put("a", 1)
            for _ in range(60):
                await asyncio.sleep(10)
                hold.require()
            assert world.at_target() == {}
        await asyncio.sleep(5)
        assert world.differences() == []
        await end(engine)

    run(main)


def test_a_pause_that_may_have_ended_is_over_for_good() -> None:
    """Cut off, we stop writing while what is on its way can still land; a late renewal is none."""

    async def main() -> None:
        world = World()
        cut, engine = Cut(world), await engine_of(world)
        async with hold_of(world) as hold:
            cut.is_cut, since_ms = True, now_ms()
            world.put("a", 1)
            while hold.is_held():
                assert world.at_target() == {}
                await asyncio.sleep(0.5)
            assert now_ms() - since_ms <= PAUSE_S * 1_000 - LANDING_MS + 500  # a look's worth
            await asyncio.sleep(LANDING_MS / 1_000 - 10)
            assert world.at_target() == {}
            cut.is_cut = False
            await asyncio.sleep(100)
            assert not hold.is_held()
            with pytest.raises(HeldError, match="kept paused"):
                hold.require()
        assert world.differences() == []
        await end(engine)

    run(main)


def test_whoever_watches_is_told_of_the_end() -> None:
    """Also when everybody only waits."""

    async def main() -> None:
        world = World()
        cut = Cut(world)
        async with hold_of(world) as hold:
            cut.is_cut, since_ms = True, now_ms()
            with pytest.raises(HeldError):
                await hold.watch()
            assert now_ms() - since_ms < PAUSE_S * 1_000

    run(main)


def test_one_that_was_frozen_does_not_go_on() -> None:
    """Its clock says that the pause has ended before it has asked for another."""

    async def main() -> None:
        world = World()
        async with hold_of(world) as hold:
            hold._until_ms = now_ms() - 1  # as after a stop of the whole process
            assert not hold.is_held()
            await asyncio.sleep(30)
            assert not hold.is_held()

    run(main)


def test_the_answer_to_one_pause_is_none_to_the_next() -> None:
    """The engine's word that it has paused may be old: each pause has a name of its own."""

    async def main() -> None:
        world = World()
        await world.lease("engine").acquire()
        async with AsyncExitStack() as stack:
            first, second = hold_of(world), hold_of(world)
            await world.checkpoints.put(PAUSED_ROW, for_whom=[first.name])
            await stack.enter_async_context(first)
            keeping = asyncio.create_task(keep(world))
            since_ms = now_ms()
            with pytest.raises(HeldError, match="has not paused"):
                await second.__aenter__()
            assert now_ms() - since_ms >= ANSWER_S * 1_000
            assert list((await world.checkpoints.load()).pauses) == [first.name]
            await end(keeping)

    run(main)


async def keep(world: World) -> None:
    """Renew the engine's lease, and do nothing else."""
    lease = world.lease("engine")
    while True:
        await lease.renew("")
        await asyncio.sleep(5)


def test_what_was_given_up_may_land_before_the_pause_ends() -> None:
    """Ended by an error, the pause outlives us for as long as a request may take."""

    async def main() -> None:
        world = World()
        engine = await engine_of(world)

        async def fail() -> None:
            async with hold_of(world):
                world.put("a", 1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        await asyncio.sleep(LANDING_MS / 1_000 - 2)
        assert world.at_target() == {}
        await asyncio.sleep(5)
        assert world.differences() == []
        await end(engine)

    run(main)
