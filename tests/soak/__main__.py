"""The storms at full size, one after the other, each on a server of its own.

``make soak``, or ``python -m tests.soak --help``. Prints a row for each; ends with 1 if a storm
left differences where there must be none, and prints the command that runs it again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.fault_proxy import Fault
from tests.servers import running
from tests.storm.drift import DriftPlan, drift_storm
from tests.storm.engine import Plan, Result, planned, run_storm
from tests.storm.mapping import handler_storm
from tests.storm.two_way import WRITERS, two_way_storm
from tests.storm.two_way import Plan as TwoWayPlan
from tests.storm.two_way import Result as TwoWayResult
from tests.storm.two_way_mapping import handler_storm as two_way_handler_storm

CHANGES = 200_000

SERVER = "The embedded server takes about 440 single and 3,500 batched writes a second: the rates"

HEADER = (
    "storm",
    "guard",
    "seed",
    "changes",
    "seconds",
    "changes/s",
    "kills",
    "batches or pages twice",
    "by a second handler",
    "landed late",
    "stale refused",
    "differences",
    "verify",
)

TWO_WAY = ("two-way", "two-way-handler")
TWO_WAY_CHANGES = 6_000
TWO_WAY_RATE = 100.0
TWO_WAY_HEADER = (
    "storm",
    "replicas",
    "seed",
    "writes",
    "seconds",
    "kills",
    "batches or pages twice",
    "landed late",
    "records per write",
    "lost",
    "journaled",
    "of these not lost",
    "wrong",
)

DRIFT_HEADER = (
    "storm",
    "guard",
    "seed",
    "items",
    "seeded",
    "found",
    "repaired",
    "seconds",
    "peak MB",
    "differences",
)
DRIFT_ITEMS = 300_000
DRIFT_RATE = 800.0


def main() -> int:
    chosen = _arguments()
    logging.getLogger("dynamirror").setLevel(logging.CRITICAL)  # the storms' own noise
    tell(f"{SERVER} below are its own, with all of the storm on one machine.")
    return min(_one_way(chosen) + _two_way(chosen) + _drift(chosen), 1)


def _one_way(chosen: argparse.Namespace) -> int:
    plans = _plans(chosen)
    if plans:
        tell(" | ".join(HEADER))
    red = 0
    for plan in plans:
        with running() as server, tempfile.TemporaryDirectory(prefix="storm-") as folder:
            if server.url is None:
                raise SystemExit("a storm needs a server with an address; AWS is none")
            storm = run_storm if plan.storm == "engine" else handler_storm
            result = storm(plan, server.url, Path(folder))
        tell(_row(result))
        tell("  faults: " + ", ".join(_faults(result.counts)))
        try:
            result.require_equal()
        except AssertionError as error:
            tell(str(error))
            red += not chosen.unexcused
    return red


def _two_way(chosen: argparse.Namespace) -> int:
    plans = [
        TwoWayPlan(
            seed=chosen.seed,
            replicas=replicas,
            changes=chosen.changes or TWO_WAY_CHANGES,
            writers=chosen.writers or WRITERS // replicas,
            hot=chosen.hot,
            cold=chosen.keys,
            kills=0 if storm == "two-way-handler" else chosen.kills,
            rate=chosen.rate or TWO_WAY_RATE,
            handler=storm == "two-way-handler",
        )
        for storm in chosen.storms
        if storm in TWO_WAY
        for replicas in chosen.replicas
    ]
    if plans:
        tell(" | ".join(TWO_WAY_HEADER))
    red = 0
    for plan in plans:
        with running() as server, tempfile.TemporaryDirectory(prefix="storm-") as folder:
            if server.url is None:
                raise SystemExit("a storm needs a server with an address; AWS is none")
            storm = two_way_handler_storm if plan.handler else two_way_storm
            result = storm(plan, server.url, Path(folder))
        tell(_two_way_row(result))
        tell("  faults: " + ", ".join(_faults(result.counts)))
        try:
            result.require_clean()
        except AssertionError as error:
            tell(str(error))
            red += 1
    return red


def _drift(chosen: argparse.Namespace) -> int:
    guards = chosen.guards if "drift" in chosen.storms else []
    if guards:
        tell(" | ".join(DRIFT_HEADER))
    red = 0
    for guard in guards:
        plan = DriftPlan(
            guard=guard,
            items=chosen.items,
            drifts=1_000,
            changes=chosen.changes or CHANGES,
            rate=chosen.rate or DRIFT_RATE,
            seed=chosen.seed,
        )
        with running() as server, tempfile.TemporaryDirectory(prefix="storm-") as folder:
            if server.url is None:
                raise SystemExit("a storm needs a server with an address; AWS is none")
            result = drift_storm(plan, server.url, Path(folder))
        found, repaired = len(result.found), len(result.repaired)
        cells = (
            "drift",
            guard,
            plan.seed,
            f"{plan.items:,}",
            len(result.seeded),
            found,
            repaired,
            f"{result.seconds:.0f}",
            f"{result.peak_kb / 1_024:.0f}",
            len(result.differences),
        )
        tell(" | ".join(map(str, cells)))
        try:
            result.require_exact()
        except AssertionError as error:
            tell(str(error))
            red += 1
    return red


def _two_way_row(result: TwoWayResult) -> str:
    plan, counts = result.plan, result.counts
    cells = (
        plan.storm,
        plan.replicas,
        plan.seed,
        f"{result.writes:,}",
        f"{result.seconds:.0f}",
        result.kills,
        counts.get("duplicates", 0),
        counts.get("landed_late", 0),
        f"{result.records / result.writes:.2f}",
        result.lost,
        result.journaled,
        result.spare,
        len(result.wrong),
    )
    return " | ".join(map(str, cells))


def _plans(chosen: argparse.Namespace) -> list[Plan]:
    return [
        planned(
            storm,
            guard,
            seed=chosen.seed,
            changes=chosen.changes or CHANGES,
            keys=chosen.keys,
            kills=chosen.kills,
            rate=chosen.rate,
            unexcused=chosen.unexcused,
        )
        for storm in chosen.storms
        if storm not in (*TWO_WAY, "drift")
        for guard in chosen.guards
        if storm == "engine" or guard == "ledger" or chosen.unexcused or len(chosen.storms) == 1
    ]


def _row(result: Result) -> str:
    plan, counts = result.plan, result.counts
    cells = (
        plan.storm,
        plan.guard,
        plan.seed,
        f"{plan.changes:,}",
        f"{result.seconds:.0f}",
        f"{result.rate:,.0f}",
        result.kills,
        counts.get("duplicates", 0),
        counts.get("second", 0),
        counts.get("landed_late", 0),
        "-" if plan.guard == "order" else f"{counts.get('stale', 0):,}",
        len(result.differences),
        "equal" if result.verified == 0 else "drift",
    )
    return " | ".join(map(str, cells))


def _faults(counts: Mapping[str, int]) -> list[str]:
    requests = counts.get("requests", 0)
    kinds = [f"{fault} {counts[fault]:,}" for fault in Fault if counts.get(fault)]
    return [f"{requests:,} requests", *kinds, f"orphans dropped {counts.get('dropped', 0)}"]


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--storms", type=_words, default=["engine", "handler", *TWO_WAY, "drift"])
    parser.add_argument("--guards", type=_words, default=["order", "item", "ledger"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--changes", type=int, help="200,000; 6,000 if two-way")
    parser.add_argument("--items", type=int, default=DRIFT_ITEMS, help="drift: of each table")
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=10, help="kill -9 of the engine")
    parser.add_argument("--rate", type=float, help="changes a second at most")
    parser.add_argument("--replicas", type=_numbers, default=[2, 3], help="two-way: how many")
    parser.add_argument("--hot", type=int, default=50, help="two-way: hot items of each sort")
    parser.add_argument("--writers", type=int, help="two-way: processes per region")
    parser.add_argument(
        "--unexcused",
        action="store_true",
        help="orphans land late under every guard: order and item must be seen to fail",
    )
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


if __name__ == "__main__":
    sys.exit(main())
