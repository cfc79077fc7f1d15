"""Marks order changes; they go onto items and come off again without touching anything else."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.images import ITEMS, NAMES, SEQUENCE_NUMBERS

from dynamirror.core import marks
from dynamirror.core.marks import is_ours, mark, marked, stripped
from dynamirror.core.values import decode, encode, opened
from dynamirror.errors import UnfitError

EPOCHS = st.integers(0, 10**10 - 1)
MARK = mark(1, 42)


@given(EPOCHS, SEQUENCE_NUMBERS, EPOCHS, SEQUENCE_NUMBERS)
def test_marks_order_as_dynamodb_compares_strings(
    epoch: int, number: int, other_epoch: int, other_number: int
) -> None:
    """First the stream, then the place in it; a re-created stream outranks the one before."""
    one, other = mark(epoch, number).encode(), mark(other_epoch, other_number).encode()

    assert (one < other) == ((epoch, number) < (other_epoch, other_number))
    assert (one == other) == ((epoch, number) == (other_epoch, other_number))


@given(ITEMS, NAMES)
def test_an_items_mark_is_the_same_parsed_or_not(item: dict[str, Any], name: str) -> None:
    """However a server spells names and texts in JSON."""
    plain = {key: value for key, value in item.items() if key != name}
    for spelling in (encode(plain), json.dumps(plain).encode()):
        one = (
            opened(marked(msgspec.Raw(spelling), name, MARK))
            if plain
            else marked(plain, name, MARK)
        )
        assert one == marked(plain, name, MARK) == {**plain, name: {"S": MARK}}


@given(ITEMS, NAMES)
def test_taking_marks_off_is_the_same_parsed_or_not(item: dict[str, Any], name: str) -> None:
    held = {**item, name: {"S": MARK}}
    rest = {key: value for key, value in item.items() if key != name}

    assert stripped(held, (name, "absent")) == rest
    for spelling in (encode(held), json.dumps(held).encode()):
        assert opened(stripped(msgspec.Raw(spelling), (name, "absent"))) == rest


@pytest.mark.parametrize("name", ["a/b", "_mirror_seq", "é", "a\nb"])
def test_a_name_is_found_in_every_spelling_of_json(name: str) -> None:
    """JSON may spell any letter as an escape, and a slash with a backslash."""
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in name)
    for inside in (escaped, name.replace("/", "\\/").replace("\n", "\\n")):
        image = msgspec.Raw(b'{"id":{"S":"a"},"%b":{"S":"%b"}}' % (inside.encode(), MARK.encode()))
        assert opened(stripped(image, (name,))) == {"id": {"S": "a"}}
        again = marked(image, name, mark(2, 1))
        assert opened(again) == {"id": {"S": "a"}, name: {"S": mark(2, 1)}}
        assert raw_names(again) == sorted(["id", name])


def raw_names(image: Any) -> list[str]:
    """Return all names in an image, one that occurs twice twice."""
    text = encode(image)
    return sorted(json.loads(text, object_pairs_hook=lambda pairs: [name for name, _ in pairs]))


@given(ITEMS)
def test_an_image_without_our_names_is_never_parsed(item: dict[str, Any]) -> None:
    """It may be 400 KB; and what isn't parsed can't be changed by it."""
    image = msgspec.Raw(b'{"broken":' + encode({"S": "x"})[:-1])

    assert stripped(image, ("_mirror", "_mirror_seq")) is image
    one = marked(image, "_mirror_seq", MARK)
    assert bytes(one).endswith(bytes(image)[1:])  # type: ignore[arg-type]
    if not item.keys() & {"_mirror", "_mirror_seq"}:
        assert stripped(item, ("_mirror", "_mirror_seq")) is item


def test_a_caller_keeps_the_dict_it_passed() -> None:
    """Lambda's event belongs to Lambda: other mirrors read it too."""
    item = {"id": {"S": "a"}, "_mirror_seq": {"S": MARK}}
    before = dict(item)

    stripped(item, ("_mirror_seq",))
    marked(item, "_mirror_seq", mark(1, 43))

    assert item == before


@pytest.mark.parametrize("parsed", [True, False])
def test_a_users_own_attribute_of_our_name_is_not_overwritten(*, parsed: bool) -> None:
    item = {"id": {"S": "a"}, "_mirror_seq": {"S": "mine"}}
    image = item if parsed else msgspec.Raw(encode(item))

    assert stripped(image, ("_mirror_seq",)) is image
    with pytest.raises(UnfitError, match="'_mirror_seq' that is not ours"):
        marked(image, "_mirror_seq", MARK)


def test_our_name_deep_inside_or_in_a_text_is_not_ours() -> None:
    item = {"id": {"S": '"_mirror_seq"'}, "m": {"M": {"_mirror_seq": {"S": MARK}}}}
    image = msgspec.Raw(encode(item))

    assert stripped(image, ("_mirror_seq",)) is image
    assert opened(marked(image, "_mirror_seq", MARK)) == {**item, "_mirror_seq": {"S": MARK}}


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ({"S": MARK}, True),
        ({"S": MARK + "0"}, False),
        ({"S": MARK + "\n"}, False),
        ({"S": "x"}, False),
        ({"N": "1"}, False),
        ({"M": {"version": {"N": "1"}, "origin": {"S": "us-east-1"}}}, True),
        ({"M": {"version": {"N": "1"}}}, False),
    ],
)
def test_a_mark_or_stamp_is_told_by_its_shape(value: dict[str, Any], ours: bool) -> None:  # noqa: FBT001
    assert is_ours(value) is ours


def test_marked_bytes_are_json() -> None:
    image = marked(msgspec.Raw(b'{"id":{"S":"a"}}'), 'we"ird', MARK)

    assert decode(bytes(image)) == {'we"ird': {"S": MARK}, "id": {"S": "a"}}  # type: ignore[arg-type]
    assert marks.STAMP_ATTRIBUTE == "_mirror"
