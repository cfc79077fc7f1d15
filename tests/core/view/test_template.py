"""A composed key can be read back, so two items of a source never meet in one of a target."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.values import Wire, canonical_number
from dynamirror.core.view.template import Template
from dynamirror.errors import UnfitError

TEXTS = st.text("ab#{}", max_size=4)
TEMPLATES = ["{a}#{b}", "X{a}#{b}Y", "{a}##{b}", "{{{a}}}-{b}", "p{a}", "{b}#{a}z"]


@pytest.mark.parametrize("text", TEMPLATES)
@given(a=TEXTS, b=TEXTS)
def test_what_was_written_can_be_read_back(text: str, a: str, b: str) -> None:
    """Or is refused: a value that holds what ends it would be read back as two."""
    template = Template(text)
    item = {"a": {"S": a}, "b": {"S": b}}
    try:
        written = template.written(item)
    except UnfitError:
        return

    assert template.read(written) == {name: item[name] for name in template.names}


@pytest.mark.parametrize("text", TEMPLATES)
@given(key=TEXTS)
def test_a_key_that_is_read_was_written_so(text: str, key: str) -> None:
    """No key of somebody else's is taken for one of ours."""
    template = Template(text)
    read = template.read({"S": key})

    if read is not None:
        with contextlib.suppress(UnfitError):  # nobody can have written it: the lens asks too
            assert template.written(read) == {"S": key}


@pytest.mark.parametrize(
    ("text", "value"), [("{n}", {"N": "7"}), ("{n}", {"B": "AQ=="}), ("{n}", {"S": ""})]
)
def test_an_attribute_by_itself_keeps_its_type(text: str, value: Wire) -> None:
    """A number stays a number, and sorts as one."""
    assert Template(text).written({"n": value}) == value
    assert Template(text).read(value) == {"n": value}


def test_numbers_are_written_in_one_way() -> None:
    """However the service spells them."""
    assert Template("n#{n}").written({"n": {"N": "7.00"}}) == {"S": f"n#{canonical_number('7')}"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{a}{b}", "touch"),
        ("{a}-{a}", "twice"),
        ("{a", "position 0 has no partner"),
        ("a}", "position 1 has no partner"),
        ("{}", "position 0 has no partner"),
    ],
)
def test_a_template_that_could_not_be_read_back_is_refused(text: str, told: str) -> None:
    """With what is wrong, and where."""
    assert any(told in fault for fault in Template(text).faults())


@pytest.mark.parametrize("text", TEMPLATES)
def test_templates_that_can_be_read_back_have_no_fault(text: str) -> None:
    """Text before, between and after attributes, and doubled braces, are fine."""
    assert not list(Template(text).faults())


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"a": {"S": "x#y"}, "b": {"S": "z"}}, "ends its value"),
        ({"a": {"S": "x"}}, "no text, number or binary 'b'"),
        ({"a": {"S": "x"}, "b": {"BOOL": True}}, "no text, number or binary 'b'"),
    ],
)
def test_an_item_that_has_no_such_key_is_refused(item: Wire, told: str) -> None:
    """It is parked, or stops the mirror; never written under a wrong key."""
    with pytest.raises(UnfitError, match=told):
        Template("{a}#{b}").written(item)
    assert Template("{a}#{b}").prefix == ""


def test_an_empty_key_is_refused() -> None:
    """DynamoDB takes none."""
    with pytest.raises(UnfitError, match="empty"):
        Template("").written({})
