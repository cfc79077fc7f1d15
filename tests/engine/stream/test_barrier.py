"""The barrier: when it says drained, everything that was written before it is at every target."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.engine.stream.test_follow import pass_s
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import SOURCE, TARGET, World, change

from dynamirror.config.model import OneWay, OnPoison, Place, Side
from dynamirror.core.progress import Position
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.stream.barrier import SETTLE_S, Barrier, Gate, Standing, rounds_of
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.errors import Exit

WAIT_S = 600.0


class Waiting:
    """A barrier over one mirror of a world."""

    def __init__(self, world: World, rounds: int = 1) -> None:
        parking = Parking(
            world.source, world.mirror.parked, "stories", 1, clock=now_ms, backoff=world.backoff
        )
        gate = Gate(
            world.mirror,
            world.connect(world.source),
            world.checkpoints,
            parking,
            clock=now_ms,
            backoff=world.backoff,
        )
        self.barrier = Barrier([gate], rounds)
        self.told: list[Standing] = []

    async def __call__(self, within_s: float = WAIT_S) -> Standing:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.barrier.wait(self._note)
        return self.told[-1]

    def _note(self, standings: Sequence[Standing]) -> None:
        self.told += standings


@contextlib.asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[None]:
    task = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("late_s", [0.0, SETTLE_S - 0.1])
def test_what_was_written_before_is_applied_when_it_is_drained(seed: int, late_s: float) -> None:
    """Beside a writer that doesn't stop, through splits, and for changes that the stream shows
    only seconds after their writer was answered.
    """

    async def main() -> None:
        world = World(seed=seed, shards=3)

        async def slow(operation: str, _: bytes) -> None:
            await asyncio.sleep(world.chance.random() * (3 if operation == "BatchWriteItem" else 0))

        world.target.before = slow
        counters: dict[str, int] = {}

        def write() -> None:
            name = f"key {world.chance.randrange(40)}"
            counters[name] = counters.get(name, 0) + 1
            world.put(name, counters[name])

        async def write_on() -> None:
            while True:
                write()
                if world.chance.random() < 0.02:
                    world.split_at_random()
                await asyncio.sleep(world.chance.random() * 0.4)

        async with running(world.consumer()):
            await asyncio.sleep(world.chance.random() * 20)
            writing = asyncio.create_task(write_on())
            await asyncio.sleep(world.chance.random() * 20)
            waiting = asyncio.create_task(Waiting(world)())
            await asyncio.sleep(late_s)
            before = dict(counters)
            standing = await waiting
            there = {name: int(held["value"]["N"]) for name, held in world.at_target().items()}
            writing.cancel()
        assert standing.drained
        assert [name for name in before if there.get(name, 0) < before[name]] == []

    run(main)


def test_a_quiet_table_is_drained_soon() -> None:
    """Where nothing happens, the wait is hardly longer than the stream may hold changes back."""

    async def main() -> None:
        world = World(shards=4)
        async with running(world.consumer()):
            world.put("a")
            await asyncio.sleep(3_600)
            since = asyncio.get_running_loop().time()
            standing = await Waiting(world)()
            assert standing == Standing(mirror="stories", drained=True, exit=Exit.DONE)
            assert asyncio.get_running_loop().time() - since < SETTLE_S + 2

    run(main)


def test_it_is_not_drained_while_a_target_lacks_a_change() -> None:
    """Read is not applied: while one write at a target isn't answered, the barrier waits."""

    async def main() -> None:
        world = World()
        answered = asyncio.Event()

        async def held(operation: str, _: bytes) -> None:
            if operation == "BatchWriteItem":
                await answered.wait()

        world.target.before = held
        async with running(world.consumer()):
            world.put("a")
            await asyncio.sleep(5)
            standing = await Waiting(world)(within_s=60)
            assert (standing.drained, standing.shards_behind, standing.exit) == (False, 1, 1)
            answered.set()
            assert (await Waiting(world)()).drained

    run(main)


def test_nothing_is_written_for_it() -> None:
    """No request of the barrier's own could change a table, a user's least of all."""

    async def main() -> None:
        world = World()
        world.put("a")
        await world.consumer().run(once=True)
        asked: set[str] = set()

        async def note(operation: str, _: bytes) -> None:
            asked.add(operation)

        world.source.before = world.target.before = note
        assert (await Waiting(world)()).drained
        assert asked == {
            "DescribeTable",
            "DescribeStream",
            "GetShardIterator",
            "GetRecords",
            "Query",
        }

    run(main)


def test_without_an_engine_it_says_so_and_goes_on_when_one_comes() -> None:
    """What a stopped engine left is waited for, and who is missing is told."""

    async def main() -> None:
        world = World()
        await world.consumer().run(once=True)
        world.put("a")
        waiting = Waiting(world)
        standing = await waiting(within_s=20)
        assert not standing.drained
        assert "nobody reads the stream: run `dynamirror run CONFIG`" in str(standing.why)
        later = asyncio.create_task(Waiting(world)())
        await asyncio.sleep(20)
        await world.consumer().run(once=True)
        assert (await later).drained

    run(main)


def test_parked_keys_are_not_drained() -> None:
    """A key that is parked is not applied, however far the position has moved."""

    async def main() -> None:
        world = World(on_poison=OnPoison.PARK)
        world.put("a")
        await world.consumer().run(once=True)
        parking, key = world.links.parking_of(1), ("S", "a")
        await parking.park(change("a", 1), TARGET.name, None)
        standing = await Waiting(world)(within_s=30)
        assert (standing.drained, standing.parked_keys, standing.why) == (
            False,
            1,
            "1 key is parked",
        )
        rows = [row async for row in parking.rows_of(key)]
        await parking.release(TARGET.name, key, rows, await parking.listing(TARGET.name, key))
        assert (await Waiting(world)()).drained

    run(main)


def test_a_stream_that_only_a_function_may_read_is_not_said_to_be_drained() -> None:
    """Nobody but AWS knows how far a function is: the barrier says that and waits no longer."""

    async def main() -> None:
        world = World()
        waiting = Waiting(world)
        assert (await waiting()).hopeless
        await world.checkpoints.met(world.stream.arn, now_ms())
        standing = await waiting()
        assert (standing.drained, standing.hopeless) == (False, True)
        assert "dynamirror verify CONFIG" in str(standing.hint)

    run(main)


def test_an_engine_that_is_just_starting_is_waited_for() -> None:
    """Who starts ``run`` and the barrier one after the other need not count to ten between."""

    async def main() -> None:
        world = World()
        world.put("a")
        waiting = asyncio.create_task(Waiting(world)())
        await asyncio.sleep(10)
        async with running(world.consumer()):
            assert (await waiting).drained
        assert "a" in world.at_target()

    run(main)


def test_lost_history_is_never_drained() -> None:
    """Changes that are in no stream any more can't be waited for: 3, as everywhere."""

    async def main() -> None:
        world = World()
        await world.consumer().run(once=True)
        known = await world.checkpoints.load()
        await world.checkpoints.lose(known, "trimmed")
        standing = await Waiting(world)()
        assert (standing.drained, standing.exit) == (False, Exit.HISTORY_LOST)
        assert "trimmed" in str(standing.why)

    run(main)


def test_an_old_position_with_nothing_after_it_is_drained() -> None:
    """A table that nobody has written for a day is drained, though its last record is trimmed."""

    async def main() -> None:
        world = World()
        world.put("a")
        async with running(world.consumer()):
            await asyncio.sleep(26 * 3_600)
            world.stream.trim(now_ms() - 24 * 3_600_000)
            assert (await Waiting(world)()).drained

    run(main)


def test_a_shard_that_no_engine_has_met_counts() -> None:
    """What is in a new shard is behind, though no position tells of the shard yet."""

    async def main() -> None:
        world = World()
        world.put("a")
        await world.consumer().run(once=True)
        world.stream.roll_over(world.stream.open_shards[0].id)
        world.put("b")
        assert not (await Waiting(world)(within_s=30)).drained
        await world.consumer().run(once=True)
        assert (await Waiting(world)()).drained

    run(main)


def test_a_shard_that_a_listing_leaves_out_counts() -> None:
    """Listings are eventually consistent: what is known to be unread is behind all the same."""

    async def main() -> None:
        world = World(shards=2)
        await world.consumer().run(once=True)
        for number in range(20):
            world.put(f"key {number}")
        hidden = world.stream.shards.pop(world.stream.open_shards[0].id)
        assert hidden.records
        while world.stream.open_shards[1].records:  # the listed one has nothing left to read
            world.stream.open_shards[1].records.pop()
        assert not (await Waiting(world)(within_s=60)).drained
        world.stream.shards[hidden.id] = hidden
        await world.consumer().run(once=True)
        assert (await Waiting(world)()).drained

    run(main)


def test_positions_of_an_older_stream_count_for_nothing() -> None:
    """An epoch's numbers mean nothing in the next one."""

    async def main() -> None:
        world = World()
        checkpoints = world.checkpoints
        known = await checkpoints.enroll(await checkpoints.load(), "arn:old", now_ms())
        shard = world.stream.open_shards[0].id
        await checkpoints.save(1, shard, Position(10**39, read_until_ms=now_ms()), now_ms())
        known = await checkpoints.enroll(known, world.stream.arn, now_ms())
        await checkpoints.save(2, shard, Position(read_until_ms=now_ms()), now_ms())
        world.put("a")
        pass_s(60)
        assert not (await Waiting(world)(within_s=30)).drained

    run(main)


def _one_way(name: str, source: Place, target: Place) -> OneWay:
    return OneWay(name=name, source=source, targets=(target,))


def test_there_is_a_round_for_every_hop() -> None:
    """What one mirror brings, the next has to bring on; in a two-way mirror some comes back."""
    third = Place(region="eu-west-1", table="Third", name="third")
    sides = tuple(
        Side(name="both", source=one, targets=(other,), replicas=(SOURCE, TARGET))
        for one, other in ((SOURCE, TARGET), (TARGET, SOURCE))
    )
    first, second = _one_way("a", SOURCE, TARGET), _one_way("b", TARGET, third)

    assert rounds_of([first]) == 1
    assert rounds_of([first, second]) == rounds_of([second, first]) == 2
    assert rounds_of(sides) == 3
    assert rounds_of([*sides, second]) == 4
