"""What the checkpoint table tells: positions of the newest stream alone, and what was lost."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.virtual_time import START_MS, now_ms, run
from tests.engine.world import CHECKPOINTS, World

from dynamirror.core.progress import Position
from dynamirror.engine.stream.checkpoints import DONE_DAYS, Checkpoints
from dynamirror.engine.stream.history import epoch_of
from dynamirror.errors import ConditionFailedError, HeldError, HistoryLostError, NewerFormatError

POSITIONS = {
    "shardId-1": Position(10**39 + 7, read_until_ms=5),
    "shardId-2": Position(None, read_until_ms=6),
    "shardId-3": Position(3, done=True, read_until_ms=7),
}


async def filled(world: World) -> Checkpoints:
    checkpoints = world.checkpoints
    await checkpoints.enroll(await checkpoints.load(), "arn:1", 1)
    for shard, position in POSITIONS.items():
        await checkpoints.save(1, shard, position, now_ms())
    return checkpoints


def test_positions_come_back_as_they_were_saved() -> None:
    async def main() -> None:
        known = await (await filled(World())).load()
        assert known.positions == POSITIONS
        assert known.streams == ("arn:1",)
        assert known.enrolled_ms == 1
        assert epoch_of(known, "arn:1") == 1

    run(main)


def test_of_a_shard_read_to_its_end_the_row_expires_and_of_no_other() -> None:
    async def main() -> None:
        world = World()
        await filled(world)
        ends = {
            row["shard"]["S"]: int(row["expires_at"]["N"])
            for row in world.rows(CHECKPOINTS)
            if "expires_at" in row
        }
        assert ends == {"shardId-3": START_MS // 1_000 + DONE_DAYS * 86_400}

    run(main)


def test_links_do_not_see_each_others_rows() -> None:
    async def main() -> None:
        world = World()
        await filled(world)
        other = Checkpoints(world.source, CHECKPOINTS, "stories/other", world.backoff)
        assert (await other.load()).positions == {}

    run(main)


def test_another_stream_is_history_lost_until_it_is_enrolled() -> None:
    """Then its epoch is higher, and the old stream's positions count no more."""

    async def main() -> None:
        checkpoints = await filled(World())
        known = await checkpoints.load()
        with pytest.raises(HistoryLostError, match=r"arn:1 was followed, now it is arn:2"):
            epoch_of(known, "arn:2")
        known = await checkpoints.enroll(known, "arn:2", 9)
        assert epoch_of(known, "arn:2") == 2
        assert known.positions == {}
        with pytest.raises(HistoryLostError):
            epoch_of(known, "arn:1")

    run(main)


def test_lost_history_is_remembered_until_a_backfill_makes_up_for_it() -> None:
    async def main() -> None:
        checkpoints = await filled(World())
        await checkpoints.lose(await checkpoints.load(), "it was trimmed")
        known = await checkpoints.load()
        with pytest.raises(HistoryLostError, match="it was trimmed"):
            epoch_of(known, "arn:1")
        await checkpoints.enroll(known, "arn:1", 99)
        known = await checkpoints.load()
        assert epoch_of(known, "arn:1") == 2  # the copies outrank all that was applied before
        assert (known.positions, known.enrolled_ms, known.lost) == ({}, 99, None)

    run(main)


def test_of_two_that_enroll_a_stream_at_once_one_must_look_again() -> None:
    """Else two streams could have the same epoch."""

    async def main() -> None:
        world = World()
        for names in (("arn:1", "arn:2"), ("arn:3", "arn:4")):
            known = await world.checkpoints.load()
            ends = await asyncio.gather(
                *(world.checkpoints.enroll(known, name, 1) for name in names),
                return_exceptions=True,
            )
            assert [isinstance(end, ConditionFailedError) for end in ends] == [False, True]
        assert (await world.checkpoints.load()).streams == ("arn:1", "arn:3")

    run(main)


def test_more_rows_than_a_page_are_all_read() -> None:
    async def main() -> None:
        world = World()
        checkpoints = await filled(world)
        for number in range(6):
            await checkpoints.put(f"#note {number}", text="x" * 300_000)
        assert (await checkpoints.load()).positions == POSITIONS

    run(main)


def test_a_newer_versions_row_is_refused() -> None:
    async def main() -> None:
        world = World()
        checkpoints = await filled(world)
        (held,) = [row for row in world.rows(CHECKPOINTS) if row["shard"]["S"] == "shardId-1"]
        newer = {**held, "format": {"N": "2"}}
        world.source.perform("PutItem", {"TableName": CHECKPOINTS, "Item": newer})
        with pytest.raises(NewerFormatError):
            await checkpoints.load()

    run(main)


@pytest.mark.parametrize(
    "late",
    [
        Position(41, read_until_ms=5),
        Position(None, read_until_ms=9),
        Position(41, done=True, read_until_ms=5),
    ],
)
def test_a_position_never_moves_back(late: Position) -> None:
    """A save that lands after its successor's is refused, be it another process's or our own."""

    async def main() -> None:
        checkpoints = await filled(World())
        now = Position(42, read_until_ms=9)
        await checkpoints.save(1, "shardId-4", now, now_ms())
        await checkpoints.save(1, "shardId-4", now, now_ms())
        with pytest.raises(HeldError, match="another process"):
            await checkpoints.save(1, "shardId-4", late, now_ms())
        assert (await checkpoints.load()).positions["shardId-4"] == now

    run(main)


def test_a_new_epoch_counts_positions_anew() -> None:
    async def main() -> None:
        checkpoints = await filled(World())
        known = await checkpoints.enroll(await checkpoints.load(), "arn:2", 9)
        assert known.positions == (await checkpoints.load()).positions == {}
        await checkpoints.save(2, "shardId-3", Position(1), now_ms())
        assert (await checkpoints.load()).positions == {"shardId-3": Position(1)}
        with pytest.raises(HeldError):
            await checkpoints.save(1, "shardId-3", Position(99), now_ms())

    run(main)
