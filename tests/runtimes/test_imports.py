"""A cold start pays for every module: the Lambda handler loads what it needs and no more."""

from __future__ import annotations

import subprocess
import sys

HANDLER = "dynamirror.runtimes.aws_lambda"

UNWANTED = {
    "boto3",
    "botocore",
    "click",
    "concurrent.futures.process",
    "dateutil",
    "dynamirror.aws.fallback",
    "dynamirror.cli",
    "dynamirror.demo",
    "dynamirror.memory",
    "dynamirror.runtimes.process",
    "email",
    "http.client",
    "http.server",
    "hypothesis",
    "jmespath",
    "multiprocessing",
    "pydoc",
    "requests",
    "rich",
    "sqlite3",
    "unittest",
    "urllib.request",
    "urllib3",
    "uvloop",
    "xml",
}


def test_the_handler_loads_nothing_it_does_not_need() -> None:
    code = f"import sys, {HANDLER}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())

    assert HANDLER in loaded
    assert sorted(name for name in UNWANTED if name in loaded) == []
