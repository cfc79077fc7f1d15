"""What it costs to apply a change: Lambda handlers on the same events, against the same stub."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.harness import Contender, Floor, Handler, NodeHandler, Row, race
from bench.settings import configuration, two_way
from bench.tables import figure
from bench.workload import Load

YARDSTICK = "boto3, put_item per change"
GUARDS = ("order", "item", "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load, a round trip, and whether it goes through TLS."""

    load: Load
    delay_ms: float = 0
    tls: bool = False
    quick: bool = False

    @property
    def title(self) -> str:
        load = self.load
        return (
            f"Apply: {load.batch:,} changes to an event, {load.keys} keys, "
            f"items of {load.item_bytes:,} bytes, round trip {self.delay_ms:g} ms"
            + (", TLS" if self.tls else "")
        )


SCENARIOS = [
    Scenario(load=Load(batch=100)),
    Scenario(load=Load(batch=1_000), quick=True),
    Scenario(load=Load(batch=1_000, keys="zipf")),
    Scenario(load=Load(batch=100, keys="hot")),
    Scenario(load=Load(batch=1_000, keys="hot"), quick=True),
    Scenario(load=Load(batch=1_000, item_bytes=2_000)),
    Scenario(load=Load(batch=1_000), tls=True, quick=True),
    Scenario(load=Load(batch=1_000), delay_ms=20),
    Scenario(load=Load(batch=1_000), delay_ms=80, quick=True),
]


def contenders(scenario: Scenario) -> list[Contender]:
    """Return who takes part. With a round trip, whoever waits for each answer gets short events:
    its rate does not depend on their length, and an event of 1,000 would take 80 seconds.
    """
    away = scenario.delay_ms > 0
    found: list[Contender] = [
        Handler(
            name=f"dynamirror, guard {guard}",
            module="bench.contenders.dynamirror_handler",
            python=sys.executable,
            environment={"DYNAMIRROR_CONFIG": configuration(guard)},
        )
        for guard in GUARDS
    ]
    found += [
        Handler(
            name="dynamirror, two-way, saves of items that are there",
            module="bench.contenders.dynamirror_handler",
            python=sys.executable,
            environment={"DYNAMIRROR_CONFIG": two_way()},
        ),
        Handler(
            name=YARDSTICK, module="bench.contenders.boto3_loop", batch_max=5 if away else None
        ),
        Handler(
            name="boto3, batch_writer",
            module="bench.contenders.boto3_batch",
            batch_max=100 if away else None,
        ),
        Handler(name="aiobotocore, 100 puts at once", module="bench.contenders.aiobotocore_puts"),
        NodeHandler(
            name="Node, the article's handler", script="node_puts", batch_max=5 if away else None
        ),
        NodeHandler(name="Node, batches of 25", script="node_batches"),
    ]
    if not away:
        found += [
            Floor(name="floor in C: BatchWriteItem of 25", operation="BatchWriteItem"),
            Floor(name="floor in C: conditional PutItem", operation="PutItem", conditional=True),
        ]
    return found


def measure(scenario: Scenario, *, rounds: int, budget_s: float) -> list[Row]:
    return race(
        contenders(scenario),
        scenario.load,
        delay_ms=scenario.delay_ms,
        tls=scenario.tls,
        rounds=rounds,
        # Long enough that a client which feels its way to more requests at once has got there.
        budget_s=budget_s * 4 if scenario.delay_ms else budget_s,
    )


HEAD = [
    "contender",
    "CPU µs per change: least",
    "median",
    "times less than boto3",
    "changes/s",
    "requests per change",
]


def table(rows: list[Row]) -> list[list[str]]:
    """Return the figures as text, the heads first."""
    yardstick = next((min(r.cpu_us) for r in rows if r.contender == YARDSTICK and r.cpu_us), None)
    lines = [HEAD]
    for row in rows:
        if row.fault:
            lines.append([row.contender, "not measured", "", "", "", ""])
            continue
        least = min(row.cpu_us)
        lines.append(
            [
                row.contender,
                figure(least),
                figure(median(row.cpu_us)),
                figure(yardstick / least) if yardstick else "",
                f"{median(row.changes_per_s):,.0f}",
                f"{row.requests_per_change:.3f}",
            ]
        )
    return lines


def as_json(scenario: Scenario, rows: list[Row]) -> dict[str, Any]:
    return {
        **asdict(scenario.load),
        "delay_ms": scenario.delay_ms,
        "tls": scenario.tls,
        "rows": [row.as_json() for row in rows],
    }
