"""What it costs to follow a stream, and how late changes arrive: the engine as one process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.apply import GUARDS
from bench.embedded import Embedded, NoServerError
from bench.harness import ContenderError, once
from bench.machine import PEERS_PYTHON, cores
from bench.settings import configuration
from bench.stub.server import Stub, requests
from bench.tables import Lines, figure

ENGINE = "bench.contenders.dynamirror_follow"
POLL_MS = 250
"""engine/stream/shard.py, Reading.poll_s: how long it waits after a page that wasn't full."""

PACES = (1_000, 10_000)
PACED_S = 10
EMBEDDED_PACES = (100, 200)
EMBEDDED_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of an engine over a scripted stream cost."""

    changes: int
    cpu_us: float
    changes_per_s: float
    requests_per_change: float
    resident_kb: int
    connections: int
    """To the target, the most at once."""
    writes: int = 0
    lag: dict[str, int] | None = None
    points: list[dict[str, int]] | None = None
    limits: list[int] | None = None


def engine(
    guard: str,
    *,
    delay_ms: float = 0,
    targets: int = 1,
    lag: bool = False,
    sample_every: int = 0,
    **stream: Any,
) -> Run:
    """Run dynamirror from one stub to another until the stream is drained."""
    stub_core = cores()[1]
    with (
        Stub(cpu=stub_core, **stream) as source,
        Stub(cpu=stub_core, delay_ms=delay_ms, lag=lag) as target,
    ):
        config = configuration(
            guard, source_url=source.endpoint, target_urls=[target.endpoint] * targets
        )
        cost = once(ENGINE, {"config": config, "sample_every": sample_every})
        return _run(cost, source.stats(), target.stats(), wanted=int(stream["records"]))


def plain_loop(records: int) -> Run:
    """Run the plain loop of boto3."""
    stub_core = cores()[1]
    with Stub(cpu=stub_core, records=records) as source, Stub(cpu=stub_core) as target:
        ask = {"source_url": source.endpoint, "target_url": target.endpoint}
        cost = once("bench.contenders.boto3_follow", ask, python=str(PEERS_PYTHON))
        return _run(cost, source.stats(), target.stats(), wanted=records)


def _run(
    cost: dict[str, Any], read: dict[str, Any], written: dict[str, Any], *, wanted: int
) -> Run:
    if cost["changes"] != wanted:
        raise ContenderError(f"it read {cost['changes']} changes of {wanted}")
    # To the last write: that nothing more comes, an engine only knows a while later.
    took_s = (written["last_write_ns"] - read["first_read_ns"]) / 1e9
    return Run(
        changes=wanted,
        cpu_us=cost["cpu_us"] / wanted,
        changes_per_s=wanted / took_s,
        requests_per_change=(requests(read) + requests(written)) / wanted,
        resident_kb=cost["resident_kb"],
        connections=written["connections_open_max"] - 1,  # one is ours, to ask it
        writes=cost.get("writes", wanted),
        lag=written["lag"] if written["lag"]["changes"] else None,
        points=cost.get("points"),
        limits=cost.get("limits"),
    )


# -- how fast

RECORDS = {"order": 200_000, "item": 60_000, "ledger": 60_000}
RAMPED = {"order": 400_000, "item": 120_000, "ledger": 120_000}
"""With a round trip, more: an engine feels its way to as many requests at once as it needs."""

THROUGHPUT_HEAD = [
    "contender",
    "CPU µs per change: least",
    "median",
    "changes/s",
    "requests per change",
    "connections",
    "resident MB",
]


def throughput(delay_ms: float, *, rounds: int, quick: bool) -> dict[str, Any]:
    """Measure the engine under every guard, and the plain loop where nothing takes long."""
    runs: dict[str, list[Run]] = {}
    faults: dict[str, str] = {}
    shrink = 4 if quick else 1
    wanted = {
        f"dynamirror, guard {guard}": (guard, (RAMPED if delay_ms else RECORDS)[guard] // shrink)
        for guard in GUARDS
    }
    if not delay_ms:
        wanted["boto3: get_records, batch_writer"] = ("", 10_000)
    for _ in range(rounds):
        for name, (guard, records) in wanted.items():
            if name in faults:
                continue
            try:
                run = (
                    engine(guard, delay_ms=delay_ms, records=records)
                    if guard
                    else plain_loop(records)
                )
            except ContenderError as error:
                faults[name] = str(error)
            else:
                runs.setdefault(name, []).append(run)
    rows: list[dict[str, Any]] = [
        {"contender": name, "fault": faults[name]}
        if name in faults
        else {
            "contender": name,
            "changes": runs[name][0].changes,
            "cpu_us_per_change_min": round(min(run.cpu_us for run in runs[name]), 3),
            "cpu_us_per_change_median": round(median(run.cpu_us for run in runs[name]), 3),
            "changes_per_s_median": round(median(run.changes_per_s for run in runs[name])),
            "requests_per_change": round(runs[name][-1].requests_per_change, 4),
            "connections": max(run.connections for run in runs[name]),
            "resident_kb": max(run.resident_kb for run in runs[name]),
        }
        for name in wanted
    ]
    return {"delay_ms": delay_ms, "rows": rows}


def throughput_table(found: dict[str, Any]) -> Lines:
    return [
        THROUGHPUT_HEAD,
        *(
            [row["contender"], "not measured", *([""] * 5)]
            if "fault" in row
            else [
                row["contender"],
                figure(row["cpu_us_per_change_min"]),
                figure(row["cpu_us_per_change_median"]),
                f"{row['changes_per_s_median']:,.0f}",
                f"{row['requests_per_change']:.3f}",
                f"{row['connections']:,}",
                f"{row['resident_kb'] / 1024:.0f}",
            ]
            for row in found["rows"]
        ),
    ]


# -- how late

LAG_HEAD = ["stream", "guard", "changes/s", "changes", "lag ms: p50", "p99", "max"]


def paced(*, quick: bool) -> list[dict[str, Any]]:
    """Follow scripted streams at a steady pace; lag is from a change's birth to its write."""
    found = []
    for pace in PACES:
        for guard in ("order",) if quick else GUARDS:
            records = pace * (3 if quick else PACED_S)
            row: dict[str, Any] = {"stream": "scripted", "guard": guard, "pace": pace}
            try:
                run = engine(guard, lag=True, records=records, rate=pace)
            except ContenderError as error:
                row["fault"] = str(error)
            else:
                row |= dict(run.lag) if run.lag else {"fault": "no change carried its time"}
            found.append(row)
    return found


def embedded(*, quick: bool) -> list[dict[str, Any]]:
    """Follow a table of the embedded server while it is written, source and target on one server.

    The last row is the highest pace that held: the writer kept it, and lag did not grow.
    """
    seconds = 3 if quick else EMBEDDED_S
    found: list[dict[str, Any]] = []
    try:
        with Embedded() as server:
            found += [_embedded(server, pace, 1, seconds) for pace in EMBEDDED_PACES]
            best: dict[str, Any] | None = None
            for pace in (400, 600, 800, 1_000, 1_250, 1_500, 2_000, 2_500, 3_000):
                row = _embedded(server, pace, 25, 4)
                held = "fault" not in row and row["pace_kept"] > 0.97 and row["max_us"] < 1_500_000
                if not held:
                    break
                best = {**row, "highest": True}
            if best:
                found.append(best)
    except (NoServerError, ContenderError) as error:
        found.append({"stream": "embedded server", "guard": "order", "fault": str(error)})
    return found


def _embedded(server: Embedded, pace: int, batch: int, seconds: int) -> dict[str, Any]:
    row: dict[str, Any] = {"stream": "embedded server", "guard": "order", "pace": pace}
    table = server.new_table()
    config = server.configuration("order", table)
    ask = {"config": config, "pace": pace, "batch": batch, "seconds": seconds}
    try:
        cost = once("bench.contenders.dynamirror_lag", ask, environment=server.environment)
    except ContenderError as error:
        return row | {"fault": str(error)}
    return row | cost | {"written_in": batch}


def lag_table(rows: list[dict[str, Any]]) -> Lines:
    lines = [LAG_HEAD]
    for row in rows:
        name = row["stream"]
        if row.get("highest"):
            name += ", the most it sustains (25 to a write)"
        if "fault" in row:
            pace = f"{row['pace']:,}" if "pace" in row else ""
            lines.append([name, row["guard"], pace, "not measured", "", "", ""])
            continue
        lines.append(
            [
                name,
                row["guard"],
                f"{row['pace']:,}",
                f"{row['changes']:,}",
                *(f"{row[part] / 1e3:,.0f}" for part in ("p50_us", "p99_us", "max_us")),
            ]
        )
    return lines


def load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}"
