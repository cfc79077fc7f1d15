"""``dynamirror replica``: shown first, done with --yes, and nothing is left to do afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.engine.regions import SIMPLE, Regions

from dynamirror.cli.main import cli
from dynamirror.config.model import Place, Transport
from dynamirror.core.values import Wire
from dynamirror.errors import Exit
from dynamirror.memory import MemoryDynamoDB

AP = "ap-southeast-2"
NAMED = ("--mirror", "sessions", "--replica", AP)


class Three(Regions):
    """A mirror of two at work, and a third region that has nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = int(time.time() * 1_000)  # the engine's clock is this machine's
        self.ap = MemoryDynamoDB(AP, clock=lambda: self.now_ms)

    def api_of(self, place: Place, _: Transport = Transport.NATIVE) -> MemoryDynamoDB:
        return self.ap if place.region == AP else super().api_of(place)

    def value(self, api: MemoryDynamoDB, name: str) -> str | None:
        item: Wire = api.perform(
            "GetItem", {"TableName": "Stories", "Key": {"id": {"S": name}}}
        ).get("Item", {})
        return item["value"]["S"] if item else None


def written(path: Path, *regions: str) -> Path:
    first, *others = regions
    listed = [f'{{ region = "{first}", table = "Stories" }}']
    listed += [f'{{ region = "{name}" }}' for name in others]
    path.write_text(f'[mirrors.sessions]\nmode = "two-way"\nreplicas = [{", ".join(listed)}]\n')
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return written(tmp_path / "two.toml", "us-east-1", "eu-west-1")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return written(tmp_path / "three.toml", "us-east-1", "eu-west-1", AP)


@pytest.fixture
def regions(two: Path) -> Three:
    made = Three()
    made.source()
    save(made.us, "a", 1, "before")
    for command in ("init", "backfill"):
        assert dynamirror(made, command, two, "--yes").exit_code == Exit.DONE
    return made


def dynamirror(regions: Regions, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments], obj=regions.api_of)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def save(api: MemoryDynamoDB, name: str, version: int, value: str) -> None:
    item = {"id": {"S": name}, "version": {"N": str(version)}, "value": {"S": value}}
    api.perform("PutItem", {"TableName": "Stories", "Item": item})


def test_a_third_joins_leaves_and_comes_back(regions: Three, two: Path, three: Path) -> None:
    """Each step is shown before it is done, and all are equal after each."""
    refused = dynamirror(regions, "run", three, "--once")
    assert refused.exit_code == Exit.UNUSABLE

    shown = dynamirror(regions, "replica", "add", three, *NAMED)
    assert shown.exit_code == Exit.DONE
    assert f"create table {AP}/Stories like us-east-1/Stories" in shown.stdout
    assert "nothing was changed; --yes does it" in shown.stdout
    assert "Stories" not in regions.ap.perform("ListTables", {})["TableNames"]

    done = dynamirror(regions, "replica", "add", three, *NAMED, "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        Exit.DONE,
        f"{AP} has joined sessions",
    )
    assert regions.value(regions.ap, "a") == "before"
    again = dynamirror(regions, "replica", "add", three, *NAMED, "--yes")
    assert (again.exit_code, again.stdout) == (Exit.DONE, "nothing to do\n")

    save(regions.ap, "b", 1, "there")
    shown = dynamirror(regions, "replica", "remove", three, *NAMED)
    assert "bring to the others what was written at" in shown.stdout
    gone = dynamirror(regions, "replica", "remove", three, *NAMED, "--yes")
    assert gone.exit_code == Exit.DONE
    assert regions.value(regions.us, "b") == "there"
    assert dynamirror(regions, "run", three, "--once").exit_code == Exit.UNUSABLE
    told = dynamirror(regions, "status", three).stdout
    assert f"{AP} left the mirror at" in told

    save(regions.us, "a", 9, "meanwhile")
    assert dynamirror(regions, "run", two, "--once").exit_code == Exit.DONE
    back = dynamirror(regions, "replica", "add", three, *NAMED, "--yes", "--json")
    assert back.exit_code == Exit.DONE
    assert lines(back)[-1]["state"] == "member"
    assert regions.value(regions.ap, "a") == "meanwhile"
    assert dynamirror(regions, "run", three, "--once").exit_code == Exit.DONE
    assert dynamirror(regions, "verify", three).exit_code == Exit.DONE


def test_the_plan_is_told_as_json(regions: Three, three: Path) -> None:
    """A program reads what is to be done, a sentence a step."""
    (plan,) = lines(dynamirror(regions, "replica", "add", three, *NAMED, "--json"))

    assert (plan["event"], plan["mirror"], plan["replica"]) == ("plan", "sessions", AP)
    assert plan["steps"][-1] == "compare"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--mirror", "sessions", "--replica", "mars"), "has no one replica 'mars'; it has: us"),
        (("--mirror", "stories", "--replica", AP), "has no mirror 'stories'"),
        (("--mirror", "sessions", "--replica", "eu-west-1"), "eu-west-1 must come last"),
    ],
)
def test_what_cannot_join_is_refused(
    more: tuple[str, ...], why: str, regions: Three, three: Path
) -> None:
    """A misspelt name exits 2 and lists those there are."""
    result = dynamirror(regions, "replica", "add", three, *more)

    assert result.exit_code == Exit.UNUSABLE
    assert why in result.stderr


def test_a_stranger_with_items_joins_only_rebuilt(regions: Three, three: Path) -> None:
    """It is refused with what would help; rebuilt, what only it had is listed as a conflict."""
    regions.ap.perform("CreateTable", {"TableName": "Stories", **SIMPLE})
    save(regions.ap, "c", 1, "stray")

    refused = dynamirror(regions, "replica", "add", three, *NAMED, "--yes")
    assert refused.exit_code == Exit.UNUSABLE
    assert "--rebuild" in refused.stderr

    done = dynamirror(regions, "replica", "add", three, *NAMED, "--rebuild", "--yes")
    assert done.exit_code == Exit.DONE
    assert regions.value(regions.ap, "c") is None
    listed = dynamirror(regions, "conflicts", three)
    assert "rebuilt" in listed.stdout
