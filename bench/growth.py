"""What it costs the engine when there is more of something: shards, targets, keys, time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.follow import Run, engine
from bench.harness import ContenderError
from bench.tables import Lines, figure

SHARDS = (1, 4, 16, 64)
TARGETS = (1, 3, 7)
KEYS = (1_000, 10_000, 100_000, 1_000_000)
RECORDS = 100_000


def _cases(records: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for shards in SHARDS:
        name = f"{shards} shard{'s' if shards > 1 else ''}"
        yield name, {"guard": "order", "records": records, "shards": shards}
    for targets in TARGETS:
        name = f"{targets} target{'s' if targets > 1 else ''} ({targets + 1} replicas)"
        yield name, {"guard": "order", "records": records, "targets": targets}
    for keys in KEYS:
        name = f"{keys:,} keys at random, guard item"
        yield name, {"guard": "item", "records": records, "keys": keys}


def measure(*, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Measure every case, interleaved; the least CPU of the rounds counts."""
    cases = list(_cases(RECORDS // (4 if quick else 1)))
    best: dict[str, Run] = {}
    faults: dict[str, str] = {}
    for _ in range(rounds):
        for name, options in cases:
            if name in faults:
                continue
            try:
                run = engine(**options)
            except ContenderError as error:
                faults[name] = str(error)
            else:
                best[name] = min(best.get(name, run), run, key=lambda run: run.cpu_us)
    return [
        {"case": name, "fault": faults[name]}
        if name in faults
        else {
            "case": name,
            "changes": best[name].changes,
            "cpu_us_per_change": round(best[name].cpu_us, 3),
            "changes_per_s": round(best[name].changes_per_s),
            "writes_per_change": round(best[name].writes / best[name].changes, 4),
            "requests_per_change": round(best[name].requests_per_change, 4),
            "resident_kb": best[name].resident_kb,
        }
        for name, _ in cases
    ]


def table(rows: list[dict[str, Any]]) -> Lines:
    lines = [
        [
            "engine",
            "CPU µs per change",
            "changes/s",
            "writes per change",
            "requests per change",
            "resident MB",
        ]
    ]
    for row in rows:
        if "fault" in row:
            lines.append([row["case"], "not measured", "", "", "", ""])
            continue
        lines.append(
            [
                row["case"],
                figure(row["cpu_us_per_change"]),
                f"{row['changes_per_s']:,}",
                figure(row["writes_per_change"]),
                f"{row['requests_per_change']:.3f}",
                f"{row['resident_kb'] / 1024:.0f}",
            ]
        )
    return lines


def memory(changes: int) -> dict[str, Any]:
    """Look at the engine's size ten times over many changes."""
    run = engine("order", records=changes, sample_every=changes // 10)
    return {"points": run.points or []}
