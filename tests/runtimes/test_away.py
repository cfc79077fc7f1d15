"""A function whose target is away gets on for the others, and brings it up to date later."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from tests.engine.held.test_recovery import OTHER, Pair, throttle, unreachable
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import PARKED, SOURCE, TARGET, contents
from tests.event_source_mapping import EventSourceMapping
from tests.runtimes.test_aws_lambda import Environment

from dynamirror.config.model import Guard, Place, Transport
from dynamirror.core.values import Wire
from dynamirror.engine.stream.control import pause, resume
from dynamirror.memory.dynamodb import MemoryDynamoDB

STORIES = """
[mirrors.stories]
mode = "one-way"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}, {{ region = "ap-southeast-2" }}]
guard = "{guard}"
backlog_seconds = 60
"""


class Functions:
    """Two execution environments, of which each delivery meets one."""

    def __init__(self, world: Pair) -> None:
        self.world = world
        text = STORIES.format(guard=world.mirror.guard)
        self.environments = [Environment(world, text, self.connect) for _ in range(2)]
        self.answers: list[Wire] = []
        self.slowest_s = 0.0

    def connect(self, place: Place, _: Transport) -> MemoryDynamoDB:
        names = {SOURCE.region: self.world.source, TARGET.region: self.world.target}
        return names.get(place.region, self.world.other)

    async def invoke(self, event: Wire) -> Wire:
        began_s = asyncio.get_running_loop().time()
        environment = self.world.chance.choice(self.environments)
        answer = await environment.invoke(event, timeout_s=30)
        self.slowest_s = max(self.slowest_s, asyncio.get_running_loop().time() - began_s)
        self.answers.append(answer)
        await asyncio.sleep(0.2)  # as the service waits before it delivers again
        return answer

    async def deliver(self) -> EventSourceMapping:
        mapping = EventSourceMapping(self.world.source, "Stories", self.invoke, Random(1), lanes=2)
        await mapping.run()
        assert mapping.errors == []
        return mapping


@pytest.mark.parametrize("fault", [throttle, unreachable])
@pytest.mark.parametrize("guard", Guard)
def test_what_a_target_lacks_is_parked_once_it_is_old_and_redriven_on_its_return(
    guard: Guard, fault: Any
) -> None:
    """The other target has everything meanwhile; nothing is lost, whichever function redrives."""

    async def main() -> None:
        world = Pair(guard, seed=3)
        functions = Functions(world)
        world.write_at_random(60, 25)
        world.other.before = fault
        began_ms = now_ms()
        await functions.deliver()
        assert now_ms() - began_ms < 60_000 + 60_000  # a minute's patience, then it goes on
        assert world.lacking(world.target) == []
        assert world.lacking(world.other) != []
        functions.slowest_s = 0.0
        world.write_at_random(60, 25)
        await asyncio.sleep(120)
        await functions.deliver()
        assert world.lacking(world.target) == []
        assert world.rows(PARKED) != []
        world.other.before = None
        for _ in range(4):
            await asyncio.sleep(61)
            world.write_at_random(3, 25)
            await functions.deliver()
        await asyncio.sleep(1)
        assert world.lacking(world.target) == []
        assert world.lacking(world.other) == []
        assert world.rows(PARKED) == []

    run(main)


def test_a_young_delivery_is_not_parked_but_comes_again() -> None:
    async def main() -> None:
        world = Pair()
        functions = Functions(world)
        world.put("a")
        world.other.before = throttle
        event = EventSourceMapping(world.source, "Stories", functions.invoke, Random(1)).events()
        answer = await functions.invoke({"Records": event})
        assert answer["batchItemFailures"] != []
        assert world.rows(PARKED) == []
        assert world.lacking(world.target) == []

    run(main)


def test_a_known_absence_costs_the_others_no_time() -> None:
    """The environment that found it out asks now and then, and else parks at once."""

    async def main() -> None:
        world = Pair()
        functions = Functions(world)
        functions.environments = functions.environments[:1]
        world.other.before = unreachable
        world.put("a")
        await asyncio.sleep(61)
        await functions.deliver()
        functions.slowest_s = 0.0
        for number in range(20):
            world.put("b", number)
        began_s = asyncio.get_running_loop().time()
        await functions.deliver()
        assert asyncio.get_running_loop().time() - began_s < 5
        assert world.lacking(world.other) == ["a", "b"]
        assert OTHER.name in {row["target"]["S"] for row in world.parked}

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_a_paused_link_gets_nothing_until_it_is_resumed_and_then_all(guard: Guard) -> None:
    """What is for its target is parked at once, however young; the other target has everything."""

    async def main() -> None:
        world = Pair(guard, seed=5)
        functions = Functions(world)
        world.write_at_random(30, 25)
        await functions.deliver()
        await pause(world.checkpoints, by="ada", why="", now_ms=now_ms(), target=OTHER.name)
        await asyncio.sleep(5)
        before = contents(world.other, "Stories")
        world.write_at_random(60, 25)
        await functions.deliver()
        await asyncio.sleep(120)
        world.write_at_random(3, 25)
        await functions.deliver()
        assert contents(world.other, "Stories") == before
        assert world.lacking(world.target) == []
        assert {row["target"]["S"] for row in world.parked} == {OTHER.name}

        assert await resume(world.checkpoints, OTHER.name)
        for _ in range(4):
            await asyncio.sleep(61)
            world.write_at_random(3, 25)
            await functions.deliver()
        await asyncio.sleep(1)
        assert world.lacking(world.target) == []
        assert world.lacking(world.other) == []
        assert world.rows(PARKED) == []

    run(main)
