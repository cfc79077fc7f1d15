"""Time to live in all replicas of a two-way mirror, as docs/ttl.md has it."""

from __future__ import annotations

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.simulation.test_engine import CONFIG, REGIONS, World

from dynamirror.config.load import load
from dynamirror.config.model import Deletes
from dynamirror.runtimes.process import consumer_of
from dynamirror.simulation.replicas import JOURNAL, TABLE
from dynamirror.wiring import Wiring

NAME = "k0"


async def made(ttl_deletes: Deletes = Deletes.MIRROR) -> World:
    """Return three regions that all have an expired item, each with time to live on."""
    world = World(0)
    text = f'{CONFIG}ttl_deletes = "{ttl_deletes}"\n'
    world.wiring = Wiring(load(text), connect=world.connect, clock=now_ms)
    await world.init()
    for region in world.regions.values():
        region.table.ttl_attribute = "until"
    save(world, REGIONS[0], 1, -60)
    await settle(world)
    assert versions(world) == [1, 1, 1]
    return world


def save(world: World, region: str, version: int, left_s: int) -> None:
    until = str(now_ms() // 1_000 + left_s)
    item = {"id": {"S": NAME}, "version": {"N": str(version)}, "until": {"N": until}}
    world.regions[region].db.perform("PutItem", {"TableName": TABLE, "Item": item})


def expire(world: World, *names: str) -> None:
    for name in names:
        assert world.regions[name].table.expire(now_ms()) == 1


async def settle(world: World) -> None:
    for _ in REGIONS:  # what one mirrors is news to the others
        for mirror in world.wiring.config.mirrors:
            await consumer_of(world.wiring, mirror).run(once=True)


def versions(world: World) -> list[int | None]:
    items = [region.item(NAME) for region in world.regions.values()]
    return [None if item is None else int(item["version"]["N"]) for item in items]


def journaled(world: World) -> int:
    return sum(len(list(one.db.table(JOURNAL).contents())) for one in world.regions.values())


def written(world: World) -> int:
    """Return how many records the replicas' streams have."""
    streams = [region.table.stream for region in world.regions.values()]
    return sum(len(shard.records) for stream in streams for shard in stream.shards.values())


@pytest.mark.parametrize("first", [REGIONS[:1], REGIONS[1:2], REGIONS[1:], REGIONS])
def test_replicas_that_expire_the_same_image_agree(first: tuple[str, ...]) -> None:
    """Whichever services come to it first, it is gone everywhere; no loser, and nothing goes round:
    once all is applied, nobody writes to a replica any more.
    """

    async def main() -> list[int | None]:
        world = await made()
        expire(world, *first)
        await settle(world)
        before = written(world)
        await settle(world)
        assert written(world) == before
        assert journaled(world) == 0
        return versions(world)

    assert run(main) == [None, None, None]


def test_an_item_prolonged_while_another_region_expires_it_stays() -> None:
    """The save has a higher version than the image that expired: it is kept everywhere."""

    async def main() -> list[int | None]:
        world = await made()
        save(world, REGIONS[0], 2, 3_600)
        expire(world, *REGIONS[1:])
        await settle(world)
        return versions(world)

    assert run(main) == [2, 2, 2]


def test_replicas_left_to_their_own_time_to_live_differ_by_what_expired() -> None:
    """With ttl_deletes = "ignore" a delete by time to live is mirrored to nobody."""

    async def main() -> list[int | None]:
        world = await made(Deletes.IGNORE)
        expire(world, REGIONS[1])
        await settle(world)
        return versions(world)

    assert run(main) == [1, None, 1]
