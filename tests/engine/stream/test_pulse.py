"""What a consumer tells of its targets between two reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, World, change

from dynamirror.core.facts import Report
from dynamirror.core.record import StreamRecord
from dynamirror.engine.stream.checkpoints import LASTING_ROW, LIMIT_ROW
from dynamirror.engine.stream.pulse import BEAT_S, Ageing, Rate
from dynamirror.errors import TransientError


async def _running(world: World, body: Callable[[Any], Any]) -> None:
    consumer = world.consumer()
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(3)
    await body(consumer)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _at(name: str, at_s: int) -> StreamRecord:
    return msgspec.structs.replace(change(name, at_s), created_at=float(at_s))


def test_a_page_ages_from_its_first_change_until_all_before_it_are_applied() -> None:
    """Pages may be applied in any order; the oldest that isn't is the one that counts."""
    dones: list[Callable[[], None]] = []

    def submit(_: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        dones.append(on_done)

    ageing, told = Ageing(submit), 0

    def one_told() -> None:
        nonlocal told
        told += 1

    for at_s in (10, 20, 30):
        ageing.submit([_at("a", at_s), _at("b", at_s + 5)], one_told)
    seen = [ageing.oldest_ms]
    for number in (1, 0, 2):
        dones[number]()
        seen.append(ageing.oldest_ms)

    assert seen == [10_000, 10_000, 30_000, None]
    assert told == 3


def test_throughput_is_that_of_the_last_ten_seconds() -> None:
    """A burst long ago is no throughput now."""
    count = 0

    async def main() -> None:
        nonlocal count
        rate = Rate(lambda: count)
        task = asyncio.create_task(rate.run())
        await asyncio.sleep(0.5)
        assert rate.per_second == 0.0
        count = 1_000
        await asyncio.sleep(10)
        assert rate.per_second == 100.0
        await asyncio.sleep(20)
        assert rate.per_second == 0.0
        task.cancel()

    run(main)


def test_a_heartbeat_notices_that_a_target_is_gone_though_nobody_writes() -> None:
    """An outage shows within a heartbeat, and so does its end."""

    async def main() -> None:
        world = World()
        broken = False

        async def before(_: str, __: bytes) -> None:
            await asyncio.sleep(0.08)
            if broken:
                raise TransientError("ConnectionError", "refused")

        world.target.before = before

        async def body(consumer: Any) -> None:
            nonlocal broken
            (link,) = consumer.report().links
            assert (link.target, link.beat_ms, link.trouble) == (TARGET.name, 80, "")
            broken = True
            await asyncio.sleep(BEAT_S)
            (link,) = consumer.report().links
            assert "refused" in link.trouble
            assert now_ms() - link.beat_at_ms >= 1_000 * BEAT_S
            broken = False
            await asyncio.sleep(BEAT_S)
            (link,) = consumer.report().links
            assert link.trouble == ""

        await _running(world, body)

    run(main)


def test_a_limit_is_obeyed_and_lifted_while_running() -> None:
    """A row beside the checkpoints slows a running engine down, and its removal frees it."""

    async def main() -> None:
        world = World()

        async def body(consumer: Any) -> None:
            await world.checkpoints.put(LIMIT_ROW, per_second="2.0")
            await asyncio.sleep(3)
            assert consumer.report().limit_per_second == 2.0
            for number in range(200):
                world.put(f"key {number}", number)
            await asyncio.sleep(10)
            assert 0 < len(world.differences()) <= 200
            await world.checkpoints.delete(LIMIT_ROW)
            await asyncio.sleep(60)
            assert consumer.report().limit_per_second is None
            assert world.differences() == []

        await _running(world, body)

    run(main)


def test_a_lasting_pause_lasts() -> None:
    """A person's pause has no end of its own; lag grows while it holds, and is worked off after."""

    async def main() -> None:
        world = World()

        async def body(consumer: Any) -> None:
            await world.checkpoints.put(LASTING_ROW, by="ada", why="index", since_ms=now_ms())
            await asyncio.sleep(3)
            world.put("a", 1)
            await asyncio.sleep(3_600)
            report: Report = consumer.report()
            assert report.state == "paused"
            assert report.lag_ms > 3_500_000
            assert world.differences() != []
            await world.checkpoints.delete(LASTING_ROW)
            await asyncio.sleep(10)
            assert world.differences() == []
            assert consumer.report().lag_ms == 0

        await _running(world, body)

    run(main)


def test_changes_read_but_hours_old_are_lag_even_between_two_pages() -> None:
    """While an engine catches up it never claims that nothing waits."""

    async def main() -> None:
        world = World()
        await world.consumer().run(once=True)
        for hour in range(6):
            for number in range(1_500):
                world.put(f"key {number}", hour)
            await asyncio.sleep(3_600)
        lags: list[int] = []
        world.source.before = lambda *_: asyncio.sleep(0.2)
        consumer = world.consumer()
        task = asyncio.create_task(consumer.run())
        while not consumer.drained:
            await asyncio.sleep(0.05)
            if 0 < (report := consumer.report()).applied < 9_000:
                lags.append(report.lag_ms)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert lags
        assert min(lags) >= 3_600_000
        assert consumer.report().lag_ms == 0

    run(main)
