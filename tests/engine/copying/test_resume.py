"""A backfill that was killed goes on where it stood, and what it had copied stays right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.engine.copying.test_backfill import Through, backfill, end, started, table_bytes
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import SOURCE, World

from dynamirror.config.model import Guard
from dynamirror.core.values import Wire, decode
from dynamirror.engine.copying import parts, shares
from dynamirror.engine.copying.copier import Copied
from dynamirror.errors import DynamirrorError, HeldError, HistoryLostError
from dynamirror.memory import reads
from dynamirror.ports import DynamoDB

ITEMS = 48
HALF = 40
"""Requests after which some of the items are copied, and not all."""

HOUR_S = 3_600


class Killed:
    """Sends the first so many of a process's requests; of the last one the answer never comes."""

    def __init__(self, after: int, *, lands: bool = True) -> None:
        self.sent = 0
        self._after = after
        self._lands = lands

    def through(self, db: DynamoDB) -> DynamoDB:
        return _Port(self, db)

    async def pass_on(self, call: Callable[[], object]) -> object:
        self.sent += 1
        if self.sent < self._after:
            return await call()  # type: ignore[misc]
        if self.sent == self._after and self._lands:
            await call()  # type: ignore[misc]
        return await asyncio.get_running_loop().create_future()


class _Port:
    def __init__(self, kill: Killed, db: DynamoDB) -> None:
        self._kill = kill
        self._db = db

    async def call(self, operation: str, request: bytes) -> bytes:
        answer = await self._kill.pass_on(lambda: self._db.call(operation, request))
        assert isinstance(answer, bytes)
        return answer

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks in a page, pages in a segment, and segments, two of them at a time."""
    monkeypatch.setattr(reads, "PAGE_BYTES_MAX", 128)
    monkeypatch.setattr(parts, "CHUNK", 3)
    monkeypatch.setattr(shares, "SEGMENTS_AT_ONCE", 2)


def filled(guard: Guard) -> World:
    """Return a world whose items the stream doesn't tell of any more."""
    world = World(guard)
    for number in range(ITEMS):
        world.put(f"key {number}", number)
    world.stream.trim(now_ms() + 1)
    return world


async def killed(world: World, after: int, *, lands: bool = True) -> bool:
    """Run a backfill that is killed at a request; return whether it had come to its end by then."""
    kill = Killed(after, lands=lands)
    connect, world.connect = world.connect, kill.through
    task = asyncio.create_task(backfill(world, "first").run(lambda _: None))
    world.connect = connect
    while kill.sent < after and not task.done():  # noqa: ASYNC110 - the port can't await us
        await asyncio.sleep(0.5)
    if not task.done():
        await asyncio.sleep(2)
        # The process is gone; only its task is left to clear away, and sends nothing more.
        await end(task)  # type: ignore[arg-type]
        return False
    return True


async def resumed(world: World, *, restart: bool = False) -> Copied:
    return await backfill(world, "second").run(lambda _: None, restart=restart)


@pytest.mark.parametrize("guard", Guard)
def test_killed_at_any_request_it_goes_on_and_both_tables_end_equal(guard: Guard) -> None:
    """Beside a running engine and live writes, whichever request was the last that it sent, and
    whether that arrived or not.
    """

    async def main() -> tuple[bool, int]:
        world = filled(guard)
        engine = await started(world.consumer("engine"))
        writing = asyncio.create_task(changes(world))
        over = await killed(world, after, lands=after % 2 == 0)
        copied = await resumed(world)
        await writing
        await asyncio.sleep(90)
        assert world.differences() == [], after
        await end(engine)
        return over, copied.resumed

    after, gone_on_at = 1, set[int]()
    while True:
        over, before = run(main)
        gone_on_at.add(before)
        if over:
            break
        after += 5
    assert len(gone_on_at) > 3


async def killed_and_forgotten(world: World) -> None:
    """Half of it is copied, then everything is changed, then the stream forgets that it was."""
    assert not await killed(world, HALF)
    for number in range(ITEMS):
        world.put(f"key {number}", number + 1_000)
    await asyncio.sleep(30 * HOUR_S)
    world.stream.trim(now_ms())


async def changes(world: World) -> None:
    for number in range(12):
        world.put(f"key {number * 4}", 1_000 + number)
        world.delete(f"key {number * 4 + 1}")
        await asyncio.sleep(0.4)


@pytest.mark.parametrize("guard", Guard)
def test_lost_history_is_made_up_for_in_two_attempts(guard: Guard) -> None:
    """The stream is then read from before the first one's copies."""

    async def main() -> None:
        world = filled(guard)
        await world.consumer().run(once=True)
        await world.checkpoints.lose(await world.checkpoints.load(), "seen to it")
        began_ms = now_ms()
        assert not await killed(world, HALF)
        for number in range(ITEMS):
            world.put(f"key {number}", number + 1_000)
        await asyncio.sleep(HOUR_S)
        copied = await resumed(world)
        assert 0 < copied.resumed < copied.items == ITEMS
        known = await world.checkpoints.load()
        assert (known.lost, known.enrolled_ms) == (None, began_ms)
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_what_makes_up_for_a_loss_must_not_be_old() -> None:
    """A copy begun half a day ago is begun anew: its first items changed in a forgotten past."""

    async def main() -> None:
        world = filled(Guard.ORDER)
        await world.consumer().run(once=True)
        await world.checkpoints.lose(await world.checkpoints.load(), "seen to it")
        await killed_and_forgotten(world)
        assert (await resumed(world)).resumed == 0
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_history_lost_between_two_attempts_begins_the_copy_anew() -> None:
    """What was copied before lacks what the stream has forgotten."""

    async def main() -> None:
        world = filled(Guard.LEDGER)
        await world.consumer().run(once=True)
        await killed_and_forgotten(world)
        assert (await resumed(world)).resumed == 0
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_an_old_beginning_that_nobody_followed_up_is_not_taken_for_a_whole() -> None:
    """A function may have read the stream meanwhile, so a backfill can't tell; a run can."""

    async def main() -> None:
        world = filled(Guard.LEDGER)
        await killed_and_forgotten(world)
        await resumed(world)
        with pytest.raises(HistoryLostError):
            await world.consumer().run(once=True)
        await resumed(world)
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_restart_begins_anew() -> None:
    async def main() -> None:
        world = filled(Guard.LEDGER)
        assert not await killed(world, HALF)
        copied = await resumed(world, restart=True)
        assert (copied.resumed, copied.items) == (0, ITEMS)

    run(main)


def test_a_finished_backfill_is_not_gone_on_with() -> None:
    """The next one copies everything: who calls it wants that."""

    async def main() -> None:
        world = filled(Guard.ORDER)
        await resumed(world)
        assert (await resumed(world)).resumed == 0

    run(main)


def test_a_process_taken_for_dead_stops_once_another_goes_on() -> None:
    """It was only slow; its next position is refused, and it sends nothing after that."""

    async def main() -> None:
        world = filled(Guard.LEDGER)
        world.mirror = replace(world.mirror, max_writes_per_second=4.0)
        slow = asyncio.create_task(backfill(world, "slow").run(lambda _: None))
        await asyncio.sleep(3)
        world.mirror = replace(world.mirror, max_writes_per_second=None)
        await resumed(world)
        with pytest.raises(HeldError, match="started later"):
            await slow

    run(main)


def test_where_nobody_reads_the_stream_all_attempts_share_half_a_day() -> None:
    """However often it is killed: the other half is left to catch up. A running mirror mends it."""

    async def main() -> None:
        world = filled(Guard.ORDER)
        assert not await killed(world, HALF)
        await asyncio.sleep(13 * HOUR_S)
        with pytest.raises(DynamirrorError, match="has not been read for 12 hours"):
            await resumed(world)
        engine = await started(world.consumer("engine"))
        assert (await resumed(world)).resumed > 0
        await asyncio.sleep(10)
        assert world.differences() == []
        await end(engine)

    run(main)


def test_all_shares_cut_the_table_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the service counts anew between two machines' starts: else a gap would be left."""

    async def main() -> None:
        world = filled(Guard.LEDGER)
        cuts = set[int]()

        def note(operation: str, request: bytes) -> None:
            if operation == "Scan":
                cuts.add(decode(request)["TotalSegments"])

        world.connect = lambda db: Through(db, note)
        for number in (1, 2, 3):
            monkeypatch.setattr(shares, "SEGMENT_BYTES", table_bytes(world) // (3 * number))
            await backfill(world).run(lambda _: None, (number, 3))
        assert len(cuts) == 1
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def test_positions_are_not_read_by_those_who_look_every_second() -> None:
    """A table of terabytes has thousands; they stand in a partition of their own."""

    async def main() -> None:
        world = filled(Guard.ORDER)
        await resumed(world)
        links: dict[str, list[Wire]] = {}
        for row in world.rows("Stories-dynamirror-checkpoints"):
            links.setdefault(row["link"]["S"], []).append(row)
        assert {row["shard"]["S"] for row in links[f"stories/{SOURCE.name}#backfill"]} == {
            "segment 0/2",
            "segment 1/2",
        }

    run(main)
