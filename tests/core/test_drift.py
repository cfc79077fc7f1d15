"""Two items are the same exactly if DynamoDB holds them equal, whatever way they are told apart."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from decimal import Context, Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.images import ITEMS, KEYS

from dynamirror.core.drift import End, Kind, Sight, sampled
from dynamirror.core.rank import Peers
from dynamirror.core.stamp import Marks, Stamp
from dynamirror.core.values import Wire, canonical_number, encode, key_of

ONE_WAY = Sight("us-east-1", "eu-west-1")
PEERS = Peers(["us-east-1", "eu-west-1"])
MARKS = Marks(PEERS, "version", "_mirror")
TWO_WAY = Sight("us-east-1", "eu-west-1", ("_mirror",), MARKS)

EXACT = Context(prec=400)


def native(value: Wire) -> Any:
    """Return a value as Python knows it, whose equality owes nothing to our canonical forms."""
    ((kind, body),) = value.items()
    as_python: dict[str, Callable[[Any], Any]] = {
        "N": Decimal,
        "NS": lambda members: frozenset(map(Decimal, members)),
        "B": b64decode,
        "BS": lambda members: frozenset(map(b64decode, members)),
        "SS": frozenset,
        "L": lambda members: list(map(native, members)),
        "M": lambda members: {name: native(member) for name, member in members.items()},
    }
    return kind, as_python[kind](body) if kind in as_python else body


def respelled(value: Wire, chance: Random) -> Wire:
    """Return the value as another server might spell it."""
    ((kind, body),) = value.items()
    match kind:
        case "N":
            plain = canonical_number(body)
            other = f"{EXACT.create_decimal(body) * 1:e}"
            return {"N": chance.choice([plain, f"{plain}{'' if '.' in plain else '.'}0", other])}
        case "NS" | "SS" | "BS":
            return {kind: chance.sample(body, len(body))}
        case "L":
            return {kind: [respelled(member, chance) for member in body]}
        case "M":
            return {kind: shuffled(body, chance)}
        case _:
            return {kind: body}


def shuffled(item: Wire, chance: Random) -> Wire:
    names = chance.sample(list(item), len(item))
    return {name: respelled(item[name], chance) for name in names}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Wire, Wire]:
    """Draw two items: mostly two spellings of one, or of one and the same but for an attribute."""
    one = draw(ITEMS)
    how = draw(st.integers(0, 2))
    if how == 0:
        return one, draw(ITEMS)
    other = dict(one)
    if how == 1:
        other |= draw(ITEMS)
    return one, shuffled(other, draw(st.randoms(use_true_random=False)))


@given(pairs())
def test_equal_is_what_dynamodb_holds_equal(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    equal = {name: native(value) for name, value in one.items()} == {
        name: native(value) for name, value in other.items()
    }
    raws = [msgspec.Raw(encode(item)) for item in pair]

    assert ONE_WAY.same(one, other) == equal
    assert ONE_WAY.same(raws[0], raws[1]) == equal
    digests = [ONE_WAY.digest(raw, end) for raw, end in zip(raws, End, strict=True)]
    assert (digests[0] == digests[1]) == equal
    assert bool(ONE_WAY.differing(one, other)) != equal


@given(pairs(), ITEMS)
def test_being_the_same_is_an_equivalence(pair: tuple[Wire, Wire], third: Wire) -> None:
    one, other = pair
    same = ONE_WAY.same
    assert same(one, one)
    assert same(one, other) == same(other, one)
    for last in (third, one, other):
        if same(one, other) and same(other, last):
            assert same(one, last)


@given(ITEMS, ITEMS)
def test_of_items_with_the_same_keys_only_keys_may_be_compared(one: Wire, other: Wire) -> None:
    sight = Sight("us-east-1", "eu-west-1", keys_only=True)
    assert sight.same(one, other)
    assert sight.digest(one, End.SOURCE) == sight.digest(other, End.TARGET)
    assert not sight.same(one, None)
    assert not sight.same(None, other)


def test_what_only_the_target_has_may_be_none_of_our_business() -> None:
    lenient = Sight("us-east-1", "eu-west-1", extras=False)
    assert not ONE_WAY.same(None, {"id": {"S": "a"}})
    assert lenient.same(None, {"id": {"S": "a"}})
    assert not lenient.same({"id": {"S": "a"}}, None)


def test_drift_is_named_as_the_target_sees_it() -> None:
    image = {"id": {"S": "a"}}
    assert ONE_WAY.kind(image, None) is Kind.MISSING
    assert ONE_WAY.kind(None, image) is Kind.EXTRA
    assert ONE_WAY.kind(image, image) is Kind.DIFFERENT


def test_a_mark_of_ours_is_overlooked_and_a_users_attribute_of_that_name_is_not() -> None:
    sight = Sight("us-east-1", "eu-west-1", ("_mirror_seq",))
    image = {"id": {"S": "a"}}
    marked = {**image, "_mirror_seq": {"S": f"{1:010}#{7:040}"}}
    theirs = {**image, "_mirror_seq": {"S": "theirs"}}

    assert sight.same(image, marked)
    assert sight.digest(image, End.SOURCE) == sight.digest(marked, End.TARGET)
    assert sight.differing(image, theirs) == ["_mirror_seq"]
    assert sight.digest(image, End.SOURCE) != sight.digest(theirs, End.TARGET)


@pytest.mark.parametrize("origin", PEERS.names)
def test_replicas_are_the_same_if_content_and_rank_are(origin: str) -> None:
    """Where an item was made it has no stamp; elsewhere one that says so."""
    made = {"id": {"S": "a"}, "version": {"N": "5"}}
    stamped = {**made, "_mirror": MARKS.wire(Stamp(PEERS.rank(5, origin)))}
    older = {**made, "_mirror": MARKS.wire(Stamp(PEERS.rank(4, origin)))}
    here = origin == "us-east-1"
    one, other = (made, stamped) if here else (stamped, made)

    assert TWO_WAY.same(one, other)
    assert TWO_WAY.digest(one, End.SOURCE) == TWO_WAY.digest(other, End.TARGET)
    # The same content, but both say that it was made here: two ranks.
    assert TWO_WAY.differing(made, made) == ["_mirror"]
    assert TWO_WAY.digest(made, End.SOURCE) != TWO_WAY.digest(made, End.TARGET)
    assert TWO_WAY.differing(*((made, older) if here else (older, made))) == ["_mirror"]


@given(KEYS, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_sample_has_all_of_a_smaller_one(keys: Wire, one: float, other: float) -> None:
    key, (low, high) = key_of(keys), sorted([one, other])
    assert sampled(key, 1)
    assert not sampled(key, 0)
    assert sampled(key, low) <= sampled(key, high)


def test_a_sample_is_about_as_large_as_asked_for() -> None:
    taken = sum(sampled(("S", f"item {number}"), 0.1) for number in range(20_000))
    assert 1_800 < taken < 2_200
