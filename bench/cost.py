"""What a million changes cost in dollars: requests, write units and GB-seconds that were counted.

Prices: us-east-1, on demand, standard tables, since November 2024 (AWS's pricing pages).
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from bench.apply import GUARDS, YARDSTICK
from bench.harness import Contender, Handler, Row, race
from bench.settings import configuration, two_way
from bench.tables import Lines
from bench.workload import Load

WRITE_UNIT_USD = 0.625e-6
INVOCATION_USD = 0.20e-6
GB_SECOND_USD = 0.0000166667  # x86; arm64 is a fifth cheaper
GB_OUT_USD = 0.02
"""Between most pairs of regions."""

MEMORY_MB = 512
FULL_CORE_MB = 1_769
"""Lambda gives one core at this size, and less in proportion below it (Developer Guide)."""

DELAY_MS = 80
BATCHES = (100, 1_000)
ITEM_BYTES = 300

GLOBAL_TABLES = "Global Tables, the replica's side"


def measure(*, rounds: int) -> dict[str, Any]:
    """Apply events over a long round trip, as between continents, and add up what is charged."""
    rows: list[dict[str, Any]] = []
    for batch in BATCHES:
        load = Load(batch=batch, item_bytes=ITEM_BYTES)
        raced = race(_contenders(batch), load, delay_ms=DELAY_MS, rounds=rounds, budget_s=1.0)
        rows += [
            {"contender": row.contender, "batch": batch} | _charged(row, batch) for row in raced
        ]
    gb = ITEM_BYTES / 2**30
    rows.append(
        {
            "contender": GLOBAL_TABLES,
            "batch": None,
            "write_units_per_change": 1.0,
            "writes_usd": WRITE_UNIT_USD * 1e6,
            "transfer_usd": gb * GB_OUT_USD * 1e6,
            "lambda_usd": 0.0,
        }
    )
    for one in rows:
        if "fault" not in one:
            parts = ("writes_usd", "transfer_usd", "lambda_usd")
            one["total_usd"] = sum(one[part] for part in parts)
    return {"delay_ms": DELAY_MS, "memory_mb": MEMORY_MB, "rows": rows}


def _contenders(batch: int) -> list[Contender]:
    found: list[Contender] = [
        Handler(
            name=f"dynamirror, guard {guard}",
            module="bench.contenders.dynamirror_handler",
            python=sys.executable,
            environment={"DYNAMIRROR_CONFIG": configuration(guard)},
        )
        for guard in GUARDS
    ]
    found.append(
        Handler(
            name="dynamirror, two-way",
            module="bench.contenders.dynamirror_handler",
            python=sys.executable,
            environment={"DYNAMIRROR_CONFIG": two_way()},
        )
    )
    if batch <= 100:
        found.append(Handler(name="boto3, batch_writer", module="bench.contenders.boto3_batch"))
        # A round trip for each: its time per change does not depend on the event's length.
        found.append(Handler(name=YARDSTICK, module="bench.contenders.boto3_loop", batch_max=5))
    return found


def _charged(row: Row, batch: int) -> dict[str, Any]:
    if row.fault:
        return {"fault": row.fault}
    changes = row.samples[-1].changes
    # The stub counts what its last round wrote; an item of up to 1 KB is one unit, in a
    # transaction two, and a ledger's row is an item as well.
    operations = row.stats["operations"]
    units = sum(
        counts["items"] * (2 if name == "TransactWriteItems" else 1)
        for name, counts in operations.items()
        if name in ("PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")
    )
    sent_gb = row.stats["bytes_received"] / 2**30 / changes
    wall_s = median(sample.wall_s / sample.changes for sample in row.samples)
    cpu_s = min(row.cpu_us) / 1e6
    # Less than a core stretches what is computed, and leaves alone what is waited for.
    duration_s = max(wall_s, wall_s + cpu_s * (FULL_CORE_MB / MEMORY_MB - 1))
    gb_s = duration_s * MEMORY_MB / 1_024
    return {
        "requests_per_change": round(row.requests_per_change, 4),
        "write_units_per_change": round(units / changes, 4),
        "gb_s_per_million": gb_s * 1e6,
        "bytes_sent_per_change": round(sent_gb * 2**30),
        "writes_usd": units / changes * WRITE_UNIT_USD * 1e6,
        "transfer_usd": sent_gb * GB_OUT_USD * 1e6,
        "lambda_usd": (gb_s * GB_SECOND_USD + INVOCATION_USD / batch) * 1e6,
    }


def table(found: dict[str, Any]) -> Lines:
    lines = [
        [
            "a million changes",
            "requests per change",
            "write units per change",
            "GB-seconds",
            "writes $",
            "transfer $",
            "Lambda $",
            "total $",
        ]
    ]
    for row in found["rows"]:
        name = row["contender"] + (f", {row['batch']:,} to an event" if row["batch"] else "")
        if "fault" in row:
            lines.append([name, "not measured", *([""] * 6)])
            continue
        ours = "requests_per_change" in row
        lines.append(
            [
                name,
                f"{row['requests_per_change']:.2f}" if ours else "",
                f"{row['write_units_per_change']:.2f}",
                f"{row['gb_s_per_million']:,.0f}" if ours else "",
                *(f"{row[part]:.3f}" for part in _MONEY),
            ]
        )
    return lines


_MONEY = ("writes_usd", "transfer_usd", "lambda_usd", "total_usd")
