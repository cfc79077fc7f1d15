"""What a view costs: the handler on the same events, with ever more of each image looked into."""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from bench.harness import Contender, Handler, Row, race
from bench.settings import configuration
from bench.tables import figure
from bench.workload import Load

LOAD = Load(batch=1_000)
VARIABLE = "BENCH_SECRET"

# Every view lets every item pass, so that each row writes the same number of items.
VIEWS = {
    "whole items": "",
    "where, on the key": "where = \"begins_with(id, 'item-')\"",
    "where": 'where = "published = true AND views > 1000"',
    "exclude and rename": 'attributes = { exclude = ["note"], rename = { score = "rating" } }',
    "rename and hash": 'attributes = { mask = { author = "hash" }, rename = { score = "rating" }, '
    f'secret_env = "{VARIABLE}" }}',
    "composed key": 'key = { pk = "ITEM#{id}" }',
    "transform": 'transform = "bench.views:transformed"',
}


def transformed(image: dict[str, Any]) -> dict[str, Any]:
    """Return an image with an attribute changed, as a user's function would."""
    return {**image, "title": {"S": image["title"]["S"].upper()}}


def contenders() -> list[Contender]:
    return [
        Handler(
            name=name,
            module="bench.contenders.dynamirror_handler",
            python=sys.executable,
            environment={
                "DYNAMIRROR_CONFIG": f"{configuration('order')}{view}\n",
                VARIABLE: "a secret",
            },
        )
        for name, view in VIEWS.items()
    ]


def measure(*, rounds: int, budget_s: float) -> list[Row]:
    return race(contenders(), LOAD, delay_ms=0, tls=False, rounds=rounds, budget_s=budget_s)


def table(rows: list[Row]) -> list[list[str]]:
    """Return the figures as text, the heads first."""
    lines = [["guard order, the target sees", "CPU µs per change: least", "median", "times whole"]]
    whole = next((min(row.cpu_us) for row in rows if row.cpu_us), None)
    for row in rows:
        if row.fault:
            lines.append([row.contender, "not measured", "", ""])
            continue
        least = min(row.cpu_us)
        times = figure(least / whole) if whole else ""
        lines.append([row.contender, figure(least), figure(median(row.cpu_us)), times])
    return lines
