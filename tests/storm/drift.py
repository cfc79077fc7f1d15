"""Drift behind a mirror's back, beside live writes: verify finds and repairs exactly that.

Two equal tables, each spelled in its own way; some items are changed, removed or added at either
side while the stream is off; then the engine runs, a writer changes other items as fast as it may,
and ``verify --repair --yes`` is run.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.storm.world import Child, World, scanned

BATCH = 25
THREADS = 4

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPlan:
    """How much drift there is among how much, under which guard."""

    guard: str = "order"
    items: int = 2_000
    drifts: int = 100
    changes: int = 4_000
    """Of the writer, on keys of its own."""
    rate: float | None = 400.0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftResult:
    """What came of it."""

    plan: DriftPlan
    status: int
    found: dict[str, str]
    """Key to kind, as verify says."""
    seeded: dict[str, str]
    repaired: dict[str, str]
    """Key to outcome."""
    written: int
    """Changes that the writer made until verify ended."""
    differences: Sequence[str]
    """In the end, by another comparison."""
    seconds: float
    """Of verify."""
    peak_kb: int
    """Of verify's resident memory."""

    def require_exact(self) -> None:
        """Raise AssertionError unless verify found and repaired what was seeded, and only that."""
        spare = self.found.keys() - self.seeded.keys()
        assert self.found == self.seeded, f"false alarms: {sorted(spare)[:5]}"
        assert self.repaired == dict.fromkeys(self.seeded, "repaired")
        assert self.status == 0
        assert not self.differences, self.differences[:5]
        assert self.written > 0, "the writer stood still"


def item(number: int, *, respelled: bool = False) -> Wire:
    """Return an item of about 300 bytes, in one of two spellings of the same values."""
    tags = [f"tag {number % 7}", f"tag {number % 5 + 10}"]
    digits = [str(number), str(number + 1)]
    made: Wire = {
        "id": {"S": f"item {number:07}"},
        "price": {"N": f"{number}.0" if respelled else str(number)},
        "tiny": {"N": "1E-2" if respelled else "0.01"},
        "empty": {"S": ""},
        "tags": {"SS": tags[::-1] if respelled else tags},
        "digits": {"NS": digits[::-1] if respelled else digits},
        "blob": {"B": number.to_bytes(8, "big")},
        "deep": {"M": {"a": {"L": [{"N": "1.0" if respelled else "1"}, {"BOOL": True}]}}},
        "text": {"S": "x" * 120},
    }
    return dict(reversed(made.items())) if respelled else made


def drift_storm(plan: DriftPlan, url: str, folder: Path) -> DriftResult:
    """Run it. The world's processes and tables are gone afterwards."""
    with World(url, folder, plan.guard, stream=False) as world:
        _fill(world, world.source, (item(number) for number in range(plan.items)))
        spelled = (item(number, respelled=True) for number in range(plan.items))
        _fill(world, world.target, spelled)
        seeded = _seed(world, plan)
        world.switch_stream(on=True)
        engine = world.start("run")
        world.wait(lambda: world.status()["held_by"] is not None, 60)
        writer = world.writer(
            seed=plan.seed, keys=max(50, plan.items // 20), changes=plan.changes, rate=plan.rate
        )
        began = time.monotonic()
        verify = world.start("verify", "--json", "--repair", "--yes")
        peak_kb = _watched(verify)
        seconds = time.monotonic() - began
        written = len(scanned(world.source, world.table)) - plan.items
        writer.end(600)
        _quiet(world)
        differences = world.differences()
        engine.terminate()
    told = [json.loads(line) for line in verify.said.splitlines() if line.startswith("{")]
    return DriftResult(
        plan=plan,
        status=verify.end(),
        found=_told(told, "drift", "kind"),
        seeded=seeded,
        repaired={
            one["key"]["id"]["S"]: one["outcome"] for one in told if one["event"] == "repair"
        },
        written=written,
        differences=differences,
        seconds=seconds,
        peak_kb=peak_kb,
    )


def _told(lines: Sequence[Wire], event: str, member: str) -> dict[str, str]:
    return {one["key"]["id"]["S"]: one[member] for one in lines if one["event"] == event}


def _quiet(world: World) -> None:
    """Wait until the tables are equal, or have had the time for it."""
    deadline = time.monotonic() + 60
    while world.differences() and time.monotonic() < deadline:
        time.sleep(1)


def _watched(child: Child) -> int:
    """Wait for a process' end; return the most memory that it took, in KB."""
    peak = 0
    while not child.ended:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            break
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1])
        time.sleep(0.1)
    return peak


def _seed(world: World, plan: DriftPlan) -> dict[str, str]:
    """Change, remove and add items at either side; return each key's kind of drift."""
    dice = random.Random(f"{plan.seed}/drift")
    seeded: dict[str, str] = {}
    puts: dict[str, list[Wire]] = {"source": [], "target": []}
    removed: dict[str, list[Wire]] = {"source": [], "target": []}
    numbers = dice.sample(range(plan.items), plan.drifts)
    for place, number in enumerate(numbers):
        side = ("source", "target")[place % 2]
        how = place // 2 % 3
        made = item(number if how < 2 else plan.items + number)
        if how == 0:
            name = dice.choice(["price", "tags", "empty", "blob", "deep"])
            if name == "empty":
                made[name] = {"NULL": True}
            else:
                made[name] = item(number + 1)[name] if name != "deep" else {"M": {}}
            puts[side].append(made)
            seeded[made["id"]["S"]] = "different"
        elif how == 1:
            removed[side].append({"id": made["id"]})
            seeded[made["id"]["S"]] = "extra" if side == "source" else "missing"
        else:
            puts[side].append(made)
            seeded[made["id"]["S"]] = "missing" if side == "source" else "extra"
    for side, api in (("source", world.source), ("target", world.target)):
        _fill(world, api, puts[side])
        for key in removed[side]:
            api.delete_item(TableName=world.table, Key=key)
    return seeded


def _fill(world: World, api: Any, items: Iterable[Wire]) -> None:
    def write(batch: Sequence[Wire]) -> None:
        left: Wire = {world.table: [{"PutRequest": {"Item": one}} for one in batch]}
        while left:
            left = api.batch_write_item(RequestItems=left)["UnprocessedItems"]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, _batches(items)))


def _batches(items: Iterable[Wire]) -> Iterable[list[Wire]]:
    batch: list[Wire] = []
    for one in items:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
