"""The commands on a two-way mirror: sides told apart, conflicts listed and restored."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.engine.regions import Regions

from dynamirror.cli.main import cli
from dynamirror.core.values import Wire
from dynamirror.errors import Exit
from dynamirror.memory import MemoryDynamoDB

CONFIG = """
[mirrors.sessions]
mode = "two-way"
on_poison = "park"
replicas = [{ region = "us-east-1", table = "Stories" }, { region = "eu-west-1" }]
"""

US, EU = "sessions/us-east-1", "sessions/eu-west-1"


@pytest.fixture
def regions() -> Regions:
    """Two regions, of which the first has a table."""
    made = Regions()
    made.now_ms = int(time.time() * 1_000)  # the engine's clock is this machine's
    made.source()
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mirrors.toml"
    path.write_text(CONFIG)
    return path


def dynamirror(regions: Regions, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments], obj=regions.api_of)


def flowing(result: Result) -> str:
    """Return what was printed without its line ends."""
    return " ".join(result.stdout.split())


def save(api: MemoryDynamoDB, name: str, version: int | None, **more: Wire) -> None:
    versioned = {} if version is None else {"version": {"N": str(version)}}
    item = {"id": {"S": name}, **versioned, **more}
    api.perform("PutItem", {"TableName": "Stories", "Item": item})


def item(api: MemoryDynamoDB, name: str) -> Wire | None:
    key = {"id": {"S": name}}
    found: Wire | None = api.perform("GetItem", {"TableName": "Stories", "Key": key}).get("Item")
    return found


def statuses(regions: Regions, config: Path) -> list[Wire]:
    found: list[Wire] = json.loads(dynamirror(regions, "status", config, "--json").stdout)[
        "mirrors"
    ]
    return found


@pytest.fixture
def conflict(regions: Regions, config: Path) -> Regions:
    """One item saved in both regions at once; the first region's save stays."""
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    save(regions.us, "a", 2, by={"S": "us"})
    save(regions.eu, "a", 2, by={"S": "eu"})
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    return regions


def listed(regions: Regions, config: Path, *more: object) -> list[Wire]:
    found: list[Wire] = json.loads(
        dynamirror(regions, "conflicts", config, "--json", *more).stdout
    )["conflicts"]
    return found


def test_a_two_way_mirror_from_nothing(regions: Regions, config: Path) -> None:
    """Check, init, backfill, run, verify: from a table in one region to equal ones in two."""
    save(regions.us, "a", 7)
    save(regions.us, "b", None)

    unready = dynamirror(regions, "check", config)
    assert unready.exit_code == Exit.UNUSABLE
    assert "where another replica's table is there, run `dynamirror init" in flowing(unready)
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    ready = dynamirror(regions, "check", config)
    assert "mirror sessions/us-east-1: us-east-1/Stories <-> eu-west-1/Stories" in ready.stdout
    assert "guard" not in ready.stdout
    assert dynamirror(regions, "backfill", config, "--yes").exit_code == Exit.DONE
    save(regions.eu, "c", None)
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    result = dynamirror(regions, "verify", config)
    assert (result.exit_code, result.stdout) == (
        Exit.DONE,
        "sessions/us-east-1: equal, 3 items compared\n",
    )


@pytest.mark.parametrize("command", ["check", "backfill", "status", "redrive"])
def test_each_side_is_told_by_its_name(command: str, conflict: Regions, config: Path) -> None:
    """Of a two-way mirror each replica has a stream of its own, and its own line."""
    more = ["--yes"] if command == "backfill" else []
    result = dynamirror(conflict, command, config, *more)

    assert US in result.stdout
    assert EU in result.stdout


def test_replicas_are_compared_by_rank_too(conflict: Regions, config: Path) -> None:
    """Equal items of unequal rank are drift: the next save might win here and lose there."""
    held = item(conflict.eu, "a")
    assert held is not None
    del held["_mirror"]
    conflict.eu.perform("PutItem", {"TableName": "Stories", "Item": held})

    told = dynamirror(conflict, "verify", config, "--json").stdout.splitlines()

    (drift,) = [one for one in map(json.loads, told) if one["event"] == "drift"]
    assert (drift["kind"], drift["attributes"]) == ("different", ["_mirror"])


def test_a_conflict_is_listed(conflict: Regions, config: Path) -> None:
    """The loser is told with key, time, reason, both ranks and, as JSON, both images."""
    result = dynamirror(conflict, "conflicts", config)
    (one,) = listed(conflict, config)

    assert result.exit_code == Exit.DONE
    assert '{"id":{"S":"a"}}' in result.stdout
    assert "overwritten" in result.stdout
    assert one["id"] in result.stdout
    assert one["loser"] == {"version": 2, "origin": "eu-west-1"}
    assert one["winner"] == {"version": 2, "origin": "us-east-1"}
    assert one["images"]["loser"]["by"] == {"S": "eu"}
    assert one["images"]["winner"]["by"] == {"S": "us"}


def test_conflicts_are_found_by_key_and_time(conflict: Regions, config: Path) -> None:
    """--key and --since leave the others out; --mirror must be a two-way one."""
    assert listed(conflict, config, "--key", '{"id": {"S": "b"}}') == []
    assert len(listed(conflict, config, "--key", '{"id": {"S": "a"}}')) == 1
    assert listed(conflict, config, "--since", "2999-01-01") == []
    assert len(listed(conflict, config, "--since", "2020-01-01T00:00:00Z")) == 1
    assert (
        "no conflicts" in dynamirror(conflict, "conflicts", config, "--since", "2999-01-01").stdout
    )
    for wrong in (("--key", "a"), ("--since", "yesterday"), ("--mirror", "stories")):
        assert dynamirror(conflict, "conflicts", config, *wrong).exit_code == Exit.UNUSABLE


def test_a_loser_is_restored_everywhere(conflict: Regions, config: Path) -> None:
    """Shown first, and with --yes a new version at its replica, which reaches the others."""
    (one,) = listed(conflict, config)

    shown = dynamirror(conflict, "conflicts", "restore", config, one["id"])
    assert shown.exit_code == Exit.DONE
    assert 'by: {"S":"us"} -> {"S":"eu"}' in shown.stdout
    assert "nothing was changed" in shown.stdout
    held = item(conflict.eu, "a")
    assert held is not None
    assert held["by"] == {"S": "us"}

    done = dynamirror(conflict, "conflicts", "restore", config, one["id"], "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (Exit.DONE, "done")
    assert dynamirror(conflict, "run", config, "--once").exit_code == Exit.DONE
    held = item(conflict.us, "a")
    assert held is not None
    assert held["by"] == {"S": "eu"}
    assert dynamirror(conflict, "verify", config).exit_code == Exit.DONE
    assert len(listed(conflict, config)) == 1  # what it replaced, it knew


def test_a_deleted_item_is_restored(conflict: Regions, config: Path) -> None:
    """A loser whose item is gone is made again, above the delete."""
    (one,) = listed(conflict, config)
    conflict.us.perform("DeleteItem", {"TableName": "Stories", "Key": {"id": {"S": "a"}}})
    assert dynamirror(conflict, "run", config, "--once").exit_code == Exit.DONE

    done = dynamirror(conflict, "conflicts", "restore", config, one["id"], "--yes", "--json")
    assert dynamirror(conflict, "run", config, "--once").exit_code == Exit.DONE

    told = json.loads(done.stdout)
    assert (told["now"], told["done"]) == (None, True)
    held = item(conflict.us, "a")
    assert held is not None
    assert held["by"] == {"S": "eu"}


def test_what_changed_meanwhile_is_not_replaced(conflict: Regions, config: Path) -> None:
    """A save between the look and the write stays, and the command says so."""
    (one,) = listed(conflict, config)

    async def change(operation: str, _: bytes) -> None:
        if operation == "PutItem":
            conflict.eu.before = None
            save(conflict.eu, "a", 99, by={"S": "meanwhile"})

    conflict.eu.before = change

    result = dynamirror(conflict, "conflicts", "restore", config, one["id"], "--yes")

    assert result.exit_code == Exit.UNUSABLE
    assert "changed meanwhile" in result.stderr
    held = item(conflict.eu, "a")
    assert held is not None
    assert held["by"] == {"S": "meanwhile"}


def test_what_was_saved_without_a_version_is_listed_until_it_is_saved_again(
    regions: Regions, config: Path
) -> None:
    """With unversioned = "report" it differs: status counts it, verify says why."""
    config.write_text(CONFIG.replace("on_poison", 'unversioned = "report"\non_poison'))
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    for name in ("a", "b", "c"):
        save(regions.us, name, 2)
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    assert dynamirror(regions, "status", config).exit_code == Exit.DONE
    save(regions.eu, "a", 2, by={"S": "forgot"})
    save(regions.eu, "b", None, by={"S": "dropped"})
    save(regions.eu, "c", 1, by={"S": "lowered"})
    ran = dynamirror(regions, "run", config, "--once")

    assert "an item was saved without raising its version" in ran.stderr
    assert '"a"' not in ran.stderr
    assert dynamirror(regions, "status", config).exit_code == Exit.FINDING
    told = {one["mirror"]: one for one in statuses(regions, config)}
    assert (told[US]["unversioned_keys"], told[EU]["unversioned_keys"]) == (0, 3)
    assert f"{EU}: 3 keys saved without raising" in dynamirror(regions, "status", config).stdout
    verified = dynamirror(regions, "verify", config, "--json").stdout.splitlines()
    drifts = [one for one in map(json.loads, verified) if one["event"] == "drift"]
    assert [one["reason"] for one in drifts] == ["unversioned"] * 3
    assert "saved at eu-west-1 without raising" in dynamirror(regions, "verify", config).stdout

    save(regions.eu, "a", 3, by={"S": "versioned"})  # by a save there,
    save(regions.us, "b", 9, by={"S": "elsewhere"})  # a put from elsewhere;
    save(regions.eu, "c", 2, by={"S": "too low"})  # but not by what is outranked still
    for _ in range(2):
        assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    told = {one["mirror"]: one for one in statuses(regions, config)}
    assert told[EU]["unversioned_keys"] == 1
    key = {"id": {"S": "c"}}
    save(regions.eu, "c", 3)
    regions.eu.perform("DeleteItem", {"TableName": "Stories", "Key": key})
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    assert dynamirror(regions, "verify", config).exit_code == Exit.DONE
    assert dynamirror(regions, "status", config).exit_code == Exit.DONE


def test_an_unknown_conflict_is_an_error(conflict: Regions, config: Path) -> None:
    """An id that no journal has exits 2 and says how to find one."""
    result = dynamirror(conflict, "conflicts", "restore", config, "eu-west-1:0", "--yes")

    assert result.exit_code == Exit.UNUSABLE
    assert f"dynamirror conflicts {config}" in result.stderr


def test_check_tries_what_only_two_way_rules_ask_for(conflict: Regions, config: Path) -> None:
    """Updates of the ledger and of the replica itself need a permission of their own."""
    assert dynamirror(conflict, "check", config).exit_code == Exit.DONE
    conflict.denied.add("UpdateItem")

    result = dynamirror(conflict, "check", config)

    assert result.exit_code == Exit.UNUSABLE
    for table in ("Stories", "Stories-dynamirror-ledger"):
        for region in ("us-east-1", "eu-west-1"):
            assert f"allow dynamodb:UpdateItem on {region}/{table} to" in flowing(result)


def test_verify_repairs_by_rank_and_shows_what_an_item_competes_with(
    regions: Regions, config: Path
) -> None:
    """The newer save goes to the other region; an item is shown with its rank."""
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    for name, here, there in [("a", 5, 7), ("b", 9, 2)]:
        save(regions.us, name, here, at={"S": "us"})
        save(regions.eu, name, there, at={"S": "eu"})
    verify = ("verify", config, "--settle", "0")

    shown = dynamirror(regions, "verify", config, "--key", '{"id": "a"}')
    assert shown.exit_code == Exit.FINDING
    assert "rank 5 of us-east-1" in flowing(shown)
    assert "a repair would put everywhere else, as eu-west-1 has it" in flowing(shown)

    assert dynamirror(regions, *verify, "--repair").exit_code == Exit.FINDING
    assert dynamirror(regions, *verify, "--repair", "--yes").exit_code == Exit.DONE
    assert dynamirror(regions, *verify).exit_code == Exit.DONE
    for api in (regions.us, regions.eu):
        assert (item(api, "a") or {})["at"] == {"S": "eu"}
        assert (item(api, "b") or {})["at"] == {"S": "us"}


def test_what_no_ledger_tells_of_is_said_to_come_back(regions: Regions, config: Path) -> None:
    """Before a repair and after it, and of one item; what a ledger tells of is not."""
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    for name in ("alone", "deleted"):
        save(regions.us, name, 1)
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    regions.us.perform("DeleteItem", {"TableName": "Stories", "Key": {"id": {"S": "deleted"}}})
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    stamp = {"M": {"version": {"N": "1"}, "origin": {"S": "eu-west-1"}, "seen": {"M": {}}}}
    for name in ("deleted", "stranger"):
        save(regions.us, name, 1, _mirror=stamp)

    told = dynamirror(regions, "verify", config, "--settle", "0", "--json")
    shown = flowing(dynamirror(regions, "verify", config, "--settle", "0", "--repair"))
    one = flowing(dynamirror(regions, "verify", config, "--key", '{"id": "stranger"}'))
    mended = flowing(dynamirror(regions, "verify", config, "--settle", "0", "--repair", "--yes"))

    lines = [json.loads(line) for line in told.stdout.splitlines()]
    reasons = {line["key"]["id"]["S"]: line["reason"] for line in lines if "key" in line}
    assert reasons["stranger"] == "untold"
    assert reasons.get("deleted") is None
    assert "1 item of which no ledger tells a delete" in shown
    assert "A repair or a backfill puts it back" in shown
    assert "no ledger tells of a delete" in one
    assert ": put back; delete what should be gone" in mended
    assert item(regions.eu, "stranger") is not None
