"""A process that starts while a place is away: it waits for none that it has met."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.engine.held.test_recovery import Pair, unreachable
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import SOURCE, TARGET, create

from dynamirror.config.load import load
from dynamirror.config.model import Place
from dynamirror.engine.members.roster import note
from dynamirror.errors import Exit
from dynamirror.memory.dynamodb import MemoryDynamoDB
from dynamirror.runtimes.presence import see_running
from dynamirror.runtimes.process import mirror_all
from dynamirror.wiring import Wiring

STORIES = """
[mirrors.stories]
mode = "one-way"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}, {{ region = "ap-southeast-2" }}]
backlog_seconds = {backlog_s}
"""

SESSIONS = """
[mirrors.sessions]
mode = "two-way"
replicas = [
  { region = "us-east-1", table = "Sessions" },
  { region = "eu-west-1" },
  { region = "ap-southeast-2" },
]
"""


class Process:
    """What ``dynamirror run --once`` does with a source and two targets."""

    def __init__(self, backlog_s: int = 60) -> None:
        self.world = Pair()
        self.backlog_s = backlog_s

    async def run(self) -> Exit:
        wiring = Wiring(
            load(STORIES.format(backlog_s=self.backlog_s)),
            connect=self.connect,
            clock=now_ms,
            backoff=self.world.backoff,
        )
        return await mirror_all(wiring, once=True)

    def connect(self, place: Place, _: Any) -> MemoryDynamoDB:
        world = self.world
        return {SOURCE.region: world.source, TARGET.region: world.target}.get(
            place.region, world.other
        )


def test_it_starts_without_a_target_that_it_has_met() -> None:
    """What that one lacks is parked, and the next process that finds it there brings it."""

    async def main() -> None:
        process = Process()
        world = process.world
        world.put("a", 1)
        assert await process.run() is Exit.DONE
        world.other.before = unreachable
        world.put("b", 2)
        assert await process.run() is Exit.FINDING
        assert (world.lacking(world.target), world.lacking(world.other)) == ([], ["b"])
        world.other.before = None
        assert await process.run() is Exit.DONE
        assert world.lacking(world.other) == []

    run(main)


@pytest.mark.parametrize("met", [True, False])
def test_it_does_not_start_where_a_target_may_only_be_misspelt_or_must_be_waited_for(
    met: bool,  # noqa: FBT001 - a case
) -> None:
    """One never met before, and any with ``backlog_seconds = 0``, must be there."""

    async def main() -> None:
        process = Process(backlog_s=0 if met else 60)
        if met:
            assert await process.run() is Exit.DONE
        process.world.other.before = unreachable
        process.world.put("a", 1)
        assert await process.run() is Exit.UNUSABLE
        assert process.world.lacking(process.world.target) == ["a"]

    run(main)


def test_two_that_are_away_do_not_keep_a_third_from_starting() -> None:
    """Whether a replica was met is asked at the others, and none of these is waited for either."""

    async def main() -> None:
        process = Process()
        regions = ("us-east-1", "eu-west-1", "ap-southeast-2")
        dbs = {region: MemoryDynamoDB(region, clock=now_ms) for region in regions}
        wiring = Wiring(
            load(SESSIONS),
            connect=lambda place, _: dbs[place.region],
            clock=now_ms,
            backoff=process.world.backoff,
        )
        for side in wiring.config.mirrors:
            create(dbs[side.source.region], "Sessions", "id")
            create(dbs[side.source.region], side.checkpoints, "link", "shard")
            await note(wiring.checkpoints(side), side, {})
        dbs["us-east-1"].before = dbs["eu-west-1"].before = unreachable
        third = wiring.config.mirrors[2]
        async with asyncio.timeout(600):
            await see_running(wiring, third)

    run(main)
