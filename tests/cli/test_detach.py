"""``dynamirror detach``: our attribute is gone from every item, and nothing else is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.engine.regions import Regions

from dynamirror.cli.main import cli
from dynamirror.core.rows import row
from dynamirror.core.values import Wire
from dynamirror.errors import Exit
from dynamirror.memory import MemoryDynamoDB

TWO_WAY = """
[mirrors.stories]
mode = "two-way"
replicas = [{ region = "us-east-1", table = "Stories" }, { region = "eu-west-1" }]
"""

ONE_WAY = """
[mirrors.stories]
mode = "one-way"
guard = "{guard}"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mirrors.toml"
    path.write_text(TWO_WAY)
    return path


@pytest.fixture
def regions() -> Regions:
    made = Regions()
    made.now_ms = int(time.time() * 1_000)  # the engine's clock is this machine's
    made.source()
    return made


def dynamirror(regions: Regions, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments], obj=regions.api_of)


def items(api: MemoryDynamoDB) -> list[Wire]:
    found: list[Wire] = api.perform("Scan", {"TableName": "Stories"})["Items"]
    return sorted(found, key=lambda item: str(item["id"]["S"]))


def mirrored(regions: Regions, config: Path) -> None:
    """Have three items, made in both regions, mirrored."""
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    for name in ("a", "b"):
        regions.put({"id": {"S": name}, "version": {"N": "1"}})
    if "two-way" in config.read_text():
        item = {"id": {"S": "c"}, "version": {"N": "1"}}
        regions.eu.perform("PutItem", {"TableName": "Stories", "Item": item})
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE


def test_stamps_are_stripped_from_every_replica(regions: Regions, config: Path) -> None:
    """Shown first; afterwards both hold the plain items, and the mirror does not start again."""
    mirrored(regions, config)
    named = ("--mirror", "stories", "--strip-stamps")

    shown = dynamirror(regions, "detach", config, *named)
    assert "remove '_mirror' from every item of us-east-1/Stories" in shown.stdout
    assert "nothing was changed; --yes does it" in shown.stdout
    assert any("_mirror" in item for item in items(regions.eu))

    done = dynamirror(regions, "detach", config, *named, "--yes")
    assert done.exit_code == Exit.DONE
    assert "stories: 3 items stripped" in done.stdout
    assert "delete-table --region eu-west-1 --table-name Stories-dynamirror-ledger" in done.stdout
    assert items(regions.us) == items(regions.eu)
    assert all(set(item) == {"id", "version"} for item in items(regions.us))

    again = dynamirror(regions, "run", config, "--once")
    assert again.exit_code == Exit.HISTORY_LOST
    assert "turn the tables' streams off" in again.stderr
    assert items(regions.us) == items(regions.eu)
    told = dynamirror(regions, "detach", config, *named, "--yes", "--json").stdout.splitlines()
    assert json.loads(told[-1])["items"] == 0


def test_the_mark_of_guard_item_is_stripped_from_targets(regions: Regions, tmp_path: Path) -> None:
    """One-way: the source never had it."""
    config = tmp_path / "one-way.toml"
    config.write_text(ONE_WAY.format(guard="item"))
    mirrored(regions, config)
    assert all("_mirror_seq" in item for item in items(regions.eu))

    done = dynamirror(regions, "detach", config, "--mirror", "stories", "--strip-stamps", "--yes")

    assert done.exit_code == Exit.DONE
    assert items(regions.eu) == items(regions.us)


def test_a_guard_without_marks_leaves_nothing_to_strip(regions: Regions, tmp_path: Path) -> None:
    """Guard order's targets are exact copies already."""
    config = tmp_path / "one-way.toml"
    config.write_text(ONE_WAY.format(guard="order"))

    done = dynamirror(regions, "detach", config, "--mirror", "stories", "--strip-stamps", "--yes")

    assert (done.exit_code, "leaves no attribute" in done.stdout) == (Exit.DONE, True)


def test_a_running_mirror_is_not_stripped(regions: Regions, config: Path) -> None:
    """Its engine would mirror the stripping; who runs it is told, and nothing is changed."""
    mirrored(regions, config)
    until_ms = regions.now_ms + 10_000_000
    lease = row(link="stories/eu-west-1", shard="#lease", owner="h:1", until_ms=until_ms, report="")
    table = "Stories-dynamirror-checkpoints"
    regions.eu.perform("PutItem", {"TableName": table, "Item": lease})
    before = items(regions.eu)

    done = dynamirror(regions, "detach", config, "--mirror", "stories", "--strip-stamps", "--yes")

    assert done.exit_code == Exit.UNUSABLE
    assert "is read by h:1" in done.stderr
    assert items(regions.eu) == before


def test_an_item_saved_meanwhile_is_looked_at_again(regions: Regions, config: Path) -> None:
    """The update is conditional on the stamp that was read; the save stays as it is."""
    mirrored(regions, config)
    stamp = {"M": {"version": {"N": "9"}, "origin": {"S": "us-east-1"}}}

    async def save(operation: str, _: bytes) -> None:
        if operation == "UpdateItem":
            regions.eu.before = None
            for name in ("a", "b"):
                item = {"id": {"S": name}, "version": {"N": "9"}, "_mirror": stamp}
                regions.eu.perform("PutItem", {"TableName": "Stories", "Item": item})

    regions.eu.before = save

    done = dynamirror(regions, "detach", config, "--mirror", "stories", "--strip-stamps", "--yes")

    assert done.exit_code == Exit.DONE
    assert [item.get("version") for item in items(regions.eu)][:2] == [{"N": "9"}] * 2
    assert not any("_mirror" in item for item in items(regions.eu))


def test_it_must_be_said_what_to_strip(regions: Regions, config: Path) -> None:
    """Detach does nothing that was not asked for."""
    done = dynamirror(regions, "detach", config, "--mirror", "stories", "--yes")

    assert (done.exit_code, "say --strip-stamps" in done.stderr) == (Exit.UNUSABLE, True)
