"""The benchmarks, side by side: ``python -m bench``, or ``make bench``.

Every row is explained in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import ContenderError
from bench.machine import PEERS_PYTHON, ROOT, cores, machine, make_node_peers, make_peers, versions
from bench.stub.build import NoCompilerError, NoTlsError, built, certificate
from bench.tables import show

from bench import apply, copying, cost, follow, growth, start, transport, views


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = ", ".join(SECTIONS)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=names)
    parser.add_argument("--quick", action="store_true", help="fewer rows, shorter rounds")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (7; 3 if quick)")
    parser.add_argument("--changes", type=int, default=1_000_000, help="for the section memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the main table as SVG or PNG")
    chosen = parser.parse_args()
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {names}")
    chosen.sections = chosen.sections or list(SECTIONS)
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 7)
    if chosen.plot and "apply" not in chosen.sections:
        parser.error("--plot draws the section apply: name it as well")
    return chosen


def tell_faults(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "fault" in row:
            name = next((row[key] for key in ("contender", "case", "stream") if key in row), "all")
            print(f"not measured: {name}: {row['fault']}")


def run_apply(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for scenario in apply.SCENARIOS:
        if chosen.quick and not scenario.quick:
            continue
        if scenario.tls:
            try:
                certificate()
            except NoTlsError as error:
                print(f"\n{scenario.title}: not measured: {error}")
                continue
        budget_s = 0.1 if chosen.quick else 0.25
        rows = apply.measure(scenario, rounds=chosen.rounds, budget_s=budget_s)
        show(scenario.title, apply.table(rows))
        found.append(apply.as_json(scenario, rows))
        tell_faults(found[-1]["rows"])
    return found


def run_views(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    budget_s = 0.1 if chosen.quick else 0.25
    rows = views.measure(rounds=chosen.rounds, budget_s=budget_s)
    show(f"Views: {views.LOAD.batch:,} changes to an event, unique keys", views.table(rows))
    found = [row.as_json() for row in rows]
    tell_faults(found)
    return found


def run_transport(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for tls in (False, True):
        title = f"Transport alone: {transport.CONNECTIONS} connections{', TLS' if tls else ''}"
        budget_s = 0.1 if chosen.quick else 0.25
        found.append(transport.measure(tls=tls, rounds=chosen.rounds, budget_s=budget_s))
        if "fault" in found[-1]:
            print(f"\n{title}: not measured: {found[-1]['fault']}")
            continue
        show(title, transport.table(found[-1]))
        tell_faults(found[-1]["rows"])
    return found


def run_follow(chosen: argparse.Namespace) -> dict[str, Any]:
    throughput = []
    for delay_ms in (0, 80) if chosen.quick else (0, 20, 80):
        rounds = 1 if chosen.quick else min(chosen.rounds, 3)
        throughput.append(follow.throughput(delay_ms, rounds=rounds, quick=chosen.quick))
        title = f"Follow: a scripted stream of one shard, unique keys, round trip {delay_ms} ms"
        show(title, follow.throughput_table(throughput[-1]))
        tell_faults(throughput[-1]["rows"])
    lag = [*follow.embedded(quick=chosen.quick), *follow.paced(quick=chosen.quick)]
    show(f"Follow: lag (the engine polls every {follow.POLL_MS} ms)", follow.lag_table(lag))
    print(f"load average {follow.load_average()}")
    tell_faults(lag)
    return {"throughput": throughput, "lag": lag}


def run_growth(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    rows = growth.measure(rounds=1 if chosen.quick else min(chosen.rounds, 3), quick=chosen.quick)
    show("Growth", growth.table(rows))
    tell_faults(rows)
    return rows


def run_copy(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    rows = copying.on_stub(rounds=min(chosen.rounds, 3), quick=chosen.quick)
    rows += copying.on_embedded(quick=chosen.quick)
    for server in ("stub", "embedded server"):
        for task, title in (("copy", "Copy"), ("compare", "Compare")):
            show(f"{title}: on the {server}", copying.table(rows, task, server))
    tell_faults(rows)
    return rows


def run_cost(chosen: argparse.Namespace) -> dict[str, Any]:
    found = cost.measure(rounds=min(chosen.rounds, 3))
    title = (
        f"Cost: one-way, items of {cost.ITEM_BYTES} bytes, round trip {cost.DELAY_MS} ms, "
        f"a function of {cost.MEMORY_MB} MB"
    )
    show(title, cost.table(found))
    tell_faults(found["rows"])
    return found


def run_start(chosen: argparse.Namespace) -> dict[str, Any]:
    rows = start.imports(3 if chosen.quick else 10)
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


def run_memory(chosen: argparse.Namespace) -> dict[str, Any]:
    changes = chosen.changes // (10 if chosen.quick else 1)
    found: dict[str, Any] = {}
    for name, measure in (("handler", start.memory), ("engine", growth.memory)):
        try:
            found[name] = measure(changes)
        except ContenderError as error:
            print(f"\nMemory of the {name}: not measured: {error}")
            found[name] = {"fault": str(error)}
            continue
        lines = [["changes applied in one process", "resident MB"]]
        points = found[name]["points"]
        lines += [[f"{p['changes']:,}", f"{p['resident_kb'] / 1024:.1f}"] for p in points]
        show(f"Memory of the {name}, guard order", lines)
    return found


SECTIONS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "apply": run_apply,
    "views": run_views,
    "transport": run_transport,
    "follow": run_follow,
    "growth": run_growth,
    "copy": run_copy,
    "cost": run_cost,
    "start": run_start,
    "memory": run_memory,
}


def plot(found: dict[str, Any], picture: Path) -> None:
    """Draw the main table, in the peers' environment, which has matplotlib."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as figures:
        json.dump(found, figures)
        figures.flush()
        done = subprocess.run(
            [PEERS_PYTHON, "-m", "bench.plot", figures.name, picture.resolve()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        print(f"no picture: {said[-1]}", file=sys.stderr)
    else:
        print(f"\n{picture}")


def main() -> int:
    chosen = options()
    try:
        built("stub")
        built("floor")
    except NoCompilerError as error:
        print(error, file=sys.stderr)
        return 2
    for make in (make_peers, make_node_peers):
        try:
            make()
        except RuntimeError as error:
            print(f"some peers' rows are left out: {error}", file=sys.stderr)
    core, stub_core = cores()
    os.sched_setaffinity(0, {stub_core})
    found: dict[str, Any] = {"machine": machine(), "versions": versions()}
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    print(", ".join(f"{name} {value}" for name, value in found["versions"].items()))
    if core == stub_core:
        print("one core only: client and stub share it, so rates mean little; CPU still does")
    for name, run in SECTIONS.items():
        if name in chosen.sections:
            found[name] = run(chosen)
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    if chosen.plot:
        plot(found, chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
