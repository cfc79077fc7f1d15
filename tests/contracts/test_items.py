"""What an item may hold, and what comes back of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from tests.contracts.conftest import TableHelper

from dynamirror.core.values import Wire, same
from dynamirror.errors import RefusedError

KEY = {"id": {"S": "a"}}


def nested(levels: int) -> Wire:
    """Return a value of so many maps, one in another, and a leaf."""
    value: Wire = {"S": "leaf"}
    for _ in range(levels):
        value = {"M": {"m": value}}
    return value


VALUES = [
    {"S": ""},
    {"S": 'ß 日本 \U0001f600 "quoted" \\ \n'},
    {"N": "0"},
    {"N": "-1.5"},
    {"N": "12345678901234567890123456789012345678"},
    {"N": "0." + "0" * 129 + "1"},
    {"N": "9" * 38 + "0" * 88},
    {"B": ""},
    {"B": b64encode(bytes(range(256))).decode()},
    {"BOOL": True},
    {"BOOL": False},
    {"NULL": True},
    {"SS": ["a", "", "ß"]},
    {"NS": ["-1", "2", "12345678901234567890123456789012345678"]},
    {"BS": ["", "AQ=="]},
    {"L": []},
    {"M": {}},
    {"L": [{"N": "1"}, {"L": [{"NULL": True}]}, {"M": {"m": {"S": "x"}}}]},
    {"M": {"a.b": {"S": "x"}, "#": {"BOOL": True}}},
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_every_type_comes_back_as_it_went_in(table: TableHelper, value: Wire) -> None:
    """An item read is the item written."""
    item = {**KEY, "v": value}
    table.put(item)

    found = table.get(KEY)

    assert found is not None
    assert same(found, item)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1.0", "1"),
        ("001", "1"),
        ("1E2", "100"),
        ("-0", "0"),
        ("+5", "5"),
        ("1.50e-3", "0.0015"),
        (".5", "0.5"),
        ("0E10", "0"),
    ],
)
def test_a_number_has_one_spelling(table: TableHelper, written: str, stored: str) -> None:
    """However a number was written, it is read back in plain decimals."""
    table.put({**KEY, "n": {"N": written}})

    assert table.get(KEY) == {**KEY, "n": {"N": stored}}


@pytest.mark.parametrize(
    "value",
    [
        {"N": "123456789012345678901234567890123456789"},
        {"N": "1E126"},
        {"N": "1E-131"},
        {"N": "one"},
        {"N": ""},
        {"N": "NaN"},
        {"N": "Infinity"},
        {"N": "1_000"},
        {"N": " 1"},
        {"SS": []},
        {"NS": []},
        {"BS": []},
        {"SS": ["a", "a"]},
        {"NS": ["1", "1.0"]},
        {"S": "a", "N": "1"},
        {},
    ],
    ids=str,
)
def test_what_is_no_value_is_refused(table: TableHelper, value: Wire) -> None:
    """A value that the service can't hold is refused for good, and nothing is written."""
    with pytest.raises(RefusedError):
        table.put({**KEY, "v": value})

    assert table.get(KEY) is None


def test_binary_that_is_no_base64_is_refused(table: TableHelper) -> None:
    """Binary travels as base64, and anything else is refused."""
    try:
        table.put({**KEY, "v": {"B": "not base64!"}})
    except RefusedError:
        checked = True
    else:
        checked = False

    assert checked is table.service.profile.base64_checked


def test_nesting_ends_at_32_levels(table: TableHelper) -> None:
    """An attribute is level 1: a leaf on level 32 is taken, one on level 33 refused."""
    item = {**KEY, "m": nested(31)}
    table.put(item)
    assert table.get(KEY) == item

    with pytest.raises(RefusedError):
        table.put({**KEY, "m": nested(32)})


def test_an_item_has_at_most_400_kb(table: TableHelper) -> None:
    """Names count, values count, and 400 KB is the last size taken."""
    room = 400 * 1024 - len("id") - len("a") - len("v")
    table.put({**KEY, "v": {"S": "x" * room}})

    with pytest.raises(RefusedError):
        table.put({**KEY, "v": {"S": "x" * (room + 1)}})


@pytest.mark.parametrize(
    "item",
    [
        {"other": {"S": "a"}},
        {"id": {"S": ""}},
        {"id": {"N": "1"}},
        {"id": {"S": "x" * 2049}},
        {"id": {"NULL": True}},
    ],
    ids=["missing", "empty", "of another type", "too long", "null"],
)
def test_a_key_must_be_of_its_schema(table: TableHelper, item: Wire) -> None:
    """An item without a proper key is refused."""
    with pytest.raises(RefusedError):
        table.put(item)


@pytest.mark.parametrize("key", [{}, {"id": {"S": "a"}, "more": {"S": "b"}}, {"id": {"N": "1"}}])
def test_a_request_names_the_whole_key_and_nothing_else(table: TableHelper, key: Wire) -> None:
    """Get, update and delete take exactly the key attributes."""
    for operation in ("GetItem", "DeleteItem", "UpdateItem"):
        with pytest.raises(RefusedError):
            table.ask(operation, Key=key)


@pytest.mark.parametrize(
    ("keys", "item"),
    [
        ("id:N", {"id": {"N": "-1.5"}}),
        ("id:B", {"id": {"B": "AQ=="}}),
        ("id:S at:N", {"id": {"S": "a"}, "at": {"N": "10"}}),
        ("id:B at:B", {"id": {"B": "AQ=="}, "at": {"B": "Ag=="}}),
    ],
)
def test_numbers_and_binaries_are_keys_too(
    make_table: Callable[..., TableHelper], keys: str, item: dict[str, Any]
) -> None:
    """Every key type finds its item again."""
    table = make_table(keys=keys)
    table.put(item)

    found = table.get(item)

    assert found is not None
    assert same(found, item)


def test_a_number_key_is_found_by_its_value(make_table: Callable[..., TableHelper]) -> None:
    """10.00 is the key of the item that was written as 10."""
    table = make_table(keys="id:N")
    table.put({"id": {"N": "10"}})

    found = table.get({"id": {"N": "10.00"}}) == {"id": {"N": "10"}}

    assert found is table.service.profile.number_keys_found_by_value
