"""A target that can't be written holds up the others no more, and has it all when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import LEDGER, PARKED, TARGET, World, change, contents, create, item

from dynamirror.config.model import Guard, OnPoison, Place
from dynamirror.core.facts import LinkReport
from dynamirror.core.values import decode, same
from dynamirror.engine.held.claim import Claim
from dynamirror.engine.held.redrive import Ear, Redriver
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.writing.links import Links
from dynamirror.errors import (
    HeldError,
    RefusedError,
    ServiceError,
    ThrottledError,
    TransientError,
)
from dynamirror.memory.dynamodb import MemoryDynamoDB

OTHER = Place(region="ap-southeast-2", table="Stories", name="ap-southeast-2")
BACKLOG_S = 60

Fault = Callable[[str, bytes], Awaitable[None]]


async def throttle(operation: str, _: bytes) -> None:
    raise ThrottledError("ProvisionedThroughputExceededException", f"no {operation}")


async def unreachable(operation: str, _: bytes) -> None:
    await asyncio.sleep(10)
    raise TransientError("Timeout", f"no answer to {operation}")


class Pair(World):
    """A source and two targets: eu-west-1, and ap-southeast-2, which may be away."""

    def __init__(self, guard: Guard = Guard.ORDER, **settings: Any) -> None:
        super().__init__(guard, **settings)
        self.other = MemoryDynamoDB(OTHER.region, clock=now_ms)
        create(self.other, "Stories", "id")
        create(self.other, LEDGER, "k")
        self.mirror = replace(self.mirror, targets=(TARGET, OTHER), backlog_seconds=BACKLOG_S)

    @property
    def links(self) -> Links:
        targets = {TARGET.name: self.connect(self.target), OTHER.name: self.connect(self.other)}
        source = self.connect(self.source)
        return Links(self.mirror, source, targets, clock=now_ms, backoff=self.backoff)

    def lacking(self, db: MemoryDynamoDB) -> list[str]:
        """Return the keys whose items differ between the source and a target."""
        mine, theirs = contents(self.source, "Stories"), contents(db, "Stories")
        for held in theirs.values():
            held.pop("_mirror_seq", None)
        names = mine.keys() | theirs.keys()
        return sorted(
            name
            for name in names
            if name not in mine or name not in theirs or not same(mine[name], theirs[name])
        )

    async def write(self, count: int, keys: int = 30) -> None:
        for _ in range(count):
            self.write_at_random(1, keys)
            await asyncio.sleep(0.5)


class Running:
    """An engine that runs within ``async with``."""

    def __init__(self, world: World, owner: str = "me") -> None:
        self.consumer: Consumer = world.consumer(owner, dead=("me",))

    async def __aenter__(self) -> Consumer:
        self._task = asyncio.create_task(self.consumer.run())
        return self.consumer

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


def away(engine: Consumer) -> list[LinkReport]:
    """Return what is told of targets that are away, or back and not up to date yet."""
    links = engine.report().links
    return [link for link in links if link.away_since_ms is not None or link.waiting_keys]


async def until(truth: Callable[[], bool], within_s: float = 600) -> None:
    async with asyncio.timeout(within_s):
        while not truth():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def made_up(world: Pair, engine: Consumer) -> None:
    """Let the target that was away answer, and see that it gets all it lacks."""
    world.other.before = None
    await until(lambda: not away(engine))
    assert world.lacking(world.other) == []


@pytest.mark.parametrize("fault", [throttle, unreachable])
@pytest.mark.parametrize("guard", Guard)
def test_the_other_target_goes_on_and_the_one_that_was_away_has_it_all(
    guard: Guard, fault: Fault
) -> None:
    """Puts, deletes and items that come back, before, during and after ten minutes of absence."""

    async def main() -> None:
        world = Pair(guard)
        async with Running(world) as engine:
            await world.write(40)
            world.other.before = fault
            since_ms = now_ms()
            writing = asyncio.create_task(world.write(1_200))
            await until(lambda: bool(away(engine)), BACKLOG_S + 40)
            await asyncio.sleep(30)
            (link,) = away(engine)
            assert link.target == OTHER.name
            assert link.away_since_ms is not None
            assert abs(link.away_since_ms - since_ms) < 15_000
            assert link.waiting_keys > 0
            assert engine.report().lag_ms < 3_000
            assert engine.report().parked_keys == link.waiting_keys
            asked = 0

            async def count(operation: str, request: bytes) -> None:
                nonlocal asked
                asked += operation != "DescribeTable"
                await fault(operation, request)

            world.other.before = count
            await asyncio.sleep(300)
            assert asked <= 300 / 5 + 1
            assert len(world.parked) <= 2 * 30  # a few changes of each key, not hundreds
            world.other.before = None
            await until(lambda: not away(engine))
            await writing
            await until(lambda: engine.report().lag_ms == 0)
            await asyncio.sleep(5)
            assert world.lacking(world.target) == []
            assert world.lacking(world.other) == []
            assert world.rows(PARKED) == []
            assert engine.report().parked_keys == 0

    run(main)


def test_one_that_takes_nothing_delays_no_other_even_before_it_counts_as_away() -> None:
    """However many pages of the stream wait for it: each is but a few changes."""

    async def main() -> None:
        world = Pair()
        world.other.before = unreachable
        async with Running(world) as engine:
            for _ in range(2 * BACKLOG_S - 10):
                await world.write(1)
                await until(lambda: not world.lacking(world.target), 2)
            assert not away(engine)

    run(main)


def test_what_is_read_meanwhile_is_checkpointed_and_survives_the_process() -> None:
    """The next process finds the parked keys, asks the target at once, and redrives them."""

    async def main() -> None:
        world = Pair()
        world.other.before = throttle
        async with Running(world) as engine:
            await world.write(20)
            await until(lambda: bool(away(engine)))
            await until(lambda: engine.report().lag_ms == 0)
        async with Running(world, "next") as engine:
            await asyncio.sleep(2)
            (link,) = away(engine)
            assert link.away_since_ms is not None
            await world.write(20)
            assert engine.report().lag_ms < 3_000

        async def late(_: str, __: bytes) -> None:
            await asyncio.sleep(8)

        world.other.before = late  # all else is done before it has answered
        consumer = world.consumer("third", dead=("me", "next"))
        await consumer.run(once=True)
        assert world.lacking(world.other) == []
        assert world.rows(PARKED) == []
        assert consumer.report().parked_keys == 0

    run(main)


def test_a_key_that_alone_is_throttled_is_parked_alone() -> None:
    """A hot partition of the target is not the target's absence, and holds up nobody either."""

    async def main() -> None:
        world = Pair(Guard.ITEM)

        async def hot(operation: str, request: bytes) -> None:
            if b'"hot"' in request:
                await throttle(operation, request)

        world.other.before = hot
        async with Running(world) as engine:
            for number in range(200):
                world.put("hot", number)
                world.put(f"cold {number % 20}", number)
                await asyncio.sleep(1)
            assert world.lacking(world.target) == []
            assert world.lacking(world.other) == ["hot"]
            assert engine.report().lag_ms < 3_000
            await made_up(world, engine)

    run(main)


def test_without_backlog_seconds_the_others_wait() -> None:
    async def main() -> None:
        world = Pair()
        world.mirror = replace(world.mirror, backlog_seconds=0)
        world.other.before = throttle
        async with Running(world) as engine:
            await world.write(20)
            await asyncio.sleep(1_000)
            assert engine.report().lag_ms > 900_000
            assert world.rows(PARKED) == []
            world.other.before = None
            await until(lambda: engine.report().lag_ms == 0)
            assert world.lacking(world.other) == []

    run(main)


@pytest.mark.parametrize("on_poison", OnPoison)
def test_poison_that_was_parked_for_absence_is_poison_when_it_is_redriven(
    on_poison: OnPoison,
) -> None:
    """It stops the mirror, or stays parked for somebody to mend its cause; it is not lost."""

    async def main() -> None:
        world = Pair(on_poison=on_poison)
        world.other.before = throttle

        async def refuse(operation: str, request: bytes) -> None:
            if operation == "BatchWriteItem" and b'"bad"' in request:
                raise RefusedError("ValidationException", "never")

        consumer = world.consumer("me")
        task = asyncio.create_task(consumer.run())
        world.put("bad")
        world.put("good")
        await until(lambda: bool(away(consumer)))
        world.other.before = refuse
        if on_poison is OnPoison.STOP:
            with pytest.raises(Exception, match="is refused: ValidationException: never"):
                await asyncio.wait_for(task, 100)
            return
        await until(lambda: not away(consumer))
        assert world.lacking(world.other) == ["bad"]
        assert consumer.report().parked_keys == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


def test_a_hot_key_is_released_though_it_never_rests() -> None:
    """What comes while its key is about to be released waits for that, and is not parked again."""

    async def main() -> None:
        world = Pair()
        world.other.before = throttle

        async def slow(_: str, __: bytes) -> None:
            await asyncio.sleep(0.02)

        async def slower(operation: str, _: bytes) -> None:
            if operation == "BatchWriteItem":
                await asyncio.sleep(0.1)

        world.source.after, world.other.after = slow, slower
        async with Running(world) as engine:
            world.put("hot")
            await until(lambda: bool(away(engine)))

            async def heat() -> None:
                for number in range(6_000):
                    world.put("hot", number)
                    await asyncio.sleep(0.01)

            heating = asyncio.create_task(heat())
            await asyncio.sleep(10)
            world.other.before = None
            await until(lambda: not away(engine), 15)
            assert not heating.done()
            await heating
            await asyncio.sleep(5)
            assert world.lacking(world.other) == []

    run(main)


def test_a_change_that_comes_while_its_key_is_redriven_is_not_overtaken() -> None:
    """Under guard ``order`` nothing but the hold keeps the redrive's image from landing last."""

    async def main() -> None:
        world = Pair()
        world.other.before = throttle
        async with Running(world) as engine:
            world.put("a", 1)
            await until(lambda: bool(away(engine)))
            first = True

            async def slow(operation: str, _: bytes) -> None:
                nonlocal first
                if operation == "BatchWriteItem" and first:
                    first = False
                    await asyncio.sleep(5)

            world.other.before = slow
            await until(lambda: not first)
            world.put("a", 2)
            await until(lambda: not away(engine))
            await asyncio.sleep(10)
            assert world.lacking(world.other) == []

    run(main)


def test_nothing_is_redriven_while_the_link_is_paused() -> None:
    """Whoever copies the table under guard ``order`` must know that nobody else writes."""

    async def main() -> None:
        world = Pair()
        world.other.before = throttle
        async with Running(world) as engine:
            await world.write(20)
            await until(lambda: bool(away(engine)))
            await world.checkpoints.put("#pause/somebody", until_ms=now_ms() + 60_000)
            await asyncio.sleep(5)
            wrote: list[str] = []

            async def note(operation: str, request: bytes) -> None:
                if operation != "DescribeTable" and b"ConditionExpression" not in request:
                    wrote.append(f"{operation} {decode(request)}")

            world.other.before = note
            await asyncio.sleep(40)
            paused = engine.paused
            assert paused
            assert wrote == []
            await until(lambda: not engine.paused)
            await made_up(world, engine)

    run(main)


class Heard(Ear):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.answers: list[str] = []

    def hear(self, error: ServiceError | None) -> None:
        self.answers.append("taken" if error is None else error.code)


def test_two_that_are_back_at_once_are_redriven_in_turn() -> None:
    """How one target fares is no word on the other, and nobody else redrives before both are."""

    async def main() -> None:
        world = Pair()
        station = world.station()
        redriver = Redriver(station, held=True)
        why = TransientError("Timeout", "away")
        for db, place in ((world.target, TARGET), (world.other, OTHER)):
            await station.links.parking_of(1).shelve([change("a", 1)], place.name, why)
            world.source.perform("PutItem", {"TableName": "Stories", "Item": item("a")})
            assert not contents(db, "Stories")
        refused = 0

        async def refuse_thrice(operation: str, request: bytes) -> None:
            nonlocal refused
            refused += 1
            await asyncio.sleep(1)
            with pytest.raises(HeldError):  # while we are at it, nobody else is
                async with Claim(world.checkpoints, world.lease("other"), now_ms):
                    raise AssertionError("another redrives beside us")
            if refused <= 3:
                await throttle(operation, request)

        world.other.before = refuse_thrice
        one, other = Heard(), Heard()
        await asyncio.gather(redriver.resync(TARGET.name, one), redriver.resync(OTHER.name, other))
        assert one.answers == ["taken"]
        assert other.answers == ["ProvisionedThroughputExceededException"] * 3 + ["taken"]

    run(main)
