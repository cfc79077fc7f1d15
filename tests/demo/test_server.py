"""The embedded server starts, says what is wrong where it can't, and never outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.servers import server_python

from dynamirror.demo.server import EmbeddedServer, ServerError

HOLDER = """
import sys, time
from dynamirror.demo.server import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.start()
print(server.url, flush=True)
time.sleep(60)
"""


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_ministack/health", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def test_it_runs_while_it_is_wanted() -> None:
    """It answers on the loopback interface, and is gone afterwards."""
    with EmbeddedServer(server_python()) as server:
        assert server.url.startswith("http://127.0.0.1:")
        ran = server.running
        server.start()
        assert answers(server.url)
        assert server.url in repr(server)

    assert (ran, server.running) == (True, False)
    assert not answers(server.url)
    assert "stopped" in repr(server)


def test_an_interpreter_that_is_not_there() -> None:
    """The error names it, and how to set the server up."""
    with pytest.raises(ServerError, match="no/such/python") as missing:
        EmbeddedServer("/no/such/python").start()

    assert "pip install" in missing.value.hint


def test_an_interpreter_without_the_server() -> None:
    """The error names the interpreter and what it lacks."""
    with pytest.raises(ServerError, match="has no ministack"):
        EmbeddedServer(sys.executable).start()


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    """What it said last stands in the error."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho the disk is full; exit 1\n")
    python.chmod(0o755)

    with pytest.raises(ServerError, match="the disk is full"):
        EmbeddedServer(python).start()


def test_it_ends_when_its_owner_is_killed() -> None:
    """No server is left behind by a process that could not clean up."""
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(server_python())], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        assert answers(url)
        os.kill(owner.pid, signal.SIGKILL)

    deadline = time.monotonic() + 10
    while answers(url):
        assert time.monotonic() < deadline
        time.sleep(0.05)
