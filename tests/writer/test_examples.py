"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers import Server
from tests.writer.store import Store, wire

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MANUAL = ROOT / "docs" / "application.md"


@pytest.fixture
def environment(server: Server) -> dict[str, str]:
    """What leads boto3 and PynamoDB to the server."""
    found = {**os.environ, "AWS_DEFAULT_REGION": server.regions[0]}
    if server.url is not None:
        found |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": server.url,
        }
    return found


@pytest.mark.parametrize("name", ["plain_expressions", "pynamodb_versioned"])
def test_an_example_runs(name: str, client_store: Store, environment: dict[str, str]) -> None:
    """Every save that it prints is above the one before."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", client_store.name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    made, *steps = re.findall(r"[+]?\d+", done.stdout)
    assert int(made) > 1_700_000_000_000
    assert all(int(step) >= 1 for step in steps)
    assert len(steps) >= 2


@pytest.fixture
def example(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The PynamoDB example, as a module."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / "pynamodb_versioned.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_pynamodb_save_is_above_what_it_did_not_know(example: Any, client_store: Store) -> None:
    """A version from a clock ahead is passed, and a condition of the caller's is kept."""
    ahead = example.now_ms() + 3_600_000
    client_store.given(version=ahead)
    session = example.model_of(client_store.name)

    session("a", user="ana").save()
    assert client_store.version() == ahead + 1

    refused = session("a", user="ben")
    with pytest.raises(example.PutError):
        refused.save(session.user == "nobody")
    assert refused.version is None
    assert client_store.held()["user"] == "ana"


@pytest.mark.parametrize("block", range(3))
def test_the_manuals_code_runs(
    block: int, client_store: Store, environment: dict[str, str]
) -> None:
    """Each Python block of docs/application.md, on a table in place of its Sessions."""
    blocks = re.findall(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    client_store.plain.put_item(TableName=client_store.name, Item=wire({"id": "s2"}))

    done = subprocess.run(
        [sys.executable, "-c", blocks[block].replace("Sessions", client_store.name)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
