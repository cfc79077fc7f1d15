"""The reference in docs/configuration.md is true."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path

import pytest

from dynamirror.config.load import ONE_WAY, TWO_WAY, load
from dynamirror.config.model import Deletes, Guard, OneWay, OnPoison, Place, Side, Transport
from dynamirror.config.places import PLACE, VIEW
from dynamirror.config.routes import ENDPOINT, ROUTE, Route

REFERENCE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> dict[str, tuple[str, str]]:
    """Return type and default of each key in a section's table."""
    section = REFERENCE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| .+ \|$", section, re.MULTILINE)
    return {key: (kind, default) for key, kind, default in found}


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(example: str) -> None:
    """An example of the manual can be pasted as it stands."""
    assert load(example).mirrors


def test_every_key_has_its_row() -> None:
    """A key that the reference doesn't show does not exist for a user, nor one it shows in vain."""
    assert list(rows("A mirror")) == list(ONE_WAY)
    assert list(rows("A two-way mirror")) == [key for key in TWO_WAY if key not in ONE_WAY]
    assert list(rows("A place")) == list(PLACE)
    assert list(rows("A route")) == list(ROUTE)
    assert list(rows("An endpoint")) == list(ENDPOINT)


def defaults(model: type[OneWay | Place]) -> dict[str, str]:
    """Return the model's defaults as the reference spells them."""
    here = Place(region="<region>", table="<table>", name="<name>")
    mirror = OneWay(name="<name>", source=here, targets=(here,))
    spelt = {
        "ledger_table": json.dumps(mirror.ledger_of(here)),
        "parked_table": json.dumps(mirror.parked),
        "checkpoint_table": json.dumps(mirror.checkpoints),
    }
    given = {each.name: each.default for each in fields(model) if each.default is not MISSING}
    return {
        key: f"`{spelt.get(key, json.dumps(value))}`"
        if key in spelt or value is not None
        else "none"
        for key, value in given.items()
    }


@pytest.mark.parametrize(("model", "heading"), [(OneWay, "A mirror"), (Place, "A place")])
def test_every_default_is_the_models(model: type[OneWay | Place], heading: str) -> None:
    """Who reads the reference knows what happens without a key, and which keys are required."""
    table = {key: default for key, (_, default) in rows(heading).items()}
    known = defaults(model)

    assert {key: table[key] for key in known} == known
    left = {key: default for key, default in table.items() if key not in known}
    assert (
        left
        == {
            "A mirror": dict.fromkeys(("mode", "source", "targets"), "required")
            | dict.fromkeys(VIEW, "none"),
            "A place": {
                "region": "required",
                "table": "required in `source`; in targets the source's",
                "name": "the region",
            },
        }[heading]
    )


def test_every_default_of_two_way_is_the_models() -> None:
    """What is said of a two-way mirror's keys is so."""
    given = {each.name: each.default for each in fields(Side)}
    table = {key: default for key, (_, default) in rows("A two-way mirror").items()}

    assert table.pop("replicas") == "required"
    assert table.pop("journal_table") == '`"<table>-dynamirror-journal"`'
    assert table == {key: f"`{json.dumps(given[key])}`" for key in table}


@pytest.mark.parametrize("kind", [Guard, Deletes, OnPoison, Transport])
def test_every_choice_is_shown(kind: type[StrEnum]) -> None:
    """A choice is listed where its key is."""
    types = [kind_shown for kind_shown, _ in rows("A mirror").values()]
    *most, last = (f'`"{each}"`' for each in kind)

    assert f"{', '.join(most)} or {last}" in types


def test_every_default_of_a_route_is_the_models() -> None:
    """What isn't written is what the reference says."""
    given = {each.name: each.default for each in fields(Route) if each.default is not MISSING}
    told = {key: default for key, (_, default) in rows("A route").items() if default != "required"}

    assert given.pop("mirrors") == ()
    assert told.pop("mirrors") == "all"
    assert told == {key: f"`{json.dumps(value)}`" for key, value in given.items()}
