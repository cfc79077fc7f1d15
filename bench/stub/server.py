"""Run the stub as a child process, and ask it what it was asked."""

from __future__ import annotations

import http.client
import json
import subprocess
from typing import TYPE_CHECKING, Any, Self

from bench.stub.build import built

if TYPE_CHECKING:
    from types import TracebackType

# What changes items; what each carries besides (a ledger row, a checkpoint) counts as well.
WRITES = (
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "BatchExecuteStatement",
)


class Stub:
    """The stub server, from ``with`` to its end; options as at the head of stub.c."""

    def __init__(self, *, cpu: int | None = None, **options: str | float) -> None:
        self._words = [str(built("stub")), "--die-with-parent"]
        for name, value in {"cpu": cpu, **options}.items():
            if value is not None:
                self._words += [f"--{name.replace('_', '-')}", str(value)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise RuntimeError("the stub has no output")
        self.port = int(self._process.stdout.readline().split()[1])
        self._control = http.client.HTTPConnection("127.0.0.1", self.port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._control.close()
        self._process.kill()
        self._process.communicate()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Set every counter to zero."""
        self._ask("POST", "/reset")

    def stats(self) -> dict[str, Any]:
        """Return the counters: per operation requests and items; connections; bytes; CPU."""
        return self._ask("GET", "/stats")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        self._control.request(method, path)
        answer: dict[str, Any] = json.loads(self._control.getresponse().read())
        return answer


def requests(stats: dict[str, Any]) -> int:
    """Return how many requests of any kind there were."""
    return sum(counts["requests"] for counts in stats["operations"].values())


def items_written(stats: dict[str, Any]) -> int:
    """Return how many items (rows of ours included) all writes together carried."""
    return sum(stats["operations"].get(name, {"items": 0})["items"] for name in WRITES)
