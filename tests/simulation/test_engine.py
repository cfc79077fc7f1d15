"""The whole engine and the whole handler, two-way, on virtual time and a network that misbehaves.

The histories of ``dynamirror.simulation`` drive the rules alone. Here all that is around them runs:
configuration, tables made by ``init``, shards that split, checkpoints, leases, retries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import Faults
from tests.event_source_mapping import EventSourceMapping

from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.core.rank import Peers
from dynamirror.core.record import records_of
from dynamirror.core.values import Wire
from dynamirror.engine.retry import Backoff
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import plan
from dynamirror.errors import TransientError
from dynamirror.memory.dynamodb import MemoryDynamoDB
from dynamirror.runtimes import aws_lambda
from dynamirror.runtimes.aws_lambda import Function
from dynamirror.runtimes.process import backfill_of, consumer_of
from dynamirror.simulation.applications import STAMP, Applications
from dynamirror.simulation.replicas import JOURNAL, TABLE, create
from dynamirror.wiring import Wiring

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
CONFIG = """
[mirrors.sessions]
mode = "two-way"
replicas = [
  { region = "us-east-1", table = "Sessions" },
  { region = "eu-west-1" },
  { region = "ap-southeast-2" },
]
"""
HYBRID = ("hybrid", "hybrid-put")
KEYS = tuple(f"k{number}" for number in range(6))


class Region:
    """A replica as applications see it; see ``dynamirror.simulation.replicas.Place``."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.db = MemoryDynamoDB(name, clock=now_ms, seed=seed, shards=2)

    @property
    def table(self) -> Any:
        return self.db.table(TABLE)

    def item(self, key: str) -> Wire | None:
        found: Wire | None = self.table.items.get((key,))
        return found


class World:
    """Three regions, made inside the loop: the first has the table, ``init`` makes the rest."""

    pause_s = 2.0
    """At most so long between two writes of the applications."""

    def __init__(
        self, seed: int, writes: Sequence[str] = HYBRID, keys: Sequence[str] = KEYS
    ) -> None:
        """``keys``: those in view."""
        self.keys = keys
        self.chance = Random(seed)
        self.writes = writes
        self.regions = {name: Region(name, seed) for name in REGIONS}
        self.wiring = Wiring(
            load(CONFIG if keys == KEYS else f"{CONFIG}where = \"id <= '{keys[-1]}'\"\n"),
            connect=self.connect,
            clock=now_ms,
            backoff=Backoff(draw=self.chance.random),
        )
        self.applications = {key: Applications(Peers(REGIONS)) for key in KEYS}

    def connect(self, place: Place, _: Transport) -> MemoryDynamoDB:
        return self.regions[place.region].db

    async def init(self) -> None:
        create(self.regions[REGIONS[0]].db)
        for name in (JOURNAL, f"{TABLE}-dynamirror-ledger"):
            self.regions[REGIONS[0]].db.perform("DeleteTable", {"TableName": name})
        mirrors = self.wiring.config.mirrors
        world = await observe(mirrors, self.wiring.api, self.wiring.backoff)
        await carry_out(plan(mirrors, world), self.wiring.api, self.wiring.backoff, lambda _: None)

    def strike(self, seed: int, rate: float) -> None:
        for number, region in enumerate(self.regions.values()):
            faults = Faults(seed + number, rate)
            region.db.before, region.db.after = faults.before, faults.after

    def spare(self) -> None:
        for region in self.regions.values():
            region.db.before = region.db.after = None

    async def write(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(self.chance.random() * self.pause_s)
            key = self.chance.choice(KEYS)
            region = self.regions[self.chance.choice(REGIONS)]
            applications = self.applications[key]
            if self.chance.random() < 0.2:
                applications.delete(region, key)  # type: ignore[arg-type]
            else:
                how = self.chance.choice(self.writes)
                applications.save(region, key, how, now_ms())  # type: ignore[arg-type]
            if self.chance.random() < 0.05:
                stream = region.table.stream
                stream.split(self.chance.choice(stream.open_shards).id)

    def complaints(self) -> list[str]:
        """Return what is wrong once all is quiet."""
        found = []
        journaled = [
            row["images"]["S"]
            for region in self.regions.values()
            for row in region.db.table(JOURNAL).contents()
        ]
        for key, applications in self.applications.items():
            items = [region.item(key) for region in self.regions.values()]
            if key not in self.keys:
                writers = [item and applications.writes[item["value"]["S"]].at for item in items]
                if any(at not in (None, name) for at, name in zip(writers, REGIONS, strict=True)):
                    found.append(f"{key} is not in view, and was carried: {items}")
                continue
            plain = [{n: v for n, v in (item or {}).items() if n != STAMP} for item in items]
            if any(item != plain[0] for item in plain):
                found.append(f"{key} differs: {plain}")
            left = plain[0].get("value", {}).get("S")
            found += [
                f"{key}: {name} is lost and in no journal"
                for name, one in applications.leaves().items()
                if one.how != "delete" and name != left
                if not any(f'"{name}"' in images and f'"{key}"' in images for images in journaled)
            ]
        return found


async def consume(world: World) -> None:
    """Run every consumer, with deaths in between, until all writes are mirrored."""
    writing = asyncio.create_task(world.write(120))
    while not writing.done():
        tasks = [
            asyncio.create_task(consumer_of(world.wiring, one).run()) for one in mirrors(world)
        ]
        await asyncio.sleep(20 + world.chance.random() * 40)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await writing
    world.spare()
    for _ in range(3):  # what one mirrors is news to the others
        for one in mirrors(world):
            await consumer_of(world.wiring, one).run(once=True)


def mirrors(world: World) -> Sequence[Any]:
    return world.wiring.config.mirrors


@pytest.mark.parametrize("seed", range(4))
def test_engines_that_die_and_come_back_end_equal(seed: int) -> None:
    """Writers in three regions, throttles, lost answers, splits, restarts: equal, losers kept."""

    async def main() -> list[str]:
        world = World(seed)
        await world.init()
        world.strike(seed, 0.05)
        await consume(world)
        return world.complaints()

    assert run(main) == []


@pytest.mark.parametrize("seed", range(2))
def test_keys_out_of_view_stay_where_they_are_written(seed: int) -> None:
    """A two-way mirror with a condition on keys: those in view end equal, of the others nothing is
    carried, not by backfills either.
    """

    async def main() -> list[str]:
        world = World(seed, keys=KEYS[:3])
        await world.init()
        world.strike(seed, 0.05)
        await consume(world)
        for one in mirrors(world):
            await backfill_of(world.wiring, one).run(lambda _: None)
            await consumer_of(world.wiring, one).run(once=True)
        assert any(region.item(KEYS[-1]) for region in world.regions.values())
        return world.complaints()

    assert run(main) == []


@pytest.mark.parametrize("seed", range(3))
def test_applications_without_versions_end_equal(seed: int) -> None:
    """An application that knows nothing of versions is mirrored by the engine too."""

    async def main() -> list[str]:
        world = World(seed, ("keep", "put-plain"))
        await world.init()
        world.strike(seed, 0.02)
        await consume(world)
        return [one for one in world.complaints() if "differs" in one]

    assert run(main) == []


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_functions_end_equal(seed: int, lanes: int) -> None:
    """The handler in each region, batches delivered again and answers lost: equal, losers kept;
    also where a shard's keys are divided among several invocations at a time.
    """

    async def main() -> list[str]:
        world = World(seed)
        await world.init()
        world.strike(seed, 0.03)
        function = Function(CONFIG)
        function._loop.close()
        function.wiring = world.wiring

        async def invoke(event: Wire) -> Wire:
            ends_s = asyncio.get_running_loop().time() + 900
            lowest = await function._apply(
                aws_lambda._stream_arn(event),
                records_of(event),
                lambda: round((ends_s - asyncio.get_running_loop().time()) * 1_000),
            )
            failures = [] if lowest is None else [{"itemIdentifier": str(lowest)}]
            return {"batchItemFailures": failures}

        await deliver_all(world, invoke, lanes)
        return world.complaints()

    assert run(main) == []


async def deliver_all(world: World, invoke: Callable[[Wire], Any], lanes: int) -> None:
    """Deliver every region's stream, again and again, until nothing new comes of it."""
    writing = asyncio.create_task(world.write(60))
    before = -1
    while not writing.done() or records(world) != before:
        before = records(world)
        mappings = [
            EventSourceMapping(region.db, TABLE, invoke, world.chance, again=0.1, lanes=lanes)
            for region in world.regions.values()
        ]
        await asyncio.gather(*(mapping.run() for mapping in mappings))
        await asyncio.sleep(1)
        if writing.done():
            world.spare()
    with contextlib.suppress(asyncio.CancelledError):
        await writing


def records(world: World) -> int:
    return sum(
        len(shard.records)
        for region in world.regions.values()
        for shard in region.table.stream.shards.values()
    )


def test_a_backfill_copies_by_rank() -> None:
    """Items that were there before the mirror are copied to the others, with their ranks."""

    async def main() -> list[list[str]]:
        world = World(0)
        await world.init()
        for number, region in enumerate(world.regions.values()):
            for key in KEYS[: number + 1]:
                world.applications[key].save(region, key, "hybrid", now_ms() + number)  # type: ignore[arg-type]
        for one in mirrors(world):
            await backfill_of(world.wiring, one).run(lambda _: None)
        for one in mirrors(world):
            await consumer_of(world.wiring, one).run(once=True)
        return [
            sorted(str(item["value"]) for item in region.table.contents())
            for region in world.regions.values()
        ]

    first, *others = run(main)
    assert all(other == first for other in others)
    assert len(first) == len(REGIONS)


@pytest.mark.parametrize("seed", range(4))
def test_a_region_that_is_cut_off_holds_up_no_other_and_ends_equal(seed: int) -> None:
    """Written on both sides of the cut: the others go on among themselves, and every loser of what
    happened meanwhile is journaled.
    """

    async def main() -> list[str]:
        world = World(seed)
        await world.init()
        consumers = [consumer_of(world.wiring, one) for one in mirrors(world)]
        tasks = [asyncio.create_task(consumer.run()) for consumer in consumers]
        await world.write(30)
        lost = world.regions[REGIONS[seed % 3]]

        async def cut(operation: str, _: bytes) -> None:
            await asyncio.sleep(world.chance.random() * 10)
            raise TransientError("Timeout", f"no answer to {operation}")

        lost.db.before = cut
        writing = asyncio.create_task(world.write(400))
        await asyncio.sleep(200)
        near = [one for one in consumers if one.links.mirror.source.name != lost.name]
        for consumer in near:
            assert consumer.report().lag_ms < 5_000
            away = [one for one in consumer.report().links if one.away_since_ms is not None]
            assert [one.target for one in away] == [lost.name]
            assert away[0].waiting_keys > 0
        await writing
        lost.db.before = None
        async with asyncio.timeout(600):
            while any(link.waiting_keys for one in near for link in one.report().links):  # noqa: ASYNC110
                await asyncio.sleep(1)
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not [row for one in near for row in parked(world, one.links.mirror.source.name)]
        return world.complaints()

    assert run(main) == []


def parked(world: World, region: str) -> list[Wire]:
    return list(world.regions[region].db.table(f"{TABLE}-dynamirror-parked").contents())
