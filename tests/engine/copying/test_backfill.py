"""A backfill beside live writes loses nothing and brings nothing back, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import SOURCE, TARGET, Faults, World

from dynamirror.config.model import Guard, OnPoison
from dynamirror.core.values import decode
from dynamirror.engine.copying import shares
from dynamirror.engine.copying.backfill import Backfill
from dynamirror.engine.copying.copier import Copied, Left
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.look import look
from dynamirror.errors import HeldError, HistoryLostError, PoisonError, RefusedError, TransientError
from dynamirror.observe.judging import judged
from dynamirror.observe.status import State, Status
from dynamirror.ports import DynamoDB

HOUR_S = 3_600


def backfill(world: World, owner: str = "backfill") -> Backfill:
    return Backfill(world.station(owner))


async def copied(
    world: World,
    share: tuple[int, int] | None = None,
    on_left: Callable[[Left], None] = lambda _: None,
) -> Copied:
    return await backfill(world).run(lambda _: None, share, on_left)


async def status(world: World) -> Status:
    facts = await look(
        world.mirror,
        world.source,
        world.checkpoints,
        world.links.parking_of(1),
        now_ms=now_ms(),
        is_dead=lambda _: False,
        backoff=world.backoff,
    )
    return judged(facts)


async def started(consumer: Consumer) -> asyncio.Task[None]:
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(3)
    return task


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def trim(world: World) -> None:
    world.stream.trim(now_ms() - 24 * HOUR_S * 1_000)


class Through:
    """A port that calls something before each request."""

    def __init__(self, db: DynamoDB, before: Callable[[str, bytes], object]) -> None:
        self._db = db
        self._before = before

    async def call(self, operation: str, request: bytes) -> bytes:
        waiting = self._before(operation, request)
        if asyncio.iscoroutine(waiting):
            await waiting
        return await self._db.call(operation, request)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("seed", range(6))
def test_beside_live_writes_both_tables_end_equal(
    guard: Guard, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In many groups and pauses, with faults, begun again twice after it was cut short."""
    monkeypatch.setattr(shares, "SEGMENT_BYTES", 512)

    async def main() -> None:
        world = World(guard, seed=seed, shards=2)
        for number in range(60):
            world.put(f"key {number}", number)
        world.stream.trim(now_ms() + 1)
        faults = Faults(seed, 0.1)
        world.source.before = world.target.before = faults.before
        world.target.after = faults.after
        engine = await started(world.consumer("engine"))
        writing = asyncio.create_task(write(world))
        for _ in range(2):
            cut_short = asyncio.create_task(copied(world))
            await asyncio.sleep(world.chance.random() * 8)
            await end(cut_short)  # type: ignore[arg-type]
        assert (await copied(world)).items > 0
        await writing
        await asyncio.sleep(120)
        assert world.differences() == []
        await end(engine)

    run(main)


async def write(world: World) -> None:
    for _ in range(60):
        world.write_at_random(5, 80)
        await asyncio.sleep(world.chance.random() * 2)


def test_cut_off_from_its_pause_a_backfill_ends_before_the_stream_goes_on() -> None:
    """Not one copy is written over a newer item, and it does not try for ever."""

    async def main() -> None:
        world, names = World(), [f"k{number:03}" for number in range(400)]
        for name in names:
            world.put(name, 0)
        engine = await started(world.consumer("engine"))
        cut = False

        async def before(_: str, __: bytes) -> None:
            if cut:
                await asyncio.sleep(1)
                raise TransientError("ConnectFailed", "cut off")

        world.mirror = replace(world.mirror, max_writes_per_second=2.0)
        source, target = world.source, world.target
        world.connect = lambda db: Through(db, before) if db is source else db
        task = asyncio.create_task(copied(world))
        await asyncio.sleep(10)
        cut = True
        for name in names:
            world.put(name, 1)
        await asyncio.sleep(70)
        assert isinstance(task.exception(), HeldError)
        await asyncio.sleep(120)
        assert world.differences() == []
        assert len(list(target.table("Stories").contents())) == 400
        await end(engine)

    run(main)


def test_stopped_it_sends_nothing_after_its_pause() -> None:
    """Ctrl-C: the writers are stopped first, then the pause is left to end."""

    async def main() -> None:
        world, log = World(), list[str]()
        for number in range(300):
            world.put(f"k{number:03}", 0)

        def note(operation: str, request: bytes) -> None:
            if operation == "BatchWriteItem":
                log.append("write")
            elif b"#pause/" in request:
                log.append("pause")

        world.mirror = replace(world.mirror, max_writes_per_second=100.0)
        world.connect = lambda db: Through(db, note)
        task = asyncio.create_task(copied(world))
        await asyncio.sleep(0.6)
        await end(task)  # type: ignore[arg-type]
        assert "write" in log
        assert log[-1] == "pause"
        before = len(log)
        await asyncio.sleep(100)
        assert len(log) == before

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_after_a_day_unread_what_status_says_mends_it(guard: Guard) -> None:
    """Status, backfill and run judge alike whether history is lost."""

    async def main() -> None:
        world = World(guard)
        world.put("a", 1)
        world.put("gone", 1)
        await world.consumer().run(once=True)
        await asyncio.sleep(HOUR_S)
        world.put("a", 2)
        world.put("b", 2)
        await asyncio.sleep(30 * HOUR_S)
        trim(world)
        assert (await status(world)).state is State.LOST
        await copied(world)
        assert (await status(world)).state is not State.LOST
        world.put("c", 3)
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_history_is_not_lost_behind_a_running_engines_back() -> None:
    """It would go on with the old epoch, and all that it writes be refused."""

    async def main() -> None:
        world = World(Guard.LEDGER)
        world.put("a", 1)
        await world.consumer().run(once=True)
        await asyncio.sleep(30 * HOUR_S)
        await world.lease("engine").acquire()
        with pytest.raises(HeldError, match="goes on"):
            await copied(world)

    run(main)


def test_a_second_attempt_replaces_what_the_first_one_copied() -> None:
    """Even where so long passed between them that the stream tells nothing of it any more."""

    async def main() -> None:
        world = World(Guard.LEDGER)
        for name in "ab":
            world.put(name, 1)
        await world.consumer().run(once=True)
        await world.checkpoints.lose(await world.checkpoints.load(), "seen to it")
        first = backfill(world)

        async def die(*_: object) -> None:
            raise ZeroDivisionError

        first._finish = die  # type: ignore[assignment, method-assign]
        with pytest.raises(ZeroDivisionError):
            await first.run(lambda _: None)
        world.put("a", 2)
        await asyncio.sleep(30 * HOUR_S)
        trim(world)
        await copied(world)
        assert world.differences() == []
        world.put("b", 3)  # with a sequence number of few digits, as local servers give them
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_the_last_share_makes_up_for_the_loss(guard: Guard) -> None:
    """In any order, one of them twice; not before."""

    async def main() -> None:
        world = World(guard)
        for number in range(40):
            world.put(f"k{number}", number)
        await world.consumer().run(once=True)
        await world.checkpoints.lose(await world.checkpoints.load(), "seen to it")
        for number in range(40):
            world.put(f"k{number}", number + 1)
        for share in ((2, 3), (3, 3), (2, 3)):
            await copied(world, share)
            with pytest.raises(HistoryLostError):
                await world.consumer().run(once=True)
        began_ms = now_ms()
        await asyncio.sleep(60)
        await copied(world, (1, 3))
        known = await world.checkpoints.load()
        assert known.lost is None
        assert known.enrolled_ms <= began_ms
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_a_target_that_joined_is_filled_by_a_backfill() -> None:
    """A run refuses it before, and takes it afterwards."""

    async def main() -> None:
        world = World()
        await world.checkpoints.put("#targets", names=["ap-south-1"])
        world.put("a", 1)
        await copied(world)
        known = await world.checkpoints.load()
        assert known.targets == (TARGET.name,)
        await world.consumer().run(once=True)

    run(main)


class Poison:
    """A target that never takes one item."""

    def __init__(self, world: World) -> None:
        def before(_: str, request: bytes) -> None:
            if b'"bad"' in request:
                raise RefusedError("ValidationException", "no such item here")

        world.connect = lambda db: db if db is world.source else Through(db, before)


@pytest.mark.parametrize("guard", Guard)
def test_a_mirror_that_parks_copies_all_but_the_bad_items(guard: Guard) -> None:
    """Each is told by its key."""

    async def main() -> None:
        world = World(guard, on_poison=OnPoison.PARK)
        Poison(world)
        for name in ("a", "bad", "c"):
            world.put(name, 1)
        told: list[Left] = []
        end = await copied(world, on_left=told.append)
        assert (end.items, end.left) == (3, 1)
        assert [(left.target, left.key) for left in told] == [(TARGET.name, {"id": {"S": "bad"}})]
        assert world.differences() == ["bad"]
        assert world.parked == []

    run(main)


def test_a_mirror_that_stops_names_the_bad_item() -> None:
    async def main() -> None:
        world = World()
        Poison(world)
        for name in ("a", "bad", "c"):
            world.put(name, 1)
        with pytest.raises(PoisonError, match=r'"bad".* can.t be copied'):
            await copied(world)

    run(main)


def test_between_two_pauses_the_engine_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups are two pauses, and what was written in the first is there before the second."""
    monkeypatch.setattr(shares, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(shares, "SEGMENTS_AT_ONCE", 2)

    async def main() -> None:
        world = World()
        for name in ("a", "b", "c"):
            world.put(name, 1)
        monkeypatch.setattr(shares, "SEGMENT_BYTES", table_bytes(world) // 3)
        engine = await started(world.consumer("engine"))
        pauses: dict[str, int] = {}

        def note(operation: str, request: bytes) -> None:
            if operation == "PutItem" and b"#pause/" in request:
                name = decode(request)["Item"]["shard"]["S"]
                if name not in pauses:
                    world.put(f"in pause {len(pauses)}", 1)
                    pauses[name] = len(world.at_target())

        world.connect = lambda db: Through(db, note) if db is world.source else db
        await copied(world)
        assert len(pauses) > 1
        assert sorted(pauses.values()) == list(pauses.values())
        await asyncio.sleep(10)
        assert world.differences() == []
        await end(engine)

    run(main)


def table_bytes(world: World) -> int:
    table = world.source.perform("DescribeTable", {"TableName": SOURCE.table})["Table"]
    return int(table.get("TableSizeBytes", 0)) or 3
