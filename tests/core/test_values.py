"""When two numbers, keys, items are the same, and that ours never run together."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.images import ITEMS, KEYS, NUMBERS, TEXTS, VALUES

from dynamirror.core.values import (
    ROW_KEY_BYTES_MAX,
    Key,
    canonical,
    canonical_number,
    differing,
    encode,
    key_of,
    opened,
    raw,
    row_key,
    same,
)

PARTS = st.tuples(st.sampled_from("SNB"), TEXTS)
MIRRORS = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)


@given(NUMBERS, NUMBERS)
def test_two_numbers_have_one_spelling_exactly_if_they_are_equal(one: str, other: str) -> None:
    assert (canonical_number(one) == canonical_number(other)) == (Decimal(one) == Decimal(other))


@given(NUMBERS, st.integers(0, 60))
def test_a_numbers_spelling_is_plain_exact_and_final(text: str, zeros: int) -> None:
    """No digit is lost, no exponent stays, and other spellings of the value give the same."""
    plain = canonical_number(text)

    assert Decimal(plain) == Decimal(text)
    assert set(plain) <= set("-0123456789.")
    assert canonical_number(plain) == plain
    assert canonical_number(f"{plain}{'' if '.' in plain else '.'}{'0' * zeros}") == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [("10.0", "10"), ("1E1", "10"), ("-0", "0"), ("0E5", "0"), ("007", "7"), (".50", "0.5")],
)
def test_spellings_of_a_number(text: str, plain: str) -> None:
    assert canonical_number(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "NaN",
        "Infinity",
        "-inf",
        "1_0",
        " 1",
        "1\n",
        "\u0661",
        "\u00b2",
        "1e",
        "1E9999999999",
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    """Neither Python's liberties nor a number that would fill the memory pass for one."""
    with pytest.raises(ValueError, match="not a number"):
        canonical_number(text)


@given(KEYS, KEYS)
def test_keys_are_the_same_exactly_if_their_values_are(one: dict[str, Any], other: Any) -> None:
    names = dict(zip(sorted(one), sorted(other), strict=False))
    if len(one) != len(other):
        assert key_of(one) != key_of(other)
        return
    equal = all(canonical(one[mine]) == canonical(other[theirs]) for mine, theirs in names.items())
    assert (key_of(one) == key_of(other)) == equal


@given(KEYS)
def test_a_key_does_not_depend_on_the_order_of_its_attributes(keys: dict[str, Any]) -> None:
    assert key_of(dict(reversed(keys.items()))) == key_of(keys)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"a": {}},
        {"a": "text"},
        {"a": {"S": "x", "N": "1"}},
        {"a": {"BOOL": True}},
        {"a": {"S": 1}},
        {"a": {"N": "x"}},
        {"a": {"S": "x"}, "b": {"M": {}}},
        {"a": {"S": "x"}, "b": {"S": "y"}, "c": {"S": "z"}},
    ],
)
def test_what_is_no_key_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"key|number"):
        key_of(keys)


def test_a_refused_key_does_not_tell_its_value() -> None:
    """What stands where a key should be may be secret, or 400 KB."""
    with pytest.raises(ValueError, match="key") as caught:
        key_of({"a": {"BINARY": "secret" * 99}})

    assert "secret" not in str(caught.value)


@given(
    MIRRORS,
    MIRRORS,
    st.lists(PARTS, min_size=1, max_size=2),
    st.lists(PARTS, min_size=1, max_size=2),
)
def test_rows_of_different_items_or_mirrors_never_meet(
    one: str, other: str, left: list[tuple[str, str]], right: list[tuple[str, str]]
) -> None:
    mine: Key = tuple(text for part in left for text in part)
    theirs: Key = tuple(text for part in right for text in part)

    equal = (one, mine) == (other, theirs)
    assert (row_key(one, mine) == row_key(other, theirs)) == equal


def test_a_text_in_a_key_cannot_pass_for_two_parts() -> None:
    assert row_key("m", ("S", "aS:1:b")) != row_key("m", ("S", "a", "S", "b"))


@given(st.integers(ROW_KEY_BYTES_MAX - 30, ROW_KEY_BYTES_MAX + 30), st.sampled_from("aé€"))
def test_a_rows_key_fits_a_partition_key_and_stays_one_to_one(size: int, letter: str) -> None:
    text = letter * (size // len(letter.encode()))
    keys = [row_key("m", ("S", text[: len(text) - cut])) for cut in range(3)]

    assert all(len(key.encode()) <= ROW_KEY_BYTES_MAX for key in keys)
    assert len(set(keys)) == 3


def test_the_longest_row_key_in_the_clear_has_exactly_the_limit() -> None:
    room = ROW_KEY_BYTES_MAX - len("m#S:2041:")

    assert row_key("m", ("S", "a" * room)) == f"m#S:{room}:{'a' * room}"
    assert row_key("m", ("S", "a" * (room + 1))).startswith("m#SHA-256:")


@given(VALUES, VALUES)
def test_canonical_forms_can_be_kept_in_a_set(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert len({canonical(one), canonical(other)}) == (
        1 if canonical(one) == canonical(other) else 2
    )


def test_what_dynamodb_holds_equal_is_the_same() -> None:
    """Numbers by value; sets without order; maps without order of names; lists with theirs."""
    one = {
        "n": {"N": "1.0"},
        "ns": {"NS": ["1", "2.0"]},
        "ss": {"SS": ["a", "b"]},
        "bs": {"BS": ["YQ==", "Yg=="]},
        "m": {"M": {"a": {"N": "10"}, "b": {"L": [{"N": "1"}]}}},
    }
    other = {
        "m": {"M": {"b": {"L": [{"N": "1E0"}]}, "a": {"N": "1E1"}}},
        "bs": {"BS": ["Yg==", "YQ=="]},
        "ss": {"SS": ["b", "a"]},
        "ns": {"NS": ["2", "1"]},
        "n": {"N": "1"},
    }

    assert same(one, msgspec.Raw(encode(other)))
    assert same(one, one)


def test_what_differs_is_named() -> None:
    one = {"a": {"N": "1"}, "b": {"S": "1"}, "l": {"L": [{"N": "1"}, {"N": "2"}]}, "e": {"S": "x"}}
    other = {
        "a": {"N": "2"},
        "b": {"N": "1"},
        "l": {"L": [{"N": "2"}, {"N": "1"}]},
        "f": {"S": "x"},
    }

    assert differing(one, other) == ["a", "b", "e", "f", "l"]
    assert not same(one, other)


def test_neighbouring_types_are_not_the_same() -> None:
    values = [{"S": "1"}, {"N": "1"}, {"B": "1"}, {"SS": ["1"]}, {"NS": ["1"]}, {"BS": ["1"]}]
    forms = [canonical(value) for value in (*values, {"L": [{"S": "1"}]}, {"BOOL": True})]

    assert all(one != other for one, other in pairwise(forms))
    assert len(set(forms)) == len(forms)


@given(ITEMS)
def test_an_image_is_the_same_parsed_or_not(item: dict[str, Any]) -> None:
    unparsed = msgspec.Raw(encode(item))

    assert opened(unparsed) == item == opened(item)
    assert raw(unparsed) == bytes(unparsed) == raw(item)
