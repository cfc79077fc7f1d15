"""The repair storm: ``verify --repair --yes`` again and again beside a two-way mirror at full load.

Some items differ from the beginning, in a way that no stream tells of: each replica's is stamped
as if the mirror had put it there. Half of them are nobody's, and repair alone can mend them; half
are the writers' as well. Some repairs are killed, and so is the engine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from tests.storm.two_way import REGIONS, SEEDED, STAMP, Plan, Regions, Result, Storm
from tests.storm.weather import Weather
from tests.storm.world import Child, Wire, replayable

BATCH = 25
REPAIR_S_MAX = 600.0
KILLED_AFTER_S = (2.0, 6.0)

HOWS = ("lone", "stale", "tied")
"""One replica has it alone; another has a higher version; or one of the same, but weaker."""


def repair_storm(plan: Plan, url: str, folder: Path) -> Result:
    """Run it; what repair did not do, or did too much, is among what is wrong."""
    with (
        replayable(plan.replay),
        Weather(url, seed=plan.seed, two_way=REGIONS[: plan.replicas]) as weather,
        Regions(url, folder, plan.replicas, proxy=weather.endpoint) as world,
    ):
        seeds = seeded(plan, world)
        storm = _RepairStorm(plan, weather, world)
        result = storm.run()
        status, said = world.command("verify")
        if status != 0:
            result.wrong.append(f"verify ends with {status}: {said[-500:]}")
        left = next(iter(world.items().values()))
        result.wrong += [
            f"{key} should be {value}, but {left.get(key)} is left"
            for key, value in seeds.items()
            if key.startswith("seed") and left.get(key, {}).get("value") != ("S", value)
        ]
        mine = {key for key in seeds if key.startswith("seed")}
        result.wrong += [f"{key}: not found" for key in mine - storm.found]
        result.wrong += [f"{key}: a false alarm" for key in storm.found - seeds.keys()]
        result.repairs = len(storm.repaired & mine)
        return result


def seeded(plan: Plan, world: Regions) -> dict[str, str]:
    """Make items that differ; return by key the value that outranks the others."""
    dice = random.Random(f"{plan.seed}/drift")
    puts: dict[str, list[Wire]] = {name: [] for name in world.names}
    cold = dice.sample(range(plan.cold), plan.drifts // 2)
    keys = [f"hybrid-cold-{place:05d}" for place in cold]
    keys += [f"seed-{place:05d}" for place in range(plan.drifts - len(keys))]
    best = {}
    for place, key in enumerate(keys):
        how, one = HOWS[place % len(HOWS)], dice.choice(world.names)
        ranks = {}
        for name in [one] if how == "lone" else world.names:
            version = 60 if how == "stale" and name == one else 50
            origin = world.names[1 if name == world.names[0] else 0]
            puts[name].append(_item(key, version, origin))
            ranks[version, -world.names.index(origin)] = puts[name][-1]["value"]["S"]
        best[key] = ranks[max(ranks)]
    for name, items in puts.items():
        for at in range(0, len(items), BATCH):
            batch = [{"PutRequest": {"Item": item}} for item in items[at : at + BATCH]]
            answer = world.api(name).batch_write_item(RequestItems={world.table: batch})
            assert not answer["UnprocessedItems"]
    return best


def _item(key: str, version: int, origin: str) -> Wire:
    number = {"N": str(version)}
    stamp = {"M": {"version": number, "origin": {"S": origin}, "seen": {"M": {}}}}
    value = {"S": f"{SEEDED}{version}/{origin}"}
    return {"id": {"S": key}, "value": value, "version": number, STAMP: stamp}


class _RepairStorm(Storm):
    def __init__(self, plan: Plan, weather: Weather, world: Regions) -> None:
        super().__init__(plan, weather, world)
        self.found: set[str] = set()
        self.repaired: set[str] = set()
        self._chance = random.Random(f"{plan.seed}/repairs")

    def meanwhile(self, engine: Child, writers: Sequence[Child]) -> Child:
        """Repair until all is written, and once more; every other repair is killed at first."""
        kills = self.plan.kills
        self.world.wait(self._is_mirrored)  # before, what differs is drift
        while True:
            last = all(writer.ended for writer in writers)
            repair = self.world.start("verify", "--repair", "--yes", "--json")
            if kills:
                engine, kills = self.killed(engine), kills - 1
                time.sleep(self._chance.uniform(*KILLED_AFTER_S))
                if not repair.ended and kills % 2:
                    repair.kill()
            if not repair.ended:
                repair.end(REPAIR_S_MAX)
            self._note(repair)
            if last:
                return engine

    def _is_mirrored(self) -> bool:
        """Tell whether an engine holds the lease of every replica."""
        world = self.world
        rows = [
            row["shard"]["S"]
            for name in world.names
            for row in world.api(name).scan(
                TableName=f"{world.table}-dynamirror-checkpoints", ConsistentRead=True
            )["Items"]
        ]
        return rows.count("#lease") == len(world.names)

    def _note(self, repair: Child) -> None:
        lines = (line for line in repair.said.splitlines() if line.startswith("{"))
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # the last one of a repair that was killed
            if told["event"] == "drift":
                self.found.add(told["key"]["id"]["S"])
            if told["event"] == "repair" and told["outcome"] == "repaired":
                self.repaired.add(told["key"]["id"]["S"])
