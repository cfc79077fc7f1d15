"""The process that is measured where what it does is no Lambda handler.

A line of JSON in, a line out: each is a call of the module's ``work``, which says what it cost.

    python -m bench.job bench.contenders.dynamirror_follow

Standard library only, for it runs in the peers' virtual environment too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, Self

from bench.child import cpu_us, resident_kb


class Meter:
    """CPU and wall time from ``with`` to its end."""

    def __enter__(self) -> Self:
        self._cpu_us, self._at_s = cpu_us(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._cost = {
            "wall_s": time.perf_counter() - self._at_s,
            "cpu_us": cpu_us() - self._cpu_us,
            "resident_kb": resident_kb(),
        }

    def cost(self, changes: int, **more: Any) -> dict[str, Any]:
        return {"changes": changes, **self._cost, **more}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(module.work(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
