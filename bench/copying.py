"""What it costs to copy a table and to compare two, beside others that do it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.contenders.dynamirror_lag import make, write_items
from bench.embedded import Embedded, NoServerError
from bench.harness import CREDENTIALS, ContenderError, clean_environment, once
from bench.machine import NODE_MODULES, PEERS_PYTHON, ROOT, cores, node
from bench.settings import configuration
from bench.stub.server import Stub
from bench.tables import Lines, figure
from bench.workload import SOURCE_REGION, TABLE, TARGET_REGION

STUB_ITEMS = 100_000
EMBEDDED_ITEMS = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Where the tables are."""

    table: str
    source_url: str
    target_url: str
    config: str
    """The mirror's configuration."""
    environment: Mapping[str, str]

    @property
    def ask(self) -> dict[str, str]:
        return {"table": self.table, "source_url": self.source_url, "target_url": self.target_url}


Cost = dict[str, Any]
Contender = Callable[[Sides], Cost]


def _ours(task: str) -> Contender:
    def run(sides: Sides) -> Cost:
        ask = {"config": sides.config, "task": task}
        return once("bench.contenders.dynamirror_copy", ask, environment=sides.environment)

    return run


def _boto3(task: str) -> Contender:
    def run(sides: Sides) -> Cost:
        return once(
            "bench.contenders.boto3_copy",
            {"task": task, **sides.ask},
            python=str(PEERS_PYTHON),
            environment=sides.environment,
        )

    return run


def _dynamodump(sides: Sides) -> Cost:
    return once(
        "bench.contenders.dynamodump_copy",
        sides.ask,
        python=str(PEERS_PYTHON),
        environment=sides.environment,
    )


def _copy_dynamodb_table(sides: Sides) -> Cost:
    script = ROOT / "bench" / "contenders" / "node_copy.cjs"
    words = [node(), str(script), sides.table, sides.source_url, sides.target_url]
    environment = {**sides.environment, "NODE_PATH": str(NODE_MODULES)}
    cost: Cost = json.loads(_command(words, environment).splitlines()[-1])
    return cost


def _command(words: list[str], environment: Mapping[str, str]) -> str:
    core, _ = cores()
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            env={**clean_environment(), **CREDENTIALS, **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    except OSError as error:
        raise ContenderError(str(error)) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ContenderError(said[-1])
    return done.stdout


TASKS: dict[str, dict[str, Contender]] = {
    "copy": {
        "dynamirror backfill": _ours("backfill"),
        "boto3: scan, batch_writer": _boto3("backfill"),
        "dynamodump (by way of files)": _dynamodump,
        "copy-dynamodb-table (Node)": _copy_dynamodb_table,
    },
    "compare": {
        "dynamirror verify": _ours("verify"),
        "dynamirror verify --method lookup": _ours("lookup"),
        "boto3: scan both, compare": _boto3("scan_both"),
        "boto3: scan, batch_get_item, one way": _boto3("verify"),
    },
}


def on_stub(*, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Copy and compare scripted tables."""
    items = STUB_ITEMS // (4 if quick else 1)
    core = cores()[1]
    found = []
    with Stub(cpu=core, items=items) as source, Stub(cpu=core, items=items) as target:
        config = configuration("order", source_url=source.endpoint, target_urls=[target.endpoint])
        sides = Sides(
            table=TABLE,
            source_url=source.endpoint,
            target_url=target.endpoint,
            config=config,
            environment={},
        )

        def written() -> int:
            counts = target.stats()["operations"].get("BatchWriteItem", {"items": 0})
            return int(counts["items"])

        for task in TASKS:
            found += _race(
                task,
                sides,
                server="stub",
                items=items,
                rounds=rounds,
                written=written if task == "copy" else None,
            )
    return found


def on_embedded(*, quick: bool) -> list[dict[str, Any]]:
    """Copy and compare tables of the embedded server, which is the slower side of it."""
    items = EMBEDDED_ITEMS // (4 if quick else 1)
    found: list[dict[str, Any]] = []
    try:
        with Embedded() as server:
            table = server.new_table()
            config = server.configuration("order", table)
            asyncio.run(_fill(server, table, items))
            sides = Sides(
                table=table,
                source_url=server.url,
                target_url=server.url,
                config=config,
                environment=server.environment,
            )
            for task in TASKS:
                found += _race(task, sides, server="embedded server", items=items)
    except NoServerError as error:
        found.append({"task": "copy", "server": "embedded server", "fault": str(error)})
    return found


async def _fill(server: Embedded, table: str, items: int) -> None:
    source, target = server.client(SOURCE_REGION), server.client(TARGET_REGION)
    try:
        await make(source, table, "HASH", stream=True)
        await make(source, f"{table}-dynamirror-checkpoints", "RANGE")
        await make(target, table, "HASH")
        for first in range(0, items, 25):
            await write_items(source, table, first, min(25, items - first))
    finally:
        await source.close()
        await target.close()


def _race(
    task: str,
    sides: Sides,
    *,
    server: str,
    items: int,
    rounds: int = 1,
    written: Callable[[], int] | None = None,
) -> list[dict[str, Any]]:
    costs: dict[str, list[Cost]] = {}
    faults: dict[str, str] = {}
    for _ in range(rounds):
        for name, contender in TASKS[task].items():
            if name in faults:
                continue
            before = written() if written else 0
            try:
                cost = contender(sides)
            except ContenderError as error:
                faults[name] = str(error)
                continue
            if written and written() - before < items:
                faults[name] = f"it wrote {written() - before} items of {items}"
            elif cost.get("changes", items) != items:
                faults[name] = f"it took {cost['changes']} items for {items}"
            else:
                costs.setdefault(name, []).append(cost)
    return [
        {"task": task, "server": server, "contender": name, "items": items}
        | (
            {"fault": faults[name]}
            if name in faults
            else {
                "cpu_us_per_item": round(min(c["cpu_us"] for c in costs[name]) / items, 3),
                "items_per_s": round(median(items / c["wall_s"] for c in costs[name])),
            }
        )
        for name in TASKS[task]
    ]


def table(rows: list[dict[str, Any]], task: str, server: str) -> Lines:
    mine = [row for row in rows if row["task"] == task and row["server"] == server]
    yardstick = next(
        (
            row["cpu_us_per_item"]
            for row in mine
            if row.get("contender", "").startswith("boto3") and "fault" not in row
        ),
        None,
    )
    lines = [["contender", "CPU µs per item", "times less than boto3", "items/s"]]
    for row in mine:
        if "fault" in row:
            lines.append([row.get("contender", "all"), "not measured", "", ""])
            continue
        cpu = row["cpu_us_per_item"]
        lines.append(
            [
                row["contender"],
                figure(cpu),
                figure(yardstick / cpu) if yardstick else "",
                f"{row['items_per_s']:,}",
            ]
        )
    return lines
