"""What Lambda gave up is parked as all else that could not be applied, for whoever redrives."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.engine.held.test_recovery import OTHER, Pair
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, World
from tests.failed import STREAM, letter, wire

from dynamirror.config.model import Deletes, Guard
from dynamirror.core.failed import UnfitBatchError, failed_batch
from dynamirror.core.marks import mark
from dynamirror.engine.held.intake import take_in

FIRST = STREAM.replace("2026-11", "2026-10")


async def followed(world: World, *streams: str) -> None:
    """Note the streams that the table has had."""
    for stream in streams:
        await world.checkpoints.enroll(await world.checkpoints.load(), stream, now_ms())


async def taken_in(world: World, *records: dict[str, object], stream: str = STREAM) -> int:
    batch = failed_batch(letter(records, stream))
    return await take_in(batch, world.links, world.checkpoints, world.lease("somebody"))


def test_each_change_is_parked_for_every_target() -> None:
    """Told is how many keys wait, not how many changes were tried."""

    async def main() -> None:
        world = Pair()
        await followed(world, STREAM)
        assert await taken_in(world, wire("a", 1, new={}), wire("a", 2, new={}), wire("b", 3)) == 2
        rows = sorted((row["target"]["S"], row["sequence_number"]["S"]) for row in world.parked)
        assert rows == [(name, number) for name in (OTHER.name, TARGET.name) for number in "123"]
        assert {row["code"]["S"] for row in world.parked} == {"GivenUpError"}

    run(main)


def test_deletes_that_the_mirror_ignores_stay_ignored() -> None:
    """A parked one would be redriven by what the source has, and that is nothing."""

    async def main() -> None:
        world = World()
        world.mirror = replace(world.mirror, deletes=Deletes.IGNORE)
        await followed(world, STREAM)
        assert await taken_in(world, wire("a", 1, new={}), wire("gone", 2)) == 1
        assert [row["sequence_number"]["S"] for row in world.parked] == ["1"]

    run(main)


@pytest.mark.parametrize(("stream", "epoch"), [(FIRST, 1), (STREAM, 2)])
def test_a_mark_is_of_the_epoch_of_its_own_stream(stream: str, epoch: int) -> None:
    """Or a change of the former stream would outrank all of the new one's, or the other way."""

    async def main() -> None:
        world = World(Guard.LEDGER)
        await followed(world, FIRST, STREAM)
        await taken_in(world, wire("a", 7, new={}), stream=stream)
        (row,) = world.parked
        assert row["seq"]["S"].startswith(mark(epoch, 7))

    run(main)


def test_a_stream_that_was_never_followed_is_refused() -> None:
    """Nobody can tell whether it is older or newer than what was applied."""

    async def main() -> None:
        world = World()
        await followed(world, FIRST)
        with pytest.raises(UnfitBatchError, match="never followed"):
            await taken_in(world, wire("a", 1, new={}))
        assert world.parked == []

    run(main)
