"""The engine in one process: whenever it dies, the next one makes both tables equal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, Faults, Watch, World

from dynamirror.config.model import Deletes, Guard, OnPoison
from dynamirror.engine.members.roster import note
from dynamirror.engine.stream import consumer as module
from dynamirror.engine.stream.checkpoints import PAUSE_ROWS
from dynamirror.errors import (
    AccessDeniedError,
    HeldError,
    NewTargetError,
    NotFoundError,
    PoisonError,
    RefusedError,
    RosterError,
    ThrottledError,
)
from dynamirror.ports import DynamoDB

GUARDS = list(Guard)


async def once(world: World, owner: str = "me") -> None:
    await asyncio.wait_for(world.consumer(owner).run(once=True), 1_000_000)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("guard", GUARDS)
def test_through_faults_on_both_sides_the_tables_become_equal(guard: Guard, seed: int) -> None:
    async def main() -> None:
        world = World(guard, seed=seed, shards=2)
        at_source, at_target = Faults(seed, 0.05), Faults(seed + 1, 0.15)
        world.source.before, world.source.after = at_source.before, at_source.after
        world.target.before, world.target.after = at_target.before, at_target.after
        task = asyncio.create_task(world.consumer().run())
        for _ in range(15):
            world.write_at_random(30, 25)
            if world.chance.random() < 0.3:
                world.split_at_random()
            await asyncio.sleep(world.chance.random() * 3)
        await asyncio.sleep(300)
        assert world.differences() == [], f"guard {guard}, seed {seed}"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


class Life:
    """How many more requests and answers a process has to live."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.over = asyncio.Event()
        self.buried = asyncio.Event()

    async def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.over.set()
            await self.buried.wait()
            raise NotFoundError("Dead", "this process has ended")


class Mortal:
    """A connection that dies with its process: nothing passes any more, in neither direction."""

    def __init__(self, db: DynamoDB, life: Life) -> None:
        self.db = db
        self.life = life

    async def call(self, operation: str, request: bytes) -> bytes:
        await self.life.spend()
        answer = await self.db.call(operation, request)
        await self.life.spend()
        return answer

    async def close(self) -> None:
        pass


class Graveyard:
    """Processes that were killed: they hang at their last request until the test is over."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names: list[str] = []
        self._lives: list[tuple[Life, asyncio.Task[None]]] = []

    async def kill(self, owner: str, after: int) -> None:
        """Run a consumer that is killed after so many requests and answers."""
        life = Life(after)
        self.world.connect = lambda db: Mortal(db, life)
        task = asyncio.create_task(self.world.consumer(owner, dead=self.names).run())
        self.world.connect = lambda db: db
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(life.over.wait(), 60)
        life.left = 0
        self.names.append(owner)
        self._lives.append((life, task))

    async def finish(self) -> None:
        """Run one more to its end, and bury the dead."""
        last = self.world.consumer("last", dead=self.names)
        await asyncio.wait_for(last.run(once=True), 1_000_000)
        for life, task in self._lives:
            life.buried.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("guard", GUARDS)
def test_killed_at_any_request_it_loses_nothing_and_duplicates_harmlessly(
    guard: Guard, seed: int
) -> None:
    async def main() -> None:
        world, chance = World(guard, seed=seed, shards=2), Random(seed)
        graveyard = Graveyard(world)
        for number in range(6):
            world.write_at_random(30, 15)
            if chance.random() < 0.5:
                world.split_at_random()
            await graveyard.kill(f"process {number}", chance.randrange(60))
        await graveyard.finish()
        assert world.differences() == [], f"guard {guard}, seed {seed}"

    run(main)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("first", [0, 10, 20, 30, 40])
def test_killed_at_each_of_its_first_requests(guard: Guard, first: int) -> None:
    """Not only where chance would have it."""

    async def main(at: int) -> None:
        world = World(guard, seed=at)
        graveyard = Graveyard(world)
        world.write_at_random(12, 4)
        world.stream.roll_over(world.stream.open_shards[0].id)
        world.write_at_random(12, 4)
        await graveyard.kill("dead", at)
        world.write_at_random(6, 4)
        await graveyard.finish()
        assert world.differences() == [], f"killed at {at}"

    for at in range(first, first + 10):
        run(partial(main, at))


def test_a_checkpoint_never_passes_a_record_that_is_not_applied() -> None:
    """One key can't be written; what comes after it is, and yet the position stays before it."""

    async def main() -> None:
        world = World(Guard.ITEM)
        watch = Watch(world.target)
        watch.refuses = lambda name: (
            ThrottledError("ThrottlingException", "") if name == "slow" else None
        )
        world.connect = lambda db: watch if db is world.target else db
        task = asyncio.create_task(world.consumer().run())
        world.put("first")
        await asyncio.sleep(5)
        world.put("slow")
        await asyncio.sleep(5)
        for number in range(5):
            world.put(f"k{number}")
            await asyncio.sleep(1)
        await asyncio.sleep(30)
        assert world.at_target().keys() == {"first", *(f"k{number}" for number in range(5))}
        (position,) = (await world.checkpoints.load()).positions.values()
        records = world.stream.open_shards[0].records
        assert position.sequence_number == records[0].number

        watch.refuses = lambda _: None
        await asyncio.sleep(60)
        (position,) = (await world.checkpoints.load()).positions.values()
        assert position.sequence_number == records[-1].number
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


def test_a_second_consumer_is_refused_and_the_first_goes_on() -> None:
    async def main() -> None:
        world = World()
        first = asyncio.create_task(world.consumer("alice").run())
        await asyncio.sleep(3)
        with pytest.raises(HeldError, match="alice"):
            await world.consumer("bob").run()
        world.put("a")
        await asyncio.sleep(5)
        assert world.differences() == []
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await world.consumer("bob").run(once=True)

    run(main)


def test_who_lost_the_lease_writes_nothing_more_and_leaves_the_positions_alone() -> None:
    """Frozen for a minute, it finds another at work: no item of its queue may land now."""

    async def main() -> None:
        world = World(Guard.ITEM)
        watch = Watch(world.target, delay_s=2)
        world.connect = lambda db: watch if db is world.target else db
        alice = asyncio.create_task(world.consumer("alice").run())
        for number in range(100):
            world.put(f"k{number}")
        await asyncio.sleep(1)
        await world.checkpoints.put("#lease", owner="bob", until_ms=now_ms() + 10**6, report="")
        before = (await world.checkpoints.load()).positions
        with pytest.raises(HeldError, match="bob"):
            await alice
        sent, at_s = len(watch.requests), asyncio.get_running_loop().time()
        assert at_s < 10
        await asyncio.sleep(100)
        assert len(watch.requests) == sent
        known = await world.checkpoints.load()
        assert known.positions == before
        assert known.lease is not None
        assert known.lease["owner"] == "bob"

    run(main)


async def ask_for_pause(world: World, until_ms: int = 10**15) -> None:
    await world.checkpoints.put(f"{PAUSE_ROWS}backfill", until_ms=until_ms)


@pytest.mark.parametrize(("reading_s", "looking_s"), [(3, 1), (1, 2)])
@pytest.mark.parametrize("restart", [False, True])
def test_once_a_pause_is_acknowledged_nothing_is_written_until_it_ends(
    *, restart: bool, reading_s: float, looking_s: float
) -> None:
    """Nor by a consumer that starts meanwhile."""

    async def main() -> None:
        world = World(seed=4, shards=3)
        watch = Watch(world.target, delay_s=0.5)
        world.connect = lambda db: watch if db is world.target else db

        async def slowly(operation: str, _: bytes) -> None:
            # Long enough that a pause comes between a question and its answer.
            await asyncio.sleep({"GetRecords": reading_s, "Query": looking_s}.get(operation, 0))

        world.source.after = slowly
        task = asyncio.create_task(world.consumer("alice").run())
        writing = asyncio.create_task(write_for_ever(world))
        await asyncio.sleep(10)
        await ask_for_pause(world)
        for _ in range(1_000):
            if (await world.checkpoints.load()).paused == ("backfill",):
                break
        sent = len(watch.requests)
        assert watch.in_flight.total() == 0
        await asyncio.sleep(20)
        if restart:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            task = asyncio.create_task(world.consumer("alice").run())
            await asyncio.sleep(20)
        assert len(watch.requests) == sent

        await world.checkpoints.delete(f"{PAUSE_ROWS}backfill")
        writing.cancel()
        await asyncio.sleep(60)
        assert len(watch.requests) > sent
        assert world.differences() == []
        assert (await world.checkpoints.load()).paused == ()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


async def write_for_ever(world: World) -> None:
    while True:
        world.write_at_random(5, 20)
        await asyncio.sleep(0.3)


def test_a_pause_that_nobody_renews_ends() -> None:
    async def main() -> None:
        world = World()
        await ask_for_pause(world, now_ms() + 10_000)
        task = asyncio.create_task(world.consumer().run())
        world.put("a")
        await asyncio.sleep(9)
        assert world.at_target() == {}
        await asyncio.sleep(6)
        assert world.differences() == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


def test_told_to_stop_it_applies_what_it_has_read_and_saves_positions() -> None:
    async def main() -> None:
        world = World(Guard.ITEM)
        watch = Watch(world.target, delay_s=1)
        world.connect = lambda db: watch if db is world.target else db
        task = asyncio.create_task(world.consumer().run())
        for number in range(40):
            world.put(f"k{number}")
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert world.differences() == []
        known = await world.checkpoints.load()
        (position,) = known.positions.values()
        assert position.sequence_number == world.stream.open_shards[0].last
        assert known.lease is None

    run(main)


def test_a_target_that_takes_nothing_does_not_hold_up_the_end() -> None:
    async def main() -> None:
        world = World()
        world.target.before = Faults(1, 1.0).before
        task = asyncio.create_task(world.consumer().run())
        world.put("a")
        await asyncio.sleep(3)
        at_s = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.get_running_loop().time() - at_s <= module.FINISH_S + 1
        world.target.before = None
        await once(world)
        assert world.differences() == []

    run(main)


def refusing(name: str) -> Callable[[str], Exception | None]:
    error = RefusedError("ValidationException", "never")
    return lambda asked: error if asked == name else None


@pytest.mark.parametrize("guard", GUARDS)
def test_what_can_never_be_applied_stops_the_mirror_and_stays_unread(guard: Guard) -> None:
    async def main() -> None:
        world = World(guard)
        watch = Watch(world.target)
        watch.refuses = lambda name: (
            RefusedError("ValidationException", "x") if name == "b" else None
        )
        world.connect = lambda db: watch if db is world.target else db
        for name in "abc":
            world.put(name)
        with pytest.raises(PoisonError):
            await once(world)
        stopped = (await world.checkpoints.load()).stopped
        assert stopped is not None
        assert "can't be applied" in stopped
        watch.refuses = lambda _: None
        await once(world)
        assert (await world.checkpoints.load()).stopped is None
        assert world.differences() == []

    run(main)


@pytest.mark.parametrize("guard", GUARDS)
def test_what_is_parked_is_parked_over_restarts(guard: Guard) -> None:
    async def main() -> None:
        world = World(guard, on_poison=OnPoison.PARK)
        watch = Watch(world.target)
        watch.refuses = lambda name: (
            RefusedError("ValidationException", "x") if name == "b" else None
        )
        world.connect = lambda db: watch if db is world.target else db
        for name in "abc":
            world.put(name, 1)
        await once(world)
        watch.refuses = lambda _: None
        for name in "abc":
            world.put(name, 2)
        await once(world)
        assert world.differences() == ["b"]
        assert len(world.parked) == 2

    run(main)


def test_a_denied_target_stops_the_mirror() -> None:
    async def main() -> None:
        world = World()
        watch = Watch(world.target)
        watch.refuses = lambda _: AccessDeniedError("AccessDeniedException", "no")
        world.connect = lambda db: watch if db is world.target else db
        world.put("a")
        with pytest.raises(AccessDeniedError):
            await once(world)
        assert len(watch.requests) == 1

    run(main)


def test_its_report_tells_how_far_it_is() -> None:
    async def main() -> None:
        world = World()
        consumer = world.consumer()
        task = asyncio.create_task(consumer.run())
        world.put("a")
        await asyncio.sleep(5)
        report = consumer.report()
        assert (report.state, report.records, report.applied, report.lag_ms) == (
            "following",
            1,
            1,
            0,
        )
        world.target.before = Faults(1, 1.0).before
        world.put("b")
        await asyncio.sleep(30)
        report = consumer.report()
        assert 28_000 <= report.lag_ms <= 32_000
        assert report.retries > 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


def test_deletes_may_be_left_out() -> None:
    """All of them, or only those of expiry; what is unknown is never left out."""

    async def main() -> None:
        for deletes, ttl_deletes, left in (
            (Deletes.IGNORE, Deletes.MIRROR, ["a"]),
            (Deletes.MIRROR, Deletes.IGNORE, ["b"]),
            (Deletes.IGNORE, Deletes.IGNORE, ["a", "b"]),
        ):
            world = World()
            world.mirror = replace(world.mirror, deletes=deletes, ttl_deletes=ttl_deletes)
            world.source.table("Stories").ttl_attribute = "ends"
            world.put("a")
            world.put("b", ends={"N": str(now_ms() // 1_000 - 1)})
            world.delete("a")
            world.source.table("Stories").expire(now_ms())
            await once(world)
            assert sorted(world.at_target()) == left

    run(main)


def test_poison_found_while_stopping_is_told_and_not_waited_for() -> None:
    async def main() -> None:
        world = World()
        watch = Watch(world.target, delay_s=2)
        watch.refuses = refusing("b")
        world.connect = lambda db: watch if db is world.target else db
        task = asyncio.create_task(world.consumer().run())
        world.put("b")
        await asyncio.sleep(1)
        at_s = asyncio.get_running_loop().time()
        task.cancel()
        (end,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(end, PoisonError)
        assert asyncio.get_running_loop().time() - at_s < module.FINISH_S / 2

    run(main)


def test_a_target_that_joins_a_running_mirror_must_be_filled_first() -> None:
    """The positions are those of the others: it would lack all that came before."""

    async def main() -> None:
        world = World()
        world.put("a")
        await once(world)
        joined = replace(TARGET, name="ap-south-1")
        world.mirror = replace(world.mirror, targets=(TARGET, joined))
        with pytest.raises(NewTargetError, match="ap-south-1 joined"):
            await world.consumer().run(once=True)

    run(main)


def test_a_target_that_was_dropped_and_is_listed_again_must_be_filled_first() -> None:
    """What came while it was not listed went past it, though it had taken part before."""

    async def main() -> None:
        world = World()
        both = replace(world.mirror, targets=(TARGET, replace(TARGET, name="ap-south-1")))
        await note(world.checkpoints, both, {})
        await once(world)
        world.mirror = both
        with pytest.raises(NewTargetError, match="ap-south-1 joined"):
            await world.consumer().run(once=True)

    run(main)


def test_an_engine_stops_when_a_target_is_filled_that_it_does_not_serve() -> None:
    """Started with an older file, it would leave the new target behind from then on."""

    async def main() -> None:
        world = World()
        running = asyncio.create_task(world.consumer().run())
        await asyncio.sleep(5)
        joined = replace(world.mirror, targets=(TARGET, replace(TARGET, name="ap-south-1")))
        await note(world.checkpoints, joined, {})
        with pytest.raises(RosterError, match="ap-south-1 has joined"):
            await asyncio.wait_for(running, 60)

    run(main)


def test_an_engine_that_wakes_up_late_does_not_undo_what_a_backfill_made_good() -> None:
    async def main() -> None:
        world = World()
        known = await world.checkpoints.met("arn:1", now_ms())
        await world.checkpoints.lose(known, "trimmed")
        await world.checkpoints.enroll(await world.checkpoints.load(), "arn:2", now_ms() + 1)
        with pytest.raises(HeldError, match="begun anew"):
            await world.checkpoints.lose(known, "trimmed again")
        assert (await world.checkpoints.load()).lost is None

    run(main)


def test_its_report_never_says_following_when_it_is_not() -> None:
    async def main() -> None:
        world = World()
        consumer = world.consumer()
        assert consumer.report().state == "starting"
        task = asyncio.create_task(consumer.run())
        await asyncio.sleep(2)
        assert consumer.report().state == "following"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert consumer.report().state == "stopped"

    run(main)
