"""A stream is read whole and in order: parents first, through splits, expiry and trimming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from tests.engine.virtual_time import VirtualLoop, now_ms, run
from tests.engine.world import Faults, World

from dynamirror.config.model import Guard
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import decode, encode
from dynamirror.engine.stream import follow
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.follow import Follower
from dynamirror.engine.stream.room import RECORD_BYTES
from dynamirror.engine.stream.shard import Reading
from dynamirror.errors import (
    ExpiredIteratorError,
    HistoryLostError,
    MalformedRecordError,
    NotFoundError,
)

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S


def pass_s(seconds: float) -> None:
    """Let time pass in which nobody runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.pass_s(seconds)


async def once(world: World, **arguments: Any) -> Consumer:
    consumer = world.consumer(**arguments)
    await asyncio.wait_for(consumer.run(once=True), 10 * DAY_S)
    return consumer


class Running:
    """A consumer that runs until the block ends, or until it is killed."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer

    async def __aenter__(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.consumer.run())
        return self.task

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Reads:
    """Notes in which order records are handed over, and applies them after a while."""

    def __init__(self, world: World, delay_s: float = 0.2) -> None:
        self.world = world
        self.delay_s = delay_s
        self.seen: list[tuple[str, int]] = []

    def take(self, records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        self.seen += [(record.key[1], record.sequence_number) for record in records]
        loop = asyncio.get_running_loop()
        loop.call_later(self.world.chance.random() * self.delay_s, on_done)

    async def follower(self, reading: Reading | None = None) -> Follower:
        checkpoints = self.world.checkpoints
        known = await checkpoints.load()
        if not known.streams:
            known = await checkpoints.enroll(known, self.world.stream.arn, now_ms())
        return Follower(
            self.world.source,
            self.world.stream.arn,
            known,
            checkpoints,
            self.take,
            clock=now_ms,
            reading=reading,
            backoff=self.world.backoff,
        )


@pytest.mark.parametrize("seed", range(12))
def test_every_record_is_read_once_and_in_its_items_order(seed: int) -> None:
    """Whatever splits and roll-overs there are, before we read and while we do."""

    async def main() -> None:
        world = World(seed=seed, shards=3)
        reads = Reads(world, delay_s=3)

        async def expires(operation: str, _: bytes) -> None:
            if operation == "GetRecords" and world.chance.random() < 0.1:
                raise ExpiredIteratorError("ExpiredIteratorException", "15 minutes")

        world.source.before = expires
        for _ in range(6):
            world.write_at_random(40, 20)
            world.split_at_random()
        follower = await reads.follower()
        task = asyncio.create_task(follower.run())
        for _ in range(10):
            await asyncio.sleep(world.chance.random() * 20)
            world.write_at_random(30, 20)
            if world.chance.random() < 0.6:
                world.split_at_random()
        await asyncio.sleep(60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        written = sorted(
            (record.number, record.keys["id"]["S"])
            for shard in world.stream.shards.values()
            for record in shard.records
        )
        assert sorted((number, name) for name, number in reads.seen) == written
        for name in {name for name, _ in reads.seen}:
            numbers = [number for held, number in reads.seen if held == name]
            assert numbers == sorted(numbers), f"out of order: {name}"

    run(main)


def test_once_reads_the_children_of_what_ends_meanwhile() -> None:
    """The last record stands in a shard that was not there at the last look."""

    async def main() -> None:
        world = World()
        world.put("a", 1)
        running = asyncio.create_task(world.consumer().run(once=True))
        await asyncio.sleep(0.4)
        world.stream.roll_over(world.stream.open_shards[0].id)
        world.put("a", 2)
        await running
        assert world.differences() == []

    run(main)


def test_a_child_is_not_read_before_its_parent_is_applied() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        world.stream.split(world.stream.open_shards[0].id)
        world.put("a", 2)
        reads = Reads(world)
        held: list[Callable[[], None]] = []

        def take(records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
            reads.seen += [(one.key[1], one.sequence_number) for one in records]
            held.append(on_done)

        reads.take = take  # type: ignore[method-assign]
        follower = await reads.follower()
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(100)
        assert len(reads.seen) == 1
        held[0]()
        await asyncio.sleep(100)
        assert len(reads.seen) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


def leave_out_once(world: World, shard_id: str) -> None:
    """Let the next listing of shards be without one."""
    call, hidden = world.source.call, [shard_id]

    async def listing_without(operation: str, request: bytes) -> bytes:
        answer = await call(operation, request)
        if operation == "DescribeStream" and hidden:
            wire = decode(answer)
            description = wire["StreamDescription"]
            description["Shards"] = [
                shard for shard in description["Shards"] if shard["ShardId"] not in hidden
            ]
            hidden.clear()
            return encode(wire)
        return answer

    world.source.call = listing_without  # type: ignore[method-assign]


async def handed_on(world: World) -> str:
    """Have an item changed in a shard that was read before, and in its child; return the shard."""
    world.put("a", 1)
    await once(world)
    parent: str = world.stream.open_shards[0].id
    world.put("a", 2)
    world.stream.roll_over(parent)
    world.put("a", 3)
    return parent


def assert_both_in_order(reads: Reads) -> None:
    numbers = [number for _, number in reads.seen]
    assert len(numbers) == 2
    assert numbers == sorted(numbers)


def test_a_parent_that_one_listing_leaves_out_is_still_read_first() -> None:
    """The listing is eventually consistent, also right after a restart."""

    async def main() -> None:
        world = World()
        parent = await handed_on(world)
        reads = Reads(world)
        follower = await reads.follower()
        leave_out_once(world, parent)
        await follower.run(once=True)
        assert_both_in_order(reads)

    run(main)


def test_a_child_that_one_listing_leaves_out_still_waits_for_its_parent() -> None:
    """After a restart we know it from our own table, and whose child it is too."""

    async def main() -> None:
        world = World()
        parent = await handed_on(world)
        child = world.stream.open_shards[0].id
        known = await world.checkpoints.load()
        first = msgspec.structs.replace(
            known.positions[parent], sequence_number=None, parent=parent
        )
        await world.checkpoints.save(1, child, first, now_ms())
        reads = Reads(world)
        follower = await reads.follower()
        leave_out_once(world, child)

        async def parent_is_slow(operation: str, request: bytes) -> None:
            await asyncio.sleep(operation == "GetShardIterator" and parent.encode() in request)

        world.source.before = parent_is_slow
        await follower.run(once=True)
        assert_both_in_order(reads)

    run(main)


def test_a_shard_whose_parent_is_trimmed_is_read_from_its_start() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        world.stream.roll_over(world.stream.open_shards[0].id)
        pass_s(25 * HOUR_S)
        world.put("b", 2)
        world.stream.trim(now_ms() - 1_000)
        assert len(world.stream.shards) == 1
        await once(world)
        assert world.at_target().keys() == {"b"}

    run(main)


def test_an_iterator_that_expires_is_asked_for_again_from_where_we_are() -> None:
    """A target that takes no writes for an hour holds the reader up."""

    async def main() -> None:
        world = World()
        world.target.before = Faults(1, 1.0).before
        consumer = world.consumer(reading=Reading(backlog_bytes=1))
        async with Running(consumer):
            for number in range(10):
                world.put("a", number)
                await asyncio.sleep(360)
            world.target.before = None
            await asyncio.sleep(300)
            assert world.differences() == []

    run(main)


@pytest.mark.parametrize("operation", ["DescribeStream", "GetShardIterator", "GetRecords"])
def test_reading_goes_on_after_faults(operation: str) -> None:
    async def main() -> None:
        world = World(seed=3, shards=2)
        world.source.before = Faults(3, 0.4, [operation]).before
        world.write_at_random(200, 20)
        world.split_at_random()
        world.write_at_random(200, 20)
        await once(world)
        assert world.differences() == []

    run(main)


def test_latest_is_never_used() -> None:
    """What is written between a look and a read would be lost."""

    async def main() -> None:
        world = World()
        kinds = []

        async def note(operation: str, request: bytes) -> None:
            if operation == "GetShardIterator":
                kinds.append(decode(request)["ShardIteratorType"])

        world.source.before = note
        world.put("a")
        await once(world)
        world.put("b")
        await once(world)
        assert kinds == ["TRIM_HORIZON", "AFTER_SEQUENCE_NUMBER"]

    run(main)


def test_records_trimmed_before_they_were_read_are_history_lost_for_good() -> None:
    """A restart does not pass over it; the remedy stands in the error."""

    async def main() -> None:
        world = World()
        world.put("a", 1)
        await once(world)
        world.put("b", 2)
        pass_s(25 * HOUR_S)
        world.put("c", 3)
        world.stream.trim(now_ms() - 1_000)
        with pytest.raises(HistoryLostError) as caught:
            await once(world)
        assert "backfill" in caught.value.hint
        assert (await world.checkpoints.load()).lost == str(caught.value)
        with pytest.raises(HistoryLostError) as again:
            await once(world)
        assert str(again.value) == str(caught.value)
        assert world.at_target().keys() == {"a"}

    run(main)


def test_a_shard_that_went_before_all_of_it_was_read_is_history_lost() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        await once(world)
        world.put("b", 2)
        world.stream.roll_over(world.stream.open_shards[0].id)
        pass_s(25 * HOUR_S)
        world.put("c", 3)
        world.stream.trim(now_ms() - 1_000)
        assert len(world.stream.shards) == 1
        with pytest.raises(HistoryLostError):
            await once(world)

    run(main)


def test_a_shard_found_and_never_read_in_time_is_history_lost() -> None:
    async def main() -> None:
        world = World()
        async with Running(world.consumer()) as task:
            await asyncio.sleep(0.05)
            task.cancel()
        pass_s(25 * HOUR_S)
        world.put("a", 1)
        with pytest.raises(HistoryLostError):
            await once(world)

    run(main)


def test_a_stream_made_anew_is_history_lost() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        await once(world)
        pass_s(1)
        switch(world, on=False)
        world.put("b", 2)
        pass_s(1)
        switch(world, on=True)
        for _ in range(2):
            with pytest.raises(HistoryLostError, match="re-created"):
                await once(world)
            assert "re-created" in ((await world.checkpoints.load()).lost or "")

    run(main)


def test_a_stream_disabled_while_it_is_followed_is_read_to_its_end_and_then_told() -> None:
    """Changes made from now on are in no stream: that must not look like quiet."""

    async def main() -> None:
        world = World()
        async with Running(world.consumer()) as task:
            await asyncio.sleep(5)
            world.put("a", 1)
            switch(world, on=False)
            world.put("b", 2)
            with pytest.raises(HistoryLostError, match="disabled"):
                await asyncio.wait_for(asyncio.shield(task), 60)
            assert world.at_target().keys() == {"a"}
        pass_s(1)
        switch(world, on=True)
        with pytest.raises(HistoryLostError):
            await once(world)

    run(main)


def switch(world: World, *, on: bool) -> None:
    view = {"StreamViewType": "NEW_AND_OLD_IMAGES"} if on else {}
    world.source.perform(
        "UpdateTable",
        {"TableName": "Stories", "StreamSpecification": {"StreamEnabled": on, **view}},
    )


async def idle(world: World, hours: float) -> None:
    """Follow for hours in which nothing happens."""
    slowly = Reading(poll_s=30, idle_poll_s=30, discover_s=600)
    follower = await Reads(world).follower(slowly)
    task = asyncio.create_task(follower.run())
    await asyncio.sleep(hours * HOUR_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await follower.finish(0)


def test_an_idle_table_is_not_history_lost_while_it_was_read_to_its_end_lately() -> None:
    """Its last record is trimmed after a day; nothing was written since."""

    async def main() -> None:
        world = World()
        world.put("a", 1)
        async with Running(world.consumer()):
            await asyncio.sleep(10)
        await idle(world, 26)
        world.stream.trim(now_ms() - int(DAY_S * 1_000))
        pass_s(20 * HOUR_S)
        world.put("b", 2)
        await once(world)
        assert world.differences() == []

        pass_s(24 * HOUR_S)
        world.stream.trim(now_ms())
        with pytest.raises(HistoryLostError):
            await once(world)

    run(main)


def test_an_idle_shard_that_rolled_over_unseen_is_not_history_lost() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        await once(world)
        await idle(world, 26)
        world.stream.roll_over(world.stream.open_shards[0].id)
        pass_s(20 * HOUR_S)
        world.stream.trim(now_ms() - int(HOUR_S * 1_000))
        world.put("b", 2)
        await once(world)
        assert world.differences() == []

    run(main)


def test_a_long_way_to_catch_up_is_no_history_lost() -> None:
    """22 hours behind, and each shard is opened when its time has come, hours later."""

    async def main() -> None:
        world = World()
        world.put("a", 0)
        await once(world)
        for number in range(1, 23):
            pass_s(HOUR_S)
            world.put("a", number)
            world.stream.roll_over(world.stream.open_shards[0].id)
        reads = Reads(world)
        reads.world.chance.random = lambda: 1.0  # type: ignore[method-assign]
        reads.delay_s = HOUR_S / 4
        follower = await reads.follower(Reading(poll_s=20, idle_poll_s=20))
        await follower.run(once=True)
        assert len(reads.seen) == 22

    run(main)


def test_a_shard_that_vanishes_between_two_reads_has_ended_if_it_was_read_lately() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        gone = world.stream.open_shards[0].id
        call = world.source.call
        reads = 0

        async def vanishing(operation: str, request: bytes) -> bytes:
            nonlocal reads
            if operation == "GetRecords" and gone in decode(request)["ShardIterator"]:
                reads += 1
                if reads > 2:
                    raise NotFoundError("ResourceNotFoundException", "the shard is gone")
            return await call(operation, request)

        world.source.call = vanishing  # type: ignore[method-assign]
        async with Running(world.consumer()):
            await asyncio.sleep(5)
            world.stream.roll_over(gone)
            world.put("a", 2)
            await asyncio.sleep(30)
            assert world.differences() == []

    run(main)


def test_a_record_that_is_none_stops_and_says_so() -> None:
    async def main() -> None:
        world = World()
        world.stream.push({"eventName": "INSERT", "dynamodb": {"Keys": {"id": {"S": "a"}}}})
        with pytest.raises(MalformedRecordError, match="without NewImage"):
            await once(world)

    run(main)


def test_what_is_in_memory_is_limited_over_all_shards() -> None:
    """By its size, so that many pages of few records are no reason to stop."""

    async def main() -> None:
        world = World(shards=4)
        world.target.before = Faults(1, 1.0).before
        consumer = world.consumer(reading=Reading(backlog_bytes=100 * RECORD_BYTES))
        async with Running(consumer):
            for _ in range(20):
                world.write_at_random(10, 50)
                await asyncio.sleep(2)
            assert 50 < consumer.report().records <= 100
            world.target.before = None
            await asyncio.sleep(120)
            assert world.differences() == []

    run(main)


LEISURELY = Reading(poll_s=600, idle_poll_s=600, discover_s=600)


@pytest.fixture
def seldom_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days go by sooner where positions aren't saved every second."""
    monkeypatch.setattr(follow, "SAVE_S", 600)


@pytest.mark.usefixtures("seldom_saved")
def test_shards_that_are_long_gone_are_forgotten_but_counted() -> None:
    """A week of a shard every four hours, in one process: it knows those of two days."""

    async def main() -> None:
        world = World()
        reads = Reads(world)
        follower = await reads.follower(LEISURELY)
        running = asyncio.create_task(follower.run())
        writes = 7 * 6
        for number in range(writes):
            world.put("a", number)
            await asyncio.sleep(3 * HOUR_S)
            world.stream.roll_over(world.stream.open_shards[0].id)
            world.stream.trim(now_ms() - 24 * HOUR_S * 1_000)
            await asyncio.sleep(3_600)
        assert len(follower.readers) <= 2 * 6 + 2
        assert follower.records == follower.applied == len(reads.seen) == writes
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await follower.save()
        again = await reads.follower()
        await again.run(once=True)
        assert len(reads.seen) == writes

    run(main)


@pytest.mark.usefixtures("seldom_saved")
def test_a_shard_that_is_still_listed_is_remembered() -> None:
    """However old: it would be taken for a new one."""

    async def main() -> None:
        world = World()
        reads = Reads(world)
        follower = await reads.follower(LEISURELY)
        running = asyncio.create_task(follower.run())
        world.put("a", 1)
        await asyncio.sleep(3_600)
        first = world.stream.open_shards[0].id
        world.stream.roll_over(first)
        for _ in range(5):
            await asyncio.sleep(24 * HOUR_S)
            assert first in follower.readers
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main)


def test_positions_are_saved_as_they_move_and_while_they_age() -> None:
    async def main() -> None:
        world = World()
        world.put("a", 1)
        async with Running(world.consumer()):
            await asyncio.sleep(5)
            (position,) = (await world.checkpoints.load()).positions.values()
            assert position.sequence_number is not None
            await asyncio.sleep(HOUR_S)
            (aged,) = (await world.checkpoints.load()).positions.values()
            assert aged.sequence_number == position.sequence_number
            assert now_ms() - aged.read_until_ms < 15 * 60 * 1_000

    run(main)


def test_a_checkpoint_that_cannot_be_saved_stops_the_mirror() -> None:
    async def main() -> None:
        world = World()

        async def before(operation: str, request: bytes) -> None:
            if operation == "PutItem" and b'"shard":{"S":"shardId' in request:
                raise NotFoundError("ResourceNotFoundException", "no such table")

        world.source.before = before
        world.put("a", 1)
        with pytest.raises(NotFoundError):
            await once(world)

    run(main)


def test_positions_that_were_read_are_where_the_next_reader_starts() -> None:
    async def main() -> None:
        world = World(Guard.ORDER)
        world.put("a", 1)
        await once(world)
        before = (await world.checkpoints.load()).positions
        reads = Reads(world)
        follower = await reads.follower()
        await follower.run(once=True)
        assert reads.seen == []
        assert (await world.checkpoints.load()).positions == before

    run(main)
