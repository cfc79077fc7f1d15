"""The storms at full size, one after the other, each on a server of its own.

``make soak``, or ``python -m tests.soak --help``. Prints a row for each; ends with 1 if a storm
left differences where there must be none, and prints the command that runs it again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.fault_proxy import Fault
from tests.servers import running
from tests.storm.drift import DriftPlan, DriftResult, drift_storm
from tests.storm.engine import Plan, Result, planned, run_storm
from tests.storm.mapping import handler_storm
from tests.storm.repairs import repair_storm
from tests.storm.two_way import WRITERS, two_way_storm
from tests.storm.two_way import Plan as TwoWayPlan
from tests.storm.two_way import Result as TwoWayResult
from tests.storm.two_way_mapping import handler_storm as two_way_handler_storm

P = TypeVar("P")
R = TypeVar("R")

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
    "faults",
)

TWO_WAY = {
    "two-way": two_way_storm,
    "two-way-handler": two_way_handler_storm,
    "two-way-repair": repair_storm,
}
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
    "missed",
    "of these not lost",
    "repaired",
    "wrong",
    "faults",
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
    def run(plan: Plan, url: str, folder: Path) -> Result:
        return (run_storm if plan.storm == "engine" else handler_storm)(plan, url, folder)

    red = _all(HEADER, _plans(chosen), run, _row, Result.require_equal)
    return 0 if chosen.unexcused else red


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
            drifts=chosen.drifts if storm == "two-way-repair" else 0,
        )
        for storm in chosen.storms
        if storm in TWO_WAY
        for replicas in chosen.replicas
    ]

    def run(plan: TwoWayPlan, url: str, folder: Path) -> TwoWayResult:
        return TWO_WAY[plan.storm](plan, url, folder)

    return _all(TWO_WAY_HEADER, plans, run, _two_way_row, TwoWayResult.require_clean)


def _drift(chosen: argparse.Namespace) -> int:
    plans = [
        DriftPlan(
            guard=guard,
            items=chosen.items,
            drifts=chosen.drifts,
            changes=chosen.changes or CHANGES,
            rate=chosen.rate or DRIFT_RATE,
            seed=chosen.seed,
        )
        for guard in (chosen.guards if "drift" in chosen.storms else [])
    ]
    return _all(DRIFT_HEADER, plans, drift_storm, _drift_row, DriftResult.require_exact)


def _all(
    header: Sequence[str],
    plans: Sequence[P],
    storm: Callable[[P, str, Path], R],
    row: Callable[[R], Sequence[object]],
    require: Callable[[R], None],
) -> int:
    """Run storms one after the other, a row for each; return how many left what they must not."""
    if plans:
        tell(" | ".join(header))
    red = 0
    for plan in plans:
        with running() as server, tempfile.TemporaryDirectory(prefix="storm-") as folder:
            if server.url is None:
                raise SystemExit("a storm needs a server with an address; AWS is none")
            result = storm(plan, server.url, Path(folder))
        tell(" | ".join(map(str, row(result))))
        try:
            require(result)
        except AssertionError as error:
            tell(str(error))
            red += 1
    return red


def _two_way_row(result: TwoWayResult) -> Sequence[object]:
    plan, counts = result.plan, result.counts
    return (
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
        result.missed,
        result.spare,
        result.repairs,
        len(result.wrong),
        _faults(counts),
    )


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


def _row(result: Result) -> Sequence[object]:
    plan, counts = result.plan, result.counts
    return (
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
        _faults(counts),
    )


def _drift_row(result: DriftResult) -> Sequence[object]:
    plan = result.plan
    return (
        "drift",
        plan.guard,
        plan.seed,
        f"{plan.items:,}",
        len(result.seeded),
        len(result.found),
        len(result.repaired),
        f"{result.seconds:.0f}",
        f"{result.peak_kb / 1_024:.0f}",
        len(result.differences),
    )


def _faults(counts: Mapping[str, int]) -> str:
    requests = counts.get("requests", 0)
    kinds = [f"{fault} {counts[fault]:,}" for fault in Fault if counts.get(fault)]
    if counts.get("parked"):
        kinds.append(f"parked and redriven {counts['parked']:,}")
    dropped = counts.get("dropped", 0)
    return ", ".join((f"{requests:,} requests", *kinds, f"orphans dropped {dropped}"))


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
    parser.add_argument("--drifts", type=int, default=1_000, help="items that differ, if seeded")
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
