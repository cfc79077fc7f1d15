"""Redriven, a parked key has what the source holds, and its changes pass again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.engine.virtual_time import VirtualLoop, now_ms, run
from tests.engine.world import PARKED, TARGET, World, change, item

from dynamirror.config.model import Deletes, Guard, OnPoison
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire
from dynamirror.engine.held.claim import CLAIM_S, LANDING_MS, REDRIVE_ROW, Claim
from dynamirror.engine.held.redrive import Redriven, Redriver
from dynamirror.errors import DynamirrorError, HeldError, RefusedError
from dynamirror.ports import DynamoDB

REFUSED = RefusedError("ValidationException", "no")


def redriver(world: World, owner: str = "redrive") -> Redriver:
    return Redriver(world.station(owner))


async def redriven(world: World, left: list[str] | None = None) -> Redriven:
    def note(keys: Wire, error: DynamirrorError) -> None:
        if left is not None:
            left.append(f"{keys['id']['S']}: {error}")

    return await redriver(world).run(lambda _: None, note)


async def park(world: World, *records: StreamRecord, target: str = TARGET.name) -> None:
    parking = world.links.parking_of(1)
    for record in records:
        await parking.park(record, target, REFUSED)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Slow:
    """A target whose next write takes long to get there."""

    def __init__(self, db: DynamoDB, delay_s: float) -> None:
        self._db = db
        self.delay_s = delay_s

    async def call(self, operation: str, request: bytes) -> bytes:
        delay_s, self.delay_s = self.delay_s, 0
        await asyncio.sleep(delay_s)
        return await self._db.call(operation, request)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("guard", Guard)
def test_beside_a_running_engine_a_key_is_brought_up_to_date(guard: Guard) -> None:
    """Changes that come meanwhile are parked behind it or pass, in order either way."""

    async def main() -> None:
        world = World(guard, on_poison=OnPoison.PARK)
        await park(world, change("a", 1, 0), change("gone", 2, 0))
        world.put("a", 1)
        engine = asyncio.create_task(world.consumer("engine").run())
        await asyncio.sleep(3)
        assert world.at_target() == {}

        async def write() -> None:
            for value in range(2, 60):
                world.put("a", value)
                world.put("b", value)
                await asyncio.sleep(0.2)

        writing = asyncio.create_task(write())
        world.connect = lambda db: Slow(db, 2) if db is world.target else db
        told = await redriven(world)
        assert (told.keys, told.left) == (2, 0)
        await writing
        await asyncio.sleep(10)
        assert world.differences() == []
        assert world.rows(PARKED) == []
        await end(engine)

    run(main)


def test_a_delete_that_the_mirror_ignores_is_not_made_up_for() -> None:
    async def main() -> None:
        world = World(on_poison=OnPoison.PARK)
        world.mirror = replace(world.mirror, deletes=Deletes.IGNORE)
        world.target.perform("PutItem", {"TableName": "Stories", "Item": item("a", 1)})
        await park(world, change("a", 5, 3))
        assert (await redriven(world)).keys == 1
        assert list(world.at_target()) == ["a"]
        assert world.rows(PARKED) == []

    run(main)


def test_a_parked_delete_of_the_kind_that_is_mirrored_is_made() -> None:
    async def main() -> None:
        world = World(on_poison=OnPoison.PARK)
        world.mirror = replace(world.mirror, ttl_deletes=Deletes.IGNORE)
        world.target.perform("PutItem", {"TableName": "Stories", "Item": item("a", 1)})
        await park(world, change("a", 5, None))
        assert (await redriven(world)).keys == 1
        assert world.at_target() == {}

    run(main)


def test_a_target_that_is_no_more_is_told_and_stops_nothing() -> None:
    async def main() -> None:
        world, left = World(on_poison=OnPoison.PARK), list[str]()
        world.put("a", 1)
        world.put("b", 1)
        await park(world, change("a", 5, 3), target="old-name")
        await park(world, change("a", 5, 3), change("b", 6, 3))
        told = await redriven(world, left)
        assert (told.keys, told.left) == (1, 1)
        assert len(left) == 1
        assert left[0].startswith("a: the mirror has no target 'old-name' any more")
        assert world.differences() == []
        assert [row["target"]["S"] for row in world.parked] == ["old-name"]

    run(main)


def test_what_still_cannot_be_applied_is_left() -> None:
    async def main() -> None:
        world, left = World(on_poison=OnPoison.PARK), list[str]()
        world.put("a", 1)
        await park(world, change("a", 5, 3))

        async def refuse(operation: str, _: bytes) -> None:
            if operation == "BatchWriteItem":
                raise REFUSED

        world.target.before = refuse
        assert (await redriven(world, left)).left == 1
        assert len(left) == 1
        assert len(world.parked) == 1
        world.target.before = None
        assert (await redriven(world, left)).left == 0

    run(main)


def test_two_at_once_would_bring_back_an_old_image_so_the_second_is_refused() -> None:
    async def main() -> None:
        world = World(on_poison=OnPoison.PARK)
        await park(world, change("a", 1, 0))
        world.put("a", 1)
        world.connect = lambda db: Slow(db, 8) if db is world.target else db
        first = asyncio.create_task(redriven(world))
        await asyncio.sleep(1)
        world.put("a", 2)
        with pytest.raises(HeldError, match="redrive does so already"):
            await redriver(world, "another").run(lambda _: None)
        assert (await first).keys == 1
        world.connect = lambda db: db
        assert (await redriver(world, "another").run(lambda _: None)) == Redriven()

    run(main)


def test_one_that_was_stopped_for_long_writes_nothing_when_it_wakes() -> None:
    """Another may have redriven the key meanwhile, and newer changes have passed."""

    async def main() -> None:
        world = World(on_poison=OnPoison.PARK)
        await park(world, change("a", 1, 0))
        world.put("a", 1)
        stopped = False

        async def stop(operation: str, request: bytes) -> None:
            nonlocal stopped
            if operation == "GetItem" and b'"Stories"' in request and not stopped:
                stopped = True
                loop = asyncio.get_running_loop()
                assert isinstance(loop, VirtualLoop)
                loop.pass_s(CLAIM_S + 1)

        world.source.after = stop
        with pytest.raises(HeldError, match="stopped or cut off"):
            await redriven(world)
        assert world.at_target() == {}
        assert len(world.parked) == 1
        world.put("a", 2)
        assert (await redriver(world, "another").run(lambda _: None)).keys == 1
        assert world.differences() == []

    run(main)


def test_a_claim_is_renewed_and_given_back() -> None:
    """One that was not, for its owner died, is another's after a while."""

    async def main() -> None:
        world = World()
        async with Claim(world.checkpoints, world.lease("one"), now_ms) as claim:
            await asyncio.sleep(10 * CLAIM_S)
            claim.require()
        async with Claim(world.checkpoints, world.lease("two"), now_ms):
            pass
        until_ms = now_ms() + 30_000
        await world.checkpoints.put(REDRIVE_ROW, owner="dead", until_ms=until_ms)
        third = Claim(world.checkpoints, world.lease("three"), now_ms)
        with pytest.raises(HeldError, match="dead does so already"):
            await third.__aenter__()
        await asyncio.sleep(31)
        async with third:
            await world.checkpoints.put(REDRIVE_ROW, owner="thief", until_ms=until_ms * 2)
            await asyncio.sleep(CLAIM_S - LANDING_MS / 1_000 + 1)
            with pytest.raises(HeldError):
                third.require()

    run(main)
