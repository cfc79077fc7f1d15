"""Backfills of a two-way mirror's replicas, killed beside writes to all of them."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from tests.engine.copying.test_backfill import end
from tests.engine.copying.test_resume import Killed
from tests.engine.virtual_time import now_ms, run

from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.core.values import Wire, same
from dynamirror.engine.copying import shares
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import plan
from dynamirror.memory import MemoryDynamoDB, reads
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import backfill_of, consumer_of
from dynamirror.wiring import Wiring

CONFIG = """
[mirrors.sessions]
mode = "two-way"
replicas = [{ region = "us-east-1", table = "Sessions" }, { region = "eu-west-1" }]
"""

ITEMS = 16
REGIONS = ("us-east-1", "eu-west-1")


class TwoRegions:
    """Both replicas, with items that the other lacks, that both have, and that have no version."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.dbs = {name: MemoryDynamoDB(name, clock=now_ms, seed=seed) for name in REGIONS}
        self.wiring = self.wired()

    def wired(self, kill: Killed | None = None) -> Wiring:
        def connect(place: Place, _: Transport) -> DynamoDB:
            db = self.dbs[place.region]
            return db if kill is None else kill.through(db)

        return Wiring(load(CONFIG), connect=connect, clock=now_ms)

    async def fill(self) -> None:
        for region, db in self.dbs.items():
            request: Wire = {
                "TableName": "Sessions",
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            }
            db.perform("CreateTable", request)
            for number in range(ITEMS):
                if number % 3 != REGIONS.index(region):
                    self.save(region, f"k{number}", None if number % 5 == 0 else 5 + number % 2)
        mirrors = self.wiring.config.mirrors
        made = plan(mirrors, await observe(mirrors, self.wiring.api, self.wiring.backoff))
        await carry_out(made, self.wiring.api, self.wiring.backoff, lambda _: None, poll_s=0)

    def save(self, region: str, name: str, version: int | None) -> None:
        versioned = {} if version is None else {"version": {"N": str(version)}}
        held = {"id": {"S": name}, "by": {"S": region}, **versioned}
        self.dbs[region].perform("PutItem", {"TableName": "Sessions", "Item": held})

    def delete(self, region: str, name: str) -> None:
        key = {"id": {"S": name}}
        self.dbs[region].perform("DeleteItem", {"TableName": "Sessions", "Key": key})

    def contents(self, region: str) -> dict[str, Wire]:
        return {
            held["id"]["S"]: {name: value for name, value in held.items() if name != "_mirror"}
            for held in self.dbs[region].table("Sessions").contents()
        }

    def differences(self) -> list[str]:
        us, eu = (self.contents(region) for region in REGIONS)
        return [
            name for name in us.keys() | eu.keys() if not same(us.get(name, {}), eu.get(name, {}))
        ]


async def copied(wiring: Wiring) -> list[Copied]:
    return await asyncio.gather(
        *(backfill_of(wiring, side).run(lambda _: None) for side in wiring.config.mirrors)
    )


def test_killed_at_any_request_the_replicas_end_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing deleted comes back: engines run, applications save and delete in both regions."""
    monkeypatch.setattr(reads, "PAGE_BYTES_MAX", 64)
    monkeypatch.setattr(shares, "SEGMENTS_AT_ONCE", 2)

    async def main() -> tuple[bool, int]:
        world = TwoRegions(after)
        await world.fill()
        engines = [consumer_of(world.wiring, side) for side in world.wiring.config.mirrors]
        running = [asyncio.create_task(engine.run()) for engine in engines]
        await asyncio.sleep(3)
        writing = asyncio.create_task(applications(world))
        kill = Killed(after, lands=after % 2 == 0)
        first = asyncio.create_task(copied(world.wired(kill)))
        await asyncio.sleep(4)
        over = first.done()
        await end(first)  # type: ignore[arg-type]
        told = await copied(world.wired())
        deleted = await writing
        await asyncio.sleep(60)
        assert world.differences() == [], after
        assert not deleted & world.contents(REGIONS[0]).keys(), after
        for task in running:
            await end(task)
        return over, sum(side.resumed for side in told)

    after, gone_on_at = 1, set[int]()
    while True:
        over, before = run(main)
        gone_on_at.add(before)
        if over:
            break
        after += 7
    assert len(gone_on_at) > 3


async def applications(world: TwoRegions) -> set[str]:
    """Save some items, and delete others; return which."""
    deleted = set()
    for number in range(ITEMS):
        region = world.chance.choice(REGIONS)
        if number % 4 == 0 and f"k{number}" in world.contents(region):
            world.delete(region, f"k{number}")
            deleted.add(f"k{number}")
        elif number % 4 == 1:
            world.save(region, f"k{number}", now_ms())
        await asyncio.sleep(0.2)
    return deleted
