"""``dynamirror verify`` finds what differs, however it reads, and mends what it is asked to."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_commands import CONFIG, dynamirror, lines
from tests.engine.regions import Regions

from dynamirror.config.model import Guard
from dynamirror.core.values import Wire
from dynamirror.errors import Exit

QUICK = ("--settle", "0")

SORTED: Wire = {
    "KeySchema": [
        {"AttributeName": "id", "KeyType": "HASH"},
        {"AttributeName": "at", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "at", "AttributeType": "N"},
    ],
}


def story(name: str, at: str, **more: Wire) -> Wire:
    return {"id": {"S": name}, "at": {"N": at}, **more}


@pytest.fixture
def regions() -> Regions:
    """Stories with numeric sort keys: three differ, the rest is only spelled otherwise."""
    made = Regions()
    made.now_ms = int(time.time() * 1_000)  # the engine's clock is this machine's
    made.source(**SORTED)
    made.init(made.with_mirror(guard=Guard.LEDGER))
    for number in range(20):
        text: Wire = {"empty": {"S": ""}, "tags": {"SS": ["x", "y"]}, "n": {"N": "1"}}
        here = story("a", str(number), **text)
        there = story("a", f"{number}.0", tags={"SS": ["y", "x"]}, n={"N": "1.0"}, empty={"S": ""})
        if number != 9:
            made.put(here)
        if number == 12:
            there["n"] = {"N": "2"}
        if number != 10:
            made.eu.perform("PutItem", {"TableName": "Stories", "Item": there})
    return made


WANTED = {("extra", "9"), ("missing", "10"), ("different", "12")}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mirrors.toml"
    path.write_text(CONFIG.replace("{guard}", "ledger"))
    return path


def told(regions: Regions, config: Path, *more: str) -> tuple[int, list[dict[str, Any]]]:
    result = dynamirror(regions, "verify", config, "--json", *QUICK, *more)
    return result.exit_code, lines(result)


def drifts(said: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["kind"], one["key"]["at"]["N"]) for one in said if one["event"] == "drift"}


@pytest.mark.parametrize("how", [[], ["--consistent"], ["--method", "lookup"]])
def test_each_method_finds_the_same(how: list[str], regions: Regions, config: Path) -> None:
    """9 and 10 are two numbers, 1 and 1.0 are one, and a set has no order."""
    end, said = told(regions, config, *how)

    assert end == Exit.FINDING
    assert drifts(said) == WANTED
    assert [one["attributes"] for one in said if one.get("kind") == "different"] == [["n"]]
    summary = said[-1]
    assert summary["event"] == "summary"
    assert (summary["missing"], summary["extra"], summary["different"]) == (1, 1, 1)
    assert summary["items"] == 19
    assert said[0]["event"] == "estimate"


def test_keys_only_sees_which_items_are_there(regions: Regions, config: Path) -> None:
    _, said = told(regions, config, "--keys-only")
    assert drifts(said) == {("extra", "9"), ("missing", "10")}


@pytest.mark.parametrize("method", ["scan", "lookup"])
def test_all_shares_together_find_all_and_each_a_part(
    method: str, regions: Regions, config: Path
) -> None:
    """Though the tables' shares need not hold the same items."""
    found = [
        told(regions, config, "--segment", f"{number}/3", "--method", method)
        for number in (1, 2, 3)
    ]
    assert set().union(*(drifts(said) for _, said in found)) == WANTED
    assert sum(said[-1]["items"] for _, said in found) == 19


@pytest.mark.parametrize("method", ["scan", "lookup"])
def test_a_sample_looks_at_the_same_items_on_both_sides(
    method: str, regions: Regions, config: Path
) -> None:
    """An item outside the sample is neither compared nor called missing or extra."""
    _, said = told(regions, config, "--sample", "0.5", "--method", method)
    assert 2 < said[-1]["items"] < 17
    assert drifts(said) <= WANTED
    assert told(regions, config, "--sample", "0.5")[1][-1]["items"] == said[-1]["items"]


def test_repair_shows_first_and_mends_with_yes(regions: Regions, config: Path) -> None:
    before = dict(regions.eu.table("Stories").items)
    end, said = told(regions, config, "--repair")
    planned = {
        (one["key"]["at"]["N"], one["outcome"], one["action"])
        for one in said
        if one["event"] == "repair"
    }
    assert end == Exit.FINDING
    assert planned == {
        ("9", "planned", "delete"),
        ("10", "planned", "put"),
        ("12", "planned", "put"),
    }
    assert dict(regions.eu.table("Stories").items) == before

    result = dynamirror(regions, "verify", config, *QUICK, "--repair", "--yes")
    assert result.exit_code == Exit.DONE
    assert "3 items mended, 0 left" in " ".join(result.output.split())
    end, said = told(regions, config)
    assert (end, drifts(said)) == (Exit.DONE, set())


def test_yes_alone_is_refused(regions: Regions, config: Path) -> None:
    assert dynamirror(regions, "verify", config, "--yes").exit_code == Exit.UNUSABLE


def test_status_tells_of_the_last_whole_comparison(regions: Regions, config: Path) -> None:
    """Not of a sample's, a share's, or one of keys only."""
    told(regions, config, "--sample", "0.5")
    told(regions, config, "--segment", "1/2")
    told(regions, config, "--keys-only")
    (mirror,) = json.loads(dynamirror(regions, "status", config, "--json").stdout)["mirrors"]
    assert mirror["verified"] is None

    told(regions, config)
    (mirror,) = json.loads(dynamirror(regions, "status", config, "--json").stdout)["mirrors"]
    found = mirror["verified"]
    assert (found["items"], found["missing"], found["extra"], found["different"]) == (19, 1, 1, 1)

    told(regions, config, "--repair", "--yes")
    (mirror,) = json.loads(dynamirror(regions, "status", config, "--json").stdout)["mirrors"]
    assert mirror["verified"]["missing"] == 0


def test_tables_that_somebody_else_mirrors_can_be_compared(regions: Regions, config: Path) -> None:
    """None of our tables is needed for that."""
    for api, name in [
        (regions.us, "Stories-dynamirror-checkpoints"),
        (regions.us, "Stories-dynamirror-parked"),
        (regions.eu, "Stories-dynamirror-ledger"),
    ]:
        api.perform("DeleteTable", {"TableName": name})
    end, said = told(regions, config)
    assert (end, drifts(said)) == (Exit.FINDING, WANTED)


@pytest.mark.parametrize(
    "key", ['{"id": "a", "at": 12}', '{"id": {"S": "a"}, "at": {"N": "12.0"}}']
)
def test_one_item_is_shown_as_every_table_has_it(key: str, regions: Regions, config: Path) -> None:
    end, (item, *_) = told(regions, config, "--key", key)

    assert end == Exit.FINDING
    assert item["event"] == "item"
    assert [place["name"] for place in item["places"]] == ["us-east-1", "eu-west-1"]
    assert [place["image"]["n"]["N"] for place in item["places"]] == ["1", "2"]
    assert [(one["kind"], one["attributes"]) for one in item["drift"]] == [("different", ["n"])]
    assert [(one["outcome"], one["action"]) for one in item["repair"]] == [("planned", "put")]
    shown = dynamirror(regions, "verify", config, "--key", key).stdout
    assert "different at eu-west-1 in n" in shown
    assert "a repair would put at eu-west-1, as us-east-1 has it" in shown


def test_an_item_that_is_equal_or_nowhere_is_said_to_be_so(regions: Regions, config: Path) -> None:
    for at in (1, 77):
        result = dynamirror(regions, "verify", config, "--key", f'{{"id": "a", "at": {at}}}')
        assert result.exit_code == Exit.DONE
        assert "equal everywhere" in result.stdout


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("id=a", "is no JSON"),
        ('["a"]', "write an object"),
        ('{"id": "a"}', "the table's key is id (text), at (a number)"),
        ('{"id": "a", "at": "12"}', 'at is a number: write {"id": "a", "at": 1}'),
        ('{"id": 1, "at": 12}', "id is text"),
        ('{"id": {"N": "1"}, "at": 12}', 'id is text: write {"S": "..."}'),
        ('{"id": "a", "at": {"N": "x"}}', "at is a number, 'x' is not"),
    ],
)
def test_what_is_no_key_is_told_with_what_one_is_like(
    key: str, says: str, regions: Regions, config: Path
) -> None:
    result = dynamirror(regions, "verify", config, "--key", key)
    assert result.exit_code == Exit.UNUSABLE
    assert says in " ".join(result.output.split())
