"""The transport alone: our client with bodies made beforehand, beside the floor in C."""

from __future__ import annotations

from typing import Any

from bench.harness import Contender, Floor, Job, Row, race
from bench.stub.build import NoTlsError, certificate
from bench.tables import Lines, figure
from bench.workload import Load

CONNECTIONS = 64
AIMS = {"BatchWriteItem": 2.5, "PutItem": 3.0}
"""At most so many times the floor's CPU."""

KINDS = {"BatchWriteItem": "BatchWriteItem of 25", "PutItem": "conditional PutItem"}


def _floor(operation: str) -> str:
    return f"floor in C: {KINDS[operation]}"


def _ours(operation: str, loop: str) -> str:
    return f"dynamirror's client, {loop}: {KINDS[operation]}"


def measure(*, tls: bool, rounds: int, budget_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {"tls": tls, "connections": CONNECTIONS}
    if tls:
        try:
            certificate()
        except NoTlsError as error:
            return found | {"fault": str(error)}
    contenders: list[Contender] = []
    for operation in KINDS:
        contenders.append(
            Floor(
                name=_floor(operation),
                operation=operation,
                connections=CONNECTIONS,
                conditional=operation == "PutItem",
            )
        )
        for loop in ("uvloop", "asyncio"):
            ask = {"operation": operation, "loop": loop, "connections": CONNECTIONS}
            module = "bench.contenders.dynamirror_transport"
            contenders.append(Job(name=_ours(operation, loop), module=module, ask=ask))
    rows = race(contenders, Load(), delay_ms=0, rounds=rounds, budget_s=budget_s, tls=tls)
    return found | {"rows": [row.as_json() | _ratio(row, rows) for row in rows]}


def _ratio(row: Row, rows: list[Row]) -> dict[str, Any]:
    """Return how many times the floor's CPU it took, and how many it may take."""
    operation = next(name for name, kind in KINDS.items() if row.contender.endswith(kind))
    floor = next(one for one in rows if one.contender == _floor(operation))
    if row is floor or row.fault or floor.fault:
        return {}
    return {"times_floor": round(min(row.cpu_us) / min(floor.cpu_us), 2), "aim": AIMS[operation]}


def table(found: dict[str, Any]) -> Lines:
    lines = [["client", "CPU µs per item: least", "median", "times the floor", "aim", "items/s"]]
    for row in found["rows"]:
        if "fault" in row:
            lines.append([row["contender"], "not measured", "", "", "", ""])
            continue
        lines.append(
            [
                row["contender"],
                figure(row["cpu_us_per_change_min"]),
                figure(row["cpu_us_per_change_median"]),
                figure(row["times_floor"]) if "times_floor" in row else "",
                f"at most {row['aim']:g}" if "aim" in row else "",
                f"{row['changes_per_s_median']:,.0f}",
            ]
        )
    return lines
