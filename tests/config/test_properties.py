"""What holds of every configuration, not only of those somebody thought of."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamirror.config.load import TEXT, load
from dynamirror.config.model import (
    Config,
    Deletes,
    Guard,
    Mirror,
    OneWay,
    OnPoison,
    Place,
    Transport,
)
from dynamirror.config.problems import addressed
from dynamirror.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
TABLES = st.from_regex(r"[a-zA-Z0-9_.-]{3,200}", fullmatch=True)
REGIONS = [
    "us-east-1",
    "eu-west-1",
    "ap-southeast-2",
    "us-gov-west-1",
    "cn-north-1",
    "il-central-1",
]


def spelt(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {spelt(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelt, value)) + "]"
    # TOML wants no surrogate pairs and an escape for DEL; JSON's other escapes are TOML's.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def file_of(raw: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {spelt(value)}\n" for key, value in raw.items())


def faults_of(raw: dict[str, Any]) -> list[str]:
    """Return the paths that are complained about."""
    try:
        load(file_of(raw))
    except ConfigError as error:
        return sorted(line.split()[0].rstrip(":") for line in str(error).splitlines()[1:])
    return []


def written(value: object) -> Any:
    """Return a value of the model as a user would write it in full."""
    if isinstance(value, tuple):
        return [written(each) for each in value]
    if isinstance(value, Place | OneWay):
        given = {
            each.name: written(getattr(value, each.name))
            for each in fields(value)
            if each.name != "views"
        }
        return {key: each for key, each in given.items() if each is not None}
    return value.value if isinstance(value, StrEnum) else value


@st.composite
def places(draw: st.DrawFn, region: str, table: str) -> Place:
    role = draw(st.none() | st.just("arn:aws:iam::123456789012:role/path/mirror"))
    account = draw(st.none() | st.just("123456789012"))
    endpoint_url = draw(st.none() | st.sampled_from(["http://localhost:8000", "https://a_b"]))
    on_aws = account is not None and endpoint_url is None
    return Place(
        region=region,
        table=addressed(table, region, account) if on_aws and account else table,
        name=region,
        account=account,
        endpoint_url=endpoint_url,
        profile=draw(st.none() | st.sampled_from(["default", "über uns"])),
        role_arn=role,
        external_id=draw(st.none() | st.just("a:b/c")) if role else None,
    )


@st.composite
def mirrors(draw: st.DrawFn, name: str, stem: str) -> Mirror:
    """Draw a mirror; with a stem of its own, its tables are no other's."""
    table = stem + draw(TABLES)
    source, *targets = draw(st.lists(st.sampled_from(REGIONS), min_size=2, unique=True))
    attribute = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
    ours = st.none() | st.just(stem)
    return OneWay(
        name=name,
        source=draw(places(source, table)),
        targets=tuple(draw(places(each, table)) for each in targets),
        guard=draw(st.sampled_from(Guard)),
        sequence_attribute=draw(attribute),
        deletes=draw(st.sampled_from(Deletes)),
        ttl_deletes=draw(st.sampled_from(Deletes)),
        on_poison=draw(st.sampled_from(OnPoison)),
        max_writes_per_second=draw(st.none() | st.floats(0, 1e9, exclude_min=True)),
        transport=draw(st.sampled_from(Transport)),
        deadline_reserve_ms=draw(st.integers(0, 900_000)),
        backlog_seconds=draw(st.integers(0, 43_200)),
        ledger_table=draw(ours.map(lambda each: each and f"{each}ledger")),
        parked_table=draw(ours.map(lambda each: each and f"{each}parked")),
        checkpoint_table=draw(ours.map(lambda each: each and f"{each}checks")),
    )


@settings(deadline=None)  # a busy machine is no fault of ours
@given(st.data(), st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_a_valid_configuration_comes_back_as_it_was(data: st.DataObject, names: list[str]) -> None:
    """Whatever the model can hold but views, which are made of keys of their own, can be written,
    and is read as what was written.
    """
    config = Config(
        mirrors=tuple(data.draw(mirrors(name, f"m{i}_")) for i, name in enumerate(names)),
        path=TEXT,
    )
    raw = {each.name: {"mode": "one-way", **written(each)} for each in config.mirrors}
    for each in raw.values():
        del each["name"]

    assert load(file_of({"mirrors": raw})) == config


BASE: dict[str, Any] = {
    "mirrors": {
        "a": {
            "mode": "one-way",
            "source": {"region": "us-east-1", "table": "Stories"},
            "targets": [{"region": "eu-west-1"}, {"region": "eu-west-2", "name": "b"}],
        },
        "b": {
            "mode": "one-way",
            "source": {"region": "eu-west-2", "table": "Stories"},
            "targets": [{"region": "eu-west-3"}],
        },
        "c": {
            "mode": "one-way",
            "source": {"region": "sa-east-1", "table": "Words"},
            "targets": [{"region": "sa-east-2"}],
        },
    }
}

# Where to change BASE, to what, and the path complained about then. None hides another.
MUTATIONS: list[tuple[str, object, str]] = [
    ("mirror", {}, "mirror"),
    ("mirrors.a.guard", "ledgers", "mirrors.a.guard"),
    ("mirrors.a.gard", "ledger", "mirrors.a.gard"),
    ("mirrors.a.where", "x", "mirrors.a.where"),
    ("mirrors.a.journal_days", 90, "mirrors.a.journal_days"),
    ("mirrors.a.deadline_reserve_ms", 1e3, "mirrors.a.deadline_reserve_ms"),
    ("mirrors.a.max_writes_per_second", -1, "mirrors.a.max_writes_per_second"),
    ("mirrors.a.source.external_id", "abc", "mirrors.a.source.external_id"),
    ("mirrors.a.targets.0.name", "b#", "mirrors.a.targets[0].name"),
    ("mirrors.a.targets.1.external_id", "abc", "mirrors.a.targets[1].external_id"),
    ("mirrors.b.mode", "both", "mirrors.b.mode"),
    ("mirrors.b.sequence_attribute", "x" * 256, "mirrors.b.sequence_attribute"),
    ("mirrors.b.targets.+", {"region": "us-east-1"}, "mirrors.b.targets[{end}]"),  # a cycle
    ("mirrors.b.targets.+", {"region": "eu-west-1"}, "mirrors.b.targets[{end}]"),  # a's target
    ("mirrors.b.targets.+", {"region": "eu-west-2"}, "mirrors.b.targets[{end}]"),  # b's source
    ("mirrors.b.parked_table", "Stories", "mirrors.b.parked_table"),
    ("mirrors.b.checkpoint_table", "Stories", "mirrors.b.checkpoint_table"),
    ("mirrors.c.source", 1, "mirrors.c.source"),
    ("mirrors.c.targets.0", [], "mirrors.c.targets[0]"),
    ("mirrors.d", {"mode": "two-way"}, "mirrors.d.replicas"),
    ("mirrors.e#", {"mode": "two-way"}, 'mirrors."e#"'),
]
TWICE = {"mirrors.e#": ['mirrors."e#".replicas']}


def place(raw: Any, path: str, value: object) -> int:
    """Put a value at a path, ``+`` being the end of a list; return where in the list that is."""
    *way, last = path.split(".")
    for step in way:
        raw = raw[int(step) if isinstance(raw, list) else step]
    if last == "+":
        raw.append(value)
        return len(raw) - 1
    raw[int(last) if isinstance(raw, list) else last] = value
    return 0


def mutated(mutations: Iterable[tuple[str, object, str]]) -> tuple[dict[str, Any], list[str]]:
    """Return a changed base, and the paths that must be complained about."""
    raw, expected = copy.deepcopy(BASE), []
    for path, value, fault in mutations:
        end = place(raw, path, copy.deepcopy(value))
        expected += [fault.format(end=end), *TWICE.get(path, [])]
    return raw, sorted(expected)


def test_the_base_of_the_mutations_has_no_fault() -> None:
    """What the mutations find is theirs."""
    assert faults_of(BASE) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation[0])
def test_each_mutation_is_a_fault(mutation: tuple[str, object, str]) -> None:
    """Each change is complained about where it was made."""
    raw, expected = mutated([mutation])

    assert faults_of(raw) == expected


@settings(deadline=None)  # a busy machine is no fault of ours
@given(st.sets(st.integers(0, len(MUTATIONS) - 1)))
def test_no_fault_hides_another(chosen: set[int]) -> None:
    """Any faults together are the faults each is alone: all are told at once, and none twice."""
    raw, expected = mutated(MUTATIONS[number] for number in sorted(chosen))

    assert faults_of(raw) == expected


@settings(deadline=None)  # a busy machine is no fault of ours
@given(
    st.recursive(
        st.none().map(lambda _: 0)
        | st.booleans()
        | st.integers(-9, 10**6)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["mirrors", "a", "mode", "source", "targets", "region", "table", "é\n"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_nothing_but_our_error_comes_of_any_toml(value: object) -> None:
    """Whatever stands in a file, its faults are lines of printable text."""
    with pytest.raises(ConfigError) as caught:
        load(file_of({"mirrors": value, "x": 1}))

    head, *faults = str(caught.value).splitlines()
    assert str(len(faults)) in head
    assert all(line.startswith("  ") and line.isprintable() for line in faults)
