"""What it costs to start, and whether memory stays level."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median
from typing import Any

from bench.harness import CREDENTIALS, Child, clean_environment
from bench.machine import PEERS_PYTHON, cores
from bench.settings import configuration
from bench.stub.server import Stub

HANDLER = "import dynamirror.runtimes.aws_lambda"

# Name, interpreter, statement. Each ends by saying how large it is.
IMPORTS = [
    ("dynamirror's Lambda handler", sys.executable, HANDLER),
    ("json", sys.executable, "import json"),
    ("asyncio, ssl", sys.executable, "import asyncio, ssl"),
    ("msgspec", sys.executable, "import msgspec"),
    (
        "boto3 and a client",
        str(PEERS_PYTHON),
        "import boto3; boto3.client('dynamodb', region_name='eu-west-1')",
    ),
    ("aiobotocore, no client", str(PEERS_PYTHON), "import aiobotocore.session"),
]

# Modules that a handler which calls nothing but DynamoDB has no use for.
SUPERFLUOUS = [
    "aiohttp", "argparse", "boto3", "botocore", "click", "concurrent.futures.process", "ctypes",
    "email", "http.client", "http.server", "importlib.metadata", "inspect", "logging.config",
    "multiprocessing", "pdb", "pkg_resources", "pydoc", "rich", "sqlite3", "tempfile", "unittest",
    "urllib.request", "xml", "zipfile",
]  # fmt: skip

_SIZE = (
    "\nprint(next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmRSS')))"
)


def _once(python: str, statement: str) -> tuple[float, int]:
    """Run a statement in a fresh interpreter; return CPU ms of the whole process, and kB."""
    core, _ = cores()
    process = subprocess.Popen(
        [python, "-c", statement + _SIZE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment() | CREDENTIALS,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 -- no threads here
    )
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the child has no pipes")
    said, fault = process.stdout.read(), process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ImportError(fault.strip().splitlines()[-1])
    return (used.ru_utime + used.ru_stime) * 1e3, int(said)


def imports(times: int) -> list[dict[str, Any]]:
    """Measure every import, interleaved with bare interpreters that are then taken off."""
    cpu: dict[str, list[float]] = {name: [] for name, _, _ in IMPORTS}
    size: dict[str, int] = {}
    faults: dict[str, str] = {}
    for _ in range(times):
        for name, python, statement in IMPORTS:
            if name in faults:
                continue
            try:
                with_it, size[name] = _once(python, statement)
                cpu[name].append(with_it - _once(python, "pass")[0])
            except (ImportError, OSError) as error:
                faults[name] = str(error)
    return [
        {"name": name, "fault": faults[name]}
        if name in faults
        else {"name": name, "cpu_ms_median": round(median(cpu[name]), 1), "resident_kb": size[name]}
        for name, _, _ in IMPORTS
    ]


def loaded() -> dict[str, Any]:
    """Return what the handler's import loads: how many modules, and which are superfluous."""
    script = (
        "import sys; bare = set(sys.modules)\n"
        f"{HANDLER}\n"
        "import json; print(json.dumps(sorted(set(sys.modules) - bare)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment() | CREDENTIALS,
    )
    if done.returncode:
        return {"fault": done.stderr.strip().splitlines()[-1]}
    names = json.loads(done.stdout)
    return {"modules": len(names), "superfluous": [name for name in SUPERFLUOUS if name in names]}


def memory(changes: int, samples: int = 10) -> dict[str, Any]:
    """Apply many changes in one process, and look at its size now and then."""
    words = [
        *(sys.executable, "-m", "bench.child", "bench.contenders.dynamirror_handler"),
        json.dumps({"batch": 1_000}),
    ]
    with Stub(cpu=cores()[1]) as stub:
        environment = {
            "AWS_ENDPOINT_URL_DYNAMODB": stub.endpoint,
            "DYNAMIRROR_CONFIG": configuration("order"),
            **CREDENTIALS,
        }
        child = Child(words, environment)
        try:
            child.ask({"changes": 1})
            found = [child.ask({"changes": changes // samples}) for _ in range(samples)]
        finally:
            child.close()
    applied, points = 1_000, []
    for one in found:
        applied += one["changes"]
        points.append({"changes": applied, "resident_kb": one["resident_kb"]})
    return {"points": points}
