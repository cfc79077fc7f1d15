"""A key is in no log line unless somebody asks for it, and then in each about one item."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.engine.regions import Regions

from dynamirror.cli.main import cli
from dynamirror.engine.item_log import show_keys
from dynamirror.errors import Exit, RefusedError

SECRET = "carol@example.org"

ONE_WAY = """
[mirrors.stories]
mode = "one-way"
on_poison = "{poison}"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}]
"""

TWO_WAY = """
[mirrors.stories]
mode = "two-way"
unversioned = "{unversioned}"
replicas = [{{ region = "us-east-1", table = "Stories" }}, {{ region = "eu-west-1" }}]
"""


@pytest.fixture
def regions() -> Iterator[Regions]:
    made = Regions()
    made.now_ms = int(time.time() * 1_000)
    made.source()
    yield made
    show_keys(asked=False)


def saved(region: Any, version: int, page: str) -> None:
    item = {"id": {"S": SECRET}, "version": {"N": str(version)}, "page": {"S": page}}
    region.perform("PutItem", {"TableName": "Stories", "Item": item})


def refusing(regions: Regions) -> None:
    """Have the target refuse the item."""

    async def refuse(operation: str, _: bytes) -> None:
        if operation == "BatchWriteItem":
            raise RefusedError("ValidationException", "Item size has exceeded 400 KB")

    regions.eu.before = refuse


def ran(regions: Regions, config: Path, text: str, event: str, *more: str) -> Result:
    """Run the mirror over something that befalls the item."""
    config.write_text(text)

    def dynamirror(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(one) for one in arguments], obj=regions.api_of)

    assert dynamirror("init", config, "--yes").exit_code == Exit.DONE
    saved(regions.us, 2, "home")
    if event == "conflict":
        saved(regions.eu, 2, "search")
    elif event == "unversioned":
        saved(regions.us, 2, "again")
    else:
        refusing(regions)
    return dynamirror("run", config, "--once", "-v", *more)


EVENTS = [
    ("parked", ONE_WAY.format(poison="park")),
    ("refused", ONE_WAY.format(poison="stop")),
    ("conflict", TWO_WAY.format(unversioned="bump")),
    ("unversioned", TWO_WAY.format(unversioned="report")),
]


@pytest.mark.parametrize(("event", "text"), EVENTS)
@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_key_is_logged_unasked(
    event: str, text: str, log_format: str, regions: Regions, tmp_path: Path
) -> None:
    """Not even with --verbose, whatever befalls the item."""
    result = ran(regions, tmp_path / "m.toml", text, event, "--log-format", log_format)

    assert result.exit_code in (Exit.DONE, Exit.FINDING)
    assert "starting" in result.stderr
    assert SECRET not in result.output


@pytest.mark.parametrize(("event", "text"), EVENTS)
def test_asked_for_each_line_about_an_item_has_its_key(
    event: str, text: str, regions: Regions, tmp_path: Path
) -> None:
    """As a member of its own; the image stays out of it."""
    result = ran(regions, tmp_path / "m.toml", text, event, "--log-keys", "--log-format", "json")

    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    found = [line for line in lines if "key" in line]
    assert {line["event"] for line in found} == {event}
    assert all(line["key"] == {"id": {"S": SECRET}} for line in found)
    assert not [page for page in ("home", "search", "again") if f'"{page}"' in result.stderr]
