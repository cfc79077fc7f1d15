"""The process that is measured: one contender's handler, driven as Lambda would.

A line of JSON in, a line out. ``{"budget_s": 0.3}``: apply whole events until that much time has
gone by, and say what it cost. Only the handler is timed; making and parsing an event is not.

    python -m bench.child MODULE '{"batch": 1000, "keys": "unique", "item_bytes": 300}'
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.workload import Context, Event, Events, Load

if TYPE_CHECKING:
    from collections.abc import Callable


def cpu_us() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


def resident_kb() -> int:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 -- cheapest import
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Driver:
    """Gives one handler event after event, and adds up what they cost."""

    def __init__(self, handler: Callable[[Event, Context], Any], load: Load) -> None:
        self._handler = handler
        self._events = Events(load)
        self._context = Context()

    def round(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Apply events until the budget of time or of changes is used up; one at least."""
        cost = {"changes": 0, "keys": 0, "events": 0, "cpu_us": 0.0, "wall_s": 0.0}
        budget_s, changes = ask.get("budget_s", float("inf")), ask.get("changes", float("inf"))
        while not cost["events"] or (cost["wall_s"] < budget_s and cost["changes"] < changes):
            event, keys = self._events.next(ask.get("batch"))
            cpu, wall = cpu_us(), time.perf_counter()
            answer = self._handler(event, self._context)
            cost["wall_s"] += time.perf_counter() - wall
            cost["cpu_us"] += cpu_us() - cpu
            cost["changes"] += len(event["Records"])
            cost["keys"] += keys
            cost["events"] += 1
            if answer and answer.get("batchItemFailures"):
                raise RuntimeError(f"the handler did not apply an event: {answer}")
        return {**cost, "resident_kb": resident_kb()}


def main() -> None:
    # What a handler prints (metrics, say) goes to standard error and not between our lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, load = sys.argv[1], Load(**json.loads(sys.argv[2]))
    driver = Driver(importlib.import_module(module).handler, load)
    for line in sys.stdin:
        print(json.dumps(driver.round(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
