"""The benchmarks, side by side: ``python -m bench``, or ``make bench``.

Every row is explained in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from bench import apply, start
from bench.harness import ContenderError, Row
from bench.machine import cores, machine, make_peers, versions
from bench.stub.build import NoCompilerError, built

SECTIONS = ("apply", "start", "memory")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="fewer rows, shorter rounds")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (7; 3 if quick)")
    parser.add_argument("--changes", type=int, default=1_000_000, help="for the section memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    chosen = parser.parse_args()
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    chosen.sections = chosen.sections or SECTIONS
    return chosen


def show(title: str, lines: list[list[str]]) -> None:
    """Print a Markdown table, first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print(f"\n{title}\n")
    for line in (lines[0], rule, *lines[1:]):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print(f"| {' | '.join(cells)} |")
    sys.stdout.flush()


def show_faults(rows: list[Row]) -> None:
    for row in rows:
        if row.fault:
            print(f"not measured: {row.contender}: {row.fault}")


def run_apply(*, quick: bool, rounds: int) -> list[dict[str, Any]]:
    found = []
    for scenario in apply.SCENARIOS:
        if quick and not scenario.quick:
            continue
        rows = apply.measure(scenario, rounds=rounds, budget_s=0.1 if quick else 0.25)
        show(scenario.title, apply.table(rows))
        show_faults(rows)
        found.append(apply.as_json(scenario, rows))
    return found


def run_start(*, quick: bool) -> dict[str, Any]:
    rows = start.imports(3 if quick else 10)
    lines = [["import", "CPU ms over a bare interpreter", "resident MB"]]
    lines += [
        [row["name"], row["fault"], ""]
        if "fault" in row
        else [row["name"], f"{row['cpu_ms_median']:.0f}", f"{row['resident_kb'] / 1024:.0f}"]
        for row in rows
    ]
    show("Start", lines)
    loaded = start.loaded()
    if "fault" not in loaded:
        names = ", ".join(loaded["superfluous"]) or "none"
        print(f"the handler loads {loaded['modules']} modules; of no use to it: {names}")
    return {"imports": rows, "handler": loaded}


def run_memory(changes: int) -> dict[str, Any]:
    try:
        found = start.memory(changes)
    except ContenderError as error:
        print(f"\nMemory: not measured: {error}")
        return {"fault": str(error)}
    lines = [["changes applied in one process", "resident MB"]]
    lines += [[f"{p['changes']:,}", f"{p['resident_kb'] / 1024:.1f}"] for p in found["points"]]
    show("Memory", lines)
    return found


def main() -> int:
    chosen = options()
    try:
        built("stub")
        built("floor")
    except NoCompilerError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        make_peers()
    except RuntimeError as error:
        print(f"the peers' rows are left out: {error}", file=sys.stderr)
    core, stub_core = cores()
    os.sched_setaffinity(0, {stub_core})
    found: dict[str, Any] = {"machine": machine(), "versions": versions()}
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    print(", ".join(f"{name} {value}" for name, value in found["versions"].items()))
    if core == stub_core:
        print("one core only: client and stub share it, so rates mean little; CPU still does")
    if "apply" in chosen.sections:
        rounds = chosen.rounds or (3 if chosen.quick else 7)
        found["apply"] = run_apply(quick=chosen.quick, rounds=rounds)
    if "start" in chosen.sections:
        found["start"] = run_start(quick=chosen.quick)
    if "memory" in chosen.sections:
        found["memory"] = run_memory(chosen.changes // (10 if chosen.quick else 1))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
