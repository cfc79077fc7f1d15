"""Measure contenders side by side: interleaved rounds, each contender in a process of its own.

Whatever disturbs the machine for a while (another process, a slower clock) then disturbs all of
them and not one: A, B, C, A, B, C, ... The contender's process is pinned to one core, the stub's
to the other. CPU is the process's user and system time (getrusage), which the round trip and a
busy neighbour hardly touch; the minimum of the rounds is the figure, the median stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol, Self

from bench.machine import NODE_MODULES, PEERS_PYTHON, ROOT, cores, node
from bench.stub.build import built
from bench.stub.server import Stub, items_written, requests
from bench.workload import Events, Load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Credentials as a Lambda function has them: a session token of the usual length to sign and send.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "T" * 356,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ContenderError(Exception):
    """A contender could not be run; the text is the last line it said."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round cost."""

    changes: int
    keys: int
    cpu_us: float
    wall_s: float


class Runner(Protocol):
    """A contender that runs."""

    def round(self, *, budget_s: float) -> Sample: ...
    def close(self) -> None: ...


class Contender(Protocol):
    """Something to be measured."""

    @property
    def name(self) -> str: ...
    def start(self, stub: Stub, load: Load) -> Runner: ...


class Child:
    """A child process that answers a line of JSON with a line of JSON."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        if not Path(words[0]).exists():
            raise ContenderError(f"{words[0]} is not there")
        core, _ = cores()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed by close()
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**clean_environment(), **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 -- no threads here
        )

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the child has no pipes")
        try:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
        except (OSError, ValueError):
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["it said nothing"]
            raise ContenderError(said[-1]) from None
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def clean_environment() -> dict[str, str]:
    """Return our environment without anything that would send a client somewhere else."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        kept.pop(name, None)
    return kept | {"PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A Lambda handler in Python."""

    name: str
    module: str
    python: str = str(PEERS_PYTHON)
    environment: Mapping[str, str] = field(default_factory=dict)
    batch_max: int | None = None
    """Where every answer takes a while: as many changes to an event, lest a round last minutes."""

    def start(self, stub: Stub, load: Load) -> Runner:
        words = [self.python, "-m", "bench.child", self.module, json.dumps(asdict(load))]
        environment = {**stub.environment, **CREDENTIALS, **self.environment}
        return HandlerRunner(Child(words, environment), self.batch_max)


class HandlerRunner:
    def __init__(self, child: Child, batch_max: int | None) -> None:
        self._child = child
        self._ask = {} if batch_max is None else {"batch": batch_max}

    def round(self, *, budget_s: float) -> Sample:
        cost = self._child.ask({"budget_s": budget_s, **self._ask})
        return Sample(cost["changes"], cost["keys"], cost["cpu_us"], cost["wall_s"])

    def close(self) -> None:
        self._child.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHandler:
    """A Lambda handler in JavaScript; its events are made here and handed over as text."""

    name: str
    script: str
    batch_max: int | None = None

    def start(self, stub: Stub, load: Load) -> Runner:
        return NodeRunner(self, stub, load)


class NodeRunner:
    def __init__(self, handler: NodeHandler, stub: Stub, load: Load) -> None:
        contenders = ROOT / "bench" / "contenders"
        words = [
            node(),
            str(contenders / "node_driver.cjs"),
            str(contenders / f"{handler.script}.cjs"),
        ]
        environment = {**stub.environment, **CREDENTIALS, "NODE_PATH": str(NODE_MODULES)}
        self._child = Child(words, environment)
        self._events = Events(load)
        self._batch = handler.batch_max

    def round(self, *, budget_s: float) -> Sample:
        sample = Sample(0, 0, 0.0, 0.0)
        while sample.wall_s < budget_s:
            event, keys = self._events.next(self._batch)
            cost = self._child.ask(event)
            sample = Sample(
                sample.changes + len(event["Records"]),
                sample.keys + keys,
                sample.cpu_us + cost["cpu_us"],
                sample.wall_s + cost["wall_s"],
            )
        return sample

    def close(self) -> None:
        self._child.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work of its own kind: a module's ``work``, asked with the budget of every round."""

    name: str
    module: str
    ask: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable

    def start(self, stub: Stub, load: Load) -> Runner:
        words = [self.python, "-m", "bench.job", self.module]
        child = Child(words, {**stub.environment, **CREDENTIALS})
        return JobRunner(child, {"item_bytes": load.item_bytes, **self.ask})


class JobRunner:
    def __init__(self, child: Child, ask: Mapping[str, Any]) -> None:
        self._child = child
        self._ask = ask

    def round(self, *, budget_s: float) -> Sample:
        cost = self._child.ask({"budget_s": budget_s, **self._ask})
        return Sample(cost["changes"], cost["changes"], cost["cpu_us"], cost["wall_s"])

    def close(self) -> None:
        self._child.close()


def once(
    module: str,
    ask: Mapping[str, Any],
    *,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a module's ``work`` in a fresh process, and return what it says it cost."""
    child = Child([python, "-m", "bench.job", module], {**CREDENTIALS, **(environment or {})})
    try:
        return child.ask(ask)
    finally:
        child.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The client in C. It sends writes and decodes nothing."""

    name: str
    operation: str
    connections: int = 64
    conditional: bool = False

    def start(self, stub: Stub, load: Load) -> Runner:
        return FloorRunner(self, stub, load)


class FloorRunner:
    def __init__(self, floor: Floor, stub: Stub, load: Load) -> None:
        self._items = 1_000
        self._words = [
            str(built("floor")),
            f"--port={stub.port}",
            f"--cpu={cores()[0]}",
            f"--operation={floor.operation}",
            f"--connections={floor.connections}",
            f"--item-bytes={load.item_bytes}",
        ]
        self._words = [part for word in self._words for part in word.split("=")]
        if floor.conditional:
            self._words.append("--conditional")
        if stub.endpoint.startswith("https"):
            self._words.append("--tls")

    def round(self, *, budget_s: float) -> Sample:
        words = [*self._words, "--items", str(self._items)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ContenderError(done.stderr.strip() or "it failed")
        cost = json.loads(done.stdout)
        # The next round then lasts as long as it should.
        pace = cost["changes"] / cost["wall_s"]
        self._items = max(1_000, int(pace * budget_s))
        return Sample(cost["changes"], cost["changes"], cost["cpu_us"], cost["wall_s"])

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Row:
    """A contender's figures in one scenario."""

    contender: str
    samples: list[Sample]
    requests_per_change: float
    stats: dict[str, Any] = field(default_factory=dict)
    """What the stub counted in the last round."""
    fault: str = ""

    @property
    def cpu_us(self) -> list[float]:
        return [sample.cpu_us / sample.changes for sample in self.samples]

    @property
    def changes_per_s(self) -> list[float]:
        return [sample.changes / sample.wall_s for sample in self.samples]

    def as_json(self) -> dict[str, Any]:
        if self.fault:
            return {"contender": self.contender, "fault": self.fault}
        return {
            "contender": self.contender,
            "cpu_us_per_change_min": round(min(self.cpu_us), 3),
            "cpu_us_per_change_median": round(median(self.cpu_us), 3),
            "changes_per_s_median": round(median(self.changes_per_s), 1),
            "changes_per_s_max": round(max(self.changes_per_s), 1),
            "requests_per_change": round(self.requests_per_change, 4),
            "changes": sum(sample.changes for sample in self.samples),
            "rounds": [asdict(sample) for sample in self.samples],
        }


class _Lane:
    """One contender in the race."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.runner: Runner | None = None
        self.samples: list[Sample] = []
        self.requests = 0
        self.stats: dict[str, Any] = {}
        self.fault = ""

    def run(self, stub: Stub, load: Load, budget_s: float, *, keep: bool) -> None:
        if self.fault:
            return
        try:
            if self.runner is None:
                self.runner = self.contender.start(stub, load)
            stub.reset()
            sample = self.runner.round(budget_s=budget_s)
            stats = stub.stats()
            written = items_written(stats)
        except ContenderError as error:
            self.fault = str(error)
            return
        if written < sample.keys:
            self.fault = f"it wrote {written} items of {sample.keys} that changed"
        elif keep:
            self.samples.append(sample)
            self.requests += requests(stats)
            self.stats = stats

    def row(self) -> Row:
        changes = sum(sample.changes for sample in self.samples) or 1
        per_change = self.requests / changes
        return Row(self.contender.name, self.samples, per_change, self.stats, self.fault)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.runner is not None:
            self.runner.close()


def race(
    contenders: Sequence[Contender],
    load: Load,
    *,
    delay_ms: float,
    rounds: int,
    budget_s: float,
    tls: bool = False,
) -> list[Row]:
    """Measure contenders under one load; a first round, not counted, warms each of them up."""
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(cpu=cores()[1], delay_ms=delay_ms, tls=tls))
        lanes = [stack.enter_context(_Lane(contender)) for contender in contenders]
        for lane in lanes:
            lane.run(stub, load, budget_s / 3, keep=False)
        for _ in range(rounds):
            for lane in lanes:
                lane.run(stub, load, budget_s, keep=True)
            if sys.stderr.isatty():
                print(".", end="", file=sys.stderr, flush=True)
        return [lane.row() for lane in lanes]
