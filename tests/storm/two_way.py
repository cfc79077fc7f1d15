"""The two-way storm: writers in every region, faults before every replica, ``kill -9``.

Afterwards, by scans and the writers' own logs, and none of the package's code: all replicas hold
the same, no more was written than may be, and who lost is in a journal.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from tests.fault_proxy import Fault
from tests.storm.weather import Weather
from tests.storm.world import Child, Ended, Stage, Wire, reached, replayable, scanned

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
STAMP = "_mirror"

SEEDED = "seed/"
"""What the values of items that were there before begin with; no writer's log tells of these."""

RECORDS_PER_WRITE = 3
"""An application's write makes at most so many records at each replica: itself, a raise, a put."""

COUNTERS_BELOW = 10**11
"""Versions that are no milliseconds: somebody counted from 1."""

WRITERS = 8
"""Of a storm at full size, in all regions together."""

MUTATED = """\
import sys
from dynamirror.cli.main import main
from dynamirror.engine import reported
from tests.simulation.mutants import MUTANTS
reported.TwoWay = MUTANTS[sys.argv.pop(1)]
main()
"""
"""The program with other rules, whose name comes before the command."""

STILL_S = 3.0
"""Streams in which nothing new comes for so long are quiet."""

SELDOM_STILL_S = 8.0
"""The same where silent shards are asked every four seconds only."""

QUIET_S_MAX = 180.0
WRITERS_S_MAX = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One storm, told whole by these."""

    seed: int
    replicas: int
    changes: int
    """Of all writers together."""
    writers: int = 2
    """Per region."""
    hot: int = 50
    cold: int = 5_000
    kills: int = 3
    rate: float = 100.0
    """Of all writers together, changes a second."""
    faults: float = 0.04
    duplicates: float = 0.2
    handler: bool = False
    """Whether functions mirror, not a process: one for each replica's stream."""
    mutant: str | None = None
    """Which of ``tests.simulation.mutants`` mirrors, to see that the storm notices."""
    server: str | None = None
    """Which server the configuration says that replicas are on."""
    drifts: int = 0
    """Items that differ from the beginning, for ``verify --repair`` to mend meanwhile."""

    @property
    def storm(self) -> str:
        if self.drifts:
            return "two-way-repair"
        return "two-way-handler" if self.handler else "two-way"

    @property
    def replay(self) -> str:
        """The command that runs this storm again."""
        return (
            f"python -m tests.soak --storms {self.storm} --replicas {self.replicas}"
            f" --seed {self.seed} --changes {self.changes} --keys {self.cold}"
            f" --hot {self.hot} --writers {self.writers} --kills {self.kills} --rate {self.rate:g}"
            + (f" --drifts {self.drifts}" if self.drifts else "")
        )


@dataclass(slots=True, kw_only=True)
class Result:
    """How a storm went."""

    plan: Plan
    seconds: float
    kills: int
    writes: int
    records: int
    """Of all streams: the applications' writes and the mirror's."""
    lost: int
    """Writes that lost to a concurrent one, by the writers' logs."""
    journaled: int
    missed: int
    """Lost, but in no journal."""
    spare: int
    """Journaled, but not lost."""
    counts: dict[str, int]
    repairs: int = 0
    """Items that differed from the beginning, were nobody's, and were repaired."""
    wrong: list[str] = field(default_factory=list)

    def require_clean(self) -> None:
        """Raise with what is wrong, and the command that replays it."""
        if self.wrong:
            shown = "\n".join(self.wrong[:10])
            raise AssertionError(f"{len(self.wrong)} wrong\n{shown}\nreplay: {self.plan.replay}")


class Regions(Stage):
    """The replicas of a two-way mirror; all but the first made by ``init``."""

    def __init__(
        self,
        url: str,
        folder: Path,
        count: int,
        *,
        proxy: str,
        options: str = "",
        mutant: str | None = None,
        server: str | None = None,
    ) -> None:
        super().__init__(url, folder)
        at = reached(proxy, server)
        self._mutant = mutant
        self.names = REGIONS[:count]
        first = f'{{ region = "{self.names[0]}", table = "{self.table}", {at} }}'
        others = [f'{{ region = "{name}", {at} }}' for name in self.names[1:]]
        self.text = f"""\
[mirrors.storm]
mode = "two-way"
replicas = [{", ".join([first, *others])}]
{options}
"""
        self.config.write_text(self.text)

    def start(self, command: str, *arguments: str) -> Child:
        if self._mutant is None:
            return super().start(command, *arguments)
        words = ["-c", MUTATED, self._mutant, command, str(self.config), *arguments]
        return self._start(words, command)

    def _set_up(self) -> None:
        self._make(self.names[0], self.table, {"id": "S"}, stream=True)
        direct = self.folder / f"{self.table}-direct.toml"
        direct.write_text(self.text.replace(self._proxy_url(), self.url))
        child = self._start(
            ["-c", "from dynamirror.cli.main import main; main()", "init", str(direct), "--yes"],
            "init",
        )
        if child.end() != 0:
            raise Ended(f"init failed:\n{child.said}")
        for name in self.names:
            found = self.api(name).list_tables()["TableNames"]
            self._tables[name] = [one for one in found if one.startswith(self.table)]

    def _proxy_url(self) -> str:
        return self.text.partition('endpoint_url = "')[2].partition('"')[0]

    def region_writers(self, plan: Plan) -> list[Child]:
        """Start the processes that write to the regions."""
        return [self._writer(plan, number) for number in range(plan.writers * plan.replicas)]

    def _writer(self, plan: Plan, number: int) -> Child:
        total = plan.writers * plan.replicas
        region = self.names[number % plan.replicas]
        words = {"endpoint": self.url, "region": region, "table": self.table}
        numbers = {
            "seed": plan.seed,
            "number": number,
            "writers": total,
            "changes": plan.changes // total,
            "hot": plan.hot,
            "cold": plan.cold,
            "rate": plan.rate / total,
        }
        options = [f"--{name}={value}" for name, value in {**words, **numbers}.items()]
        return self._start(["-m", "tests.storm.region_writer", *options], f"writer-{number}")

    def items(self) -> dict[str, dict[str, Wire]]:
        """Return every replica's items by key, without our attribute."""
        found = {}
        for name in self.names:
            items = scanned(self.api(name), self.table)
            for item in items.values():
                item.pop(STAMP, None)
            found[name] = {item["id"][1]: item for item in items.values()}
        return found

    def parked(self) -> list[Wire]:
        """Return the changes that wait for a replica that was away."""
        table = f"{self.table}-dynamirror-parked"
        regions = [name for name in self.names if table in self._tables[name]]
        return [row for name in regions for row in scanned_rows(self.api(name), table)]

    def journal(self) -> list[tuple[str, str]]:
        """Return key and value of every loser that is told of in a journal."""
        found = []
        for name in self.names:
            pages = self.api(name).get_paginator("scan")
            for page in pages.paginate(TableName=f"{self.table}-dynamirror-journal"):
                for row in page["Items"]:
                    if "reason" in row:
                        loser = json.loads(row["images"]["S"])["loser"]
                        found.append((loser["id"]["S"], loser["value"]["S"]))
        return found


def scanned_rows(api: Any, table: str) -> list[Wire]:
    rows: list[Wire] = api.scan(TableName=table, ConsistentRead=True)["Items"]
    return rows


class Streams:
    """Counts what was written to every replica, by reading their streams."""

    def __init__(self, world: Regions) -> None:
        self.count = 0
        self._iterators: dict[tuple[Any, str], str] = {}
        for name in world.names:
            table = world.api(name).describe_table(TableName=world.table)["Table"]
            api = boto3.client(
                "dynamodbstreams",
                region_name=name,
                endpoint_url=world.url,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
            arn = table["LatestStreamArn"]
            for shard in api.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
                self._iterators[api, shard["ShardId"]] = api.get_shard_iterator(
                    StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]

    def read(self) -> int:
        """Return how many records there are by now."""
        for (api, shard), iterator in self._iterators.items():
            following, more = iterator, True
            while more:
                page = api.get_records(ShardIterator=following, Limit=1_000)
                following, more = page["NextShardIterator"], bool(page["Records"])
                self.count += len(page["Records"])
            self._iterators[api, shard] = following
        return self.count

    def wait_quiet(self, alive: Callable[[], None], still_s: float = STILL_S) -> None:
        """Wait until nothing new comes. Raises Ended if it goes on and on."""
        deadline = time.monotonic() + QUIET_S_MAX
        since, last = time.monotonic(), self.read()
        while time.monotonic() - since < still_s:
            alive()
            time.sleep(0.2)
            if self.read() != last:
                since, last = time.monotonic(), self.count
            if time.monotonic() > deadline:
                raise Ended(f"streams are never quiet: {self.count} records")

    def close(self) -> None:
        for api in {api for api, _ in self._iterators}:
            api.close()


def two_way_storm(plan: Plan, url: str, folder: Path) -> Result:
    """Run the engine through a storm, and check all that is promised."""
    with (
        replayable(plan.replay),
        Weather(url, seed=plan.seed, two_way=REGIONS[: plan.replicas]) as weather,
        Regions(
            url,
            folder,
            plan.replicas,
            proxy=weather.endpoint,
            mutant=plan.mutant,
            server=plan.server,
        ) as world,
    ):
        return Storm(plan, weather, world).run()


class Storm:
    """Writers, faults and kills, and what is to be had afterwards."""

    def __init__(self, plan: Plan, weather: Weather, world: Regions) -> None:
        self.plan = plan
        self.world = world
        self._weather = weather
        self._dice = random.Random(f"{plan.seed}/kills")

    def run(self) -> Result:
        plan, world = self.plan, self.world
        began = time.monotonic()
        writers = world.region_writers(plan)
        self._rage()
        engine = self.meanwhile(world.start("run"), writers)
        for writer in writers:
            if writer.end(WRITERS_S_MAX) != 0:
                raise Ended(f"a writer failed: {writer.said[-3_000:]}")
        world.wait(lambda: "starting" in engine.said)
        streams = Streams(world)
        still_s = STILL_S if plan.server is None else SELDOM_STILL_S
        streams.wait_quiet(engine.require_running, still_s)
        self._weather.calm()  # what was kept back has landed now
        streams.wait_quiet(engine.require_running, still_s)
        seconds = time.monotonic() - began
        if engine.terminate() != 0:
            raise Ended(f"SIGTERM did not end the engine well:\n{engine.said[-3_000:]}")
        for _ in world.names:  # what one mirrors is news to the others
            status, said = world.command("run", "--once")
            if status != 0:
                raise Ended(f"run --once failed:\n{said[-3_000:]}")
        records = streams.read()
        streams.close()
        log = [json.loads(line) for writer in writers for line in writer.said.splitlines()]
        counts = dict(self._weather.counts)
        return judged(plan, world, log, records=records, seconds=seconds, counts=counts)

    def meanwhile(self, engine: Child, _writers: Sequence[Child]) -> Child:
        """Do what is to be done beside the writers; return the engine that runs then."""
        for _ in range(self.plan.kills):
            engine = self.killed(engine)
        return engine

    def _rage(self) -> None:
        plan = self.plan
        self._weather.storm(plan.faults, duplicates=plan.duplicates, batches=False, hang_rate=0.0)

    def killed(self, engine: Child) -> Child:
        """Kill the engine at a moment when much is on its way, and start it again."""
        lasts_s = self.plan.changes / self.plan.rate
        time.sleep(self._dice.uniform(0.5, 1.0) * lasts_s / (self.plan.kills + 1))
        squall = {Fault.HANG: 0.5, Fault.RESET_AFTER: 0.1}
        self._weather.strike(engine, squall, self._dice)
        self._rage()
        return self.world.start("run")


def judged(
    plan: Plan,
    world: Regions,
    log: list[Wire],
    *,
    records: int,
    seconds: float,
    counts: dict[str, int],
) -> Result:
    """Compare, and judge by the writers' logs."""
    items = world.items()
    wrong = _differing(items)
    left = next(iter(items.values()))
    journal = world.journal()
    stories: dict[str, list[Wire]] = defaultdict(list)
    for line in log:
        stories[line["key"]].append(line)
    lost: set[tuple[str, str]] = set()
    missed = 0
    for key, story in stories.items():
        item = left.get(key)
        losers = _lost(story, item)
        found = {(key, line["value"]) for line in losers}
        lost |= found
        unseen = [line for line in losers if (key, line["value"]) not in set(journal)]
        missed += len(unseen)
        wrong += [
            f"{line['value']} of {key} is lost unseen"
            for line in unseen
            if not _untold(plan, line, story)
        ]
        if key.startswith("hybrid"):
            wrong += _not_highest(world, key, story, item)
        elif key.startswith("own") and found:
            wrong.append(f"{key}: lost {found}, though one writer wrote it")
    spare = set(journal) - lost
    wrong += [
        f"{value} of {key} is journaled, not lost"
        for key, value in spare
        if key.startswith("own-hybrid")
    ]
    if records > RECORDS_PER_WRITE * plan.replicas * (len(log) + plan.drifts):
        wrong.append(f"{records} records for {len(log)} writes")
    return Result(
        plan=plan,
        seconds=seconds,
        kills=plan.kills,
        writes=len(log),
        records=records,
        lost=len(lost),
        journaled=len(set(journal)),
        missed=missed,
        spare=len(spare),
        counts=counts,
        wrong=wrong,
    )


def _differing(items: dict[str, dict[str, Wire]]) -> list[str]:
    keys = set().union(*items.values())
    held = {key: [replica.get(key) for replica in items.values()] for key in sorted(keys)}
    return [
        f"{key} differs: {images}"
        for key, images in held.items()
        if any(image != images[0] for image in images)
    ]


def _lost(story: list[Wire], item: Wire | None) -> list[Wire]:
    """Return the saves that no other write knew, and that are not what is left."""
    known = Counter(line["knew"] for line in story)
    left = item["value"][1] if item else None
    return [
        line
        for line in story
        if line["how"] != "delete" and not known[line["value"]] and line["value"] != left
    ]


def _untold(plan: Plan, line: Wire, story: list[Wire]) -> bool:
    """Tell whether a loser may be one that nobody can tell, as ``docs/correctness.md`` has it: (b),
    a counter that started again; (c), a write that raised no version, where a consumer died.
    """
    if line["how"] in ("keep", "put-plain"):
        return plan.kills > 0
    again = any(other["how"] == "delete" for other in story)
    return again and line["version"] < COUNTERS_BELOW


def _not_highest(world: Regions, key: str, story: list[Wire], item: Wire | None) -> list[str]:
    def rank(line: Wire) -> tuple[int, int]:
        return line["version"], -world.names.index(line["at"])

    saves = [line for line in story if line["how"] != "delete"]
    highest = max(saves, key=rank, default=None)
    if highest is None or (item and item["value"][1] == highest["value"]):
        return []
    if any(line["how"] == "delete" and rank(line) > rank(highest) for line in story):
        return []
    if item and item["value"][1].startswith(SEEDED) and item["version"][1] > highest["version"]:
        return []
    return [f"{key}: {highest['value']} has the highest rank, but {item} is left"]
