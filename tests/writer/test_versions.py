"""What is a version, and which were seen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import Binary
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.writer import VersionError
from dynamirror.writer.versions import (
    VERSION_END,
    Seen,
    identity,
    is_wire,
    number,
    raised,
    version_in,
    version_or_none,
)

VERSIONS = st.integers(0, VERSION_END - 1)


@given(VERSIONS, st.booleans())
def test_a_version_is_read_as_it_was_written(version: int, wire: bool) -> None:  # noqa: FBT001
    """To the last of its 37 digits, in DynamoDB JSON and in Python's types."""
    assert version_in(number(version, wire=wire), "here") == version


@pytest.mark.parametrize(
    "value",
    [
        {"S": "5"},
        {"N": "five"},
        {"N": "-1"},
        {"N": "0.5"},
        {"N": "1E37"},
        {"BOOL": True},
        {},
        "5",
        True,
        1.0,
        Decimal("NaN"),
        Decimal("Infinity"),
        VERSION_END,
        b"5",
    ],
)
def test_nothing_else_is_a_version(value: Any) -> None:
    with pytest.raises(VersionError, match=r"^here is "):
        version_in(value, "here")

    assert version_or_none(value) is None


def test_spellings_of_one_number_are_one_version() -> None:
    for spelling in ("5", "5.00", "0.5E1", "05"):
        assert version_in({"N": spelling}, "here") == 5


def test_a_version_is_raised_up_to_the_last() -> None:
    assert raised(VERSION_END - 2, 1, "here") == VERSION_END - 1
    with pytest.raises(VersionError, match="no higher version"):
        raised(VERSION_END - 1, 1, "here")


def test_a_key_tells_how_an_item_is_spelled() -> None:
    """In DynamoDB JSON all is dicts; in Python's types the key is plain, whatever else is a map."""
    assert is_wire({"id": {"S": "a"}, "map": {"M": {}}})
    assert not is_wire({"id": "a", "map": {"S": "a"}})


def test_one_key_has_one_identity() -> None:
    """However its numbers and bytes are spelled, and in whichever kind of client."""
    spellings = [
        {"id": {"N": "10"}, "at": {"B": b"\x00"}},
        {"id": {"N": "1E1"}, "at": {"B": b"\x00"}},
        {"id": Decimal("10.0"), "at": Binary(b"\x00"), "more": {1}},
        {"id": 10, "at": bytearray(b"\x00")},
    ]

    assert len({identity(one, ("at", "id")) for one in spellings}) == 1
    assert identity({"id": "10"}, ("id",)) != identity({"id": 10}, ("id",))


@pytest.mark.parametrize("value", [{}, {"N": "ten"}, {"S": 5}, 1.5, None, {"S": "a", "N": "1"}])
def test_a_faulty_key_has_none(value: Any) -> None:
    """It is the service's to refuse."""
    assert identity({"id": value}, ("id",)) is None
    assert identity({}, ("id",)) is None


def seen_of(limit: int) -> Seen:
    seen = Seen(limit)
    seen.learn_key("T", ("id",))
    return seen


@given(st.lists(st.tuples(st.sampled_from("abcdef"), VERSIONS), max_size=40), st.integers(1, 5))
def test_the_last_keys_are_remembered_and_no_more(saves: list[tuple[str, int]], limit: int) -> None:
    """Each with its highest version since it was remembered."""
    seen = seen_of(limit)
    model: dict[str, int] = {}
    for key, version in saves:
        seen.saw("T", {"id": key}, version)
        model[key] = max(version, model.pop(key, 0))
        while len(model) > limit:
            del model[next(iter(model))]

    assert len(seen) == len(model)
    assert {key: seen.last("T", {"id": key}) for key in model} == model


def test_to_ask_for_a_key_keeps_it() -> None:
    seen = seen_of(2)
    for key in "ab":
        seen.saw("T", {"id": key}, 1)

    seen.last("T", {"id": "a"})
    seen.saw("T", {"id": "c"}, 1)

    assert seen.last("T", {"id": "a"}) == 1
    assert seen.last("T", {"id": "b"}) is None


def test_nothing_is_remembered_of_a_table_whose_key_is_unknown() -> None:
    seen = Seen()

    seen.saw("T", {"id": "a"}, 1)

    assert len(seen) == 0
    assert seen.last("T", {"id": "a"}) is None
