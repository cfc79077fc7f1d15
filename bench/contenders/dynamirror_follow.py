"""dynamirror's engine in one process, from GetRecords to the acknowledged write, until drained.

``work`` takes ``config`` (TOML) and, for the size over time, ``sample_every`` (changes).
"""

from __future__ import annotations

import asyncio
from typing import Any

from bench.child import resident_kb
from bench.job import Meter

from dynamirror.config.load import load
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.runtimes.process import mirror_all, run
from dynamirror.wiring import Wiring


def work(ask: dict[str, Any]) -> dict[str, Any]:
    wiring = Wiring(load(ask["config"]))
    consumers: list[Consumer] = []
    points: list[dict[str, int]] = []
    with Meter() as meter:
        status = run(_follow(wiring, consumers, points, ask.get("sample_every", 0)))
    (consumer,) = consumers
    report = consumer.report()
    if status != 0:
        raise RuntimeError(f"the engine ended with status {int(status)}")
    return meter.cost(
        report.records,
        writes=report.writes,
        retries=report.retries,
        limits=[limiter.limit for limiter in consumer.links._limiters.values()],  # noqa: SLF001
        points=points,
    )


async def _follow(
    wiring: Wiring, consumers: list[Consumer], points: list[dict[str, int]], every: int
) -> int:
    watching = asyncio.create_task(_watch(consumers, points, every)) if every else None
    try:
        return await mirror_all(wiring, once=True, on_start=consumers.extend)
    finally:
        if watching:
            watching.cancel()


async def _watch(consumers: list[Consumer], points: list[dict[str, int]], every: int) -> None:
    """Note the process's size whenever that many more changes are applied."""
    due = 0
    while True:
        if consumers and (applied := consumers[0].report().applied) >= due:
            points.append({"changes": applied, "resident_kb": resident_kb()})
            due += every
        await asyncio.sleep(0.05)
