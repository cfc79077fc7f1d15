from __future__ import annotations

import pytest
from tests.engine.regions import SOURCE, TARGET

from dynamirror.config.model import Guard, OneWay, Side, Unversioned
from dynamirror.core.values import Wire
from dynamirror.engine.tables import sample
from dynamirror.engine.tables.findings import Severity
from dynamirror.memory import items


def test_items_are_measured_as_the_service_does() -> None:
    """Sizes are those that count against 400 KB, to within a byte per number."""
    item: Wire = {
        "id": {"S": "ä"},
        "n": {"N": "-12.50"},
        "b": {"B": "AP8="},
        "l": {"L": [{"BOOL": True}, {"NULL": True}, {"NS": ["1", "22"]}]},
        "m": {"M": {"x": {"SS": ["a", "bb"]}, "y": {"BS": ["AP8=", "AA=="]}}},
    }

    assert abs(sample.item_bytes(item) - items.item_bytes(item)) <= 3


VERSIONS: list[tuple[Wire | None, Severity | None, str]] = [
    ({"N": "1800000000000"}, None, ""),
    ({"N": "7"}, Severity.NOTE, "a plain counter"),
    (None, Severity.FINDING, "gives them one"),
    ({"N": "-1"}, Severity.FINDING, "can't be mirrored"),
    ({"N": "1.5"}, Severity.FINDING, "can't be mirrored"),
    ({"S": "7"}, Severity.FINDING, "can't be mirrored"),
]


@pytest.mark.parametrize(("version", "severity", "what"), VERSIONS)
def test_a_use_that_does_not_fit_two_way_is_told(
    version: Wire | None, severity: Severity | None, what: str
) -> None:
    """Items without a version, with one that is no whole number, with a counter's."""
    side = Side(name="stories", source=SOURCE, targets=(TARGET,), replicas=(SOURCE, TARGET))
    item: Wire = {"id": {"S": "a"}} if version is None else {"id": {"S": "a"}, "version": version}

    found = list(sample.findings(side, [item]))

    assert [one.severity for one in found] == [severity] * (severity is not None)
    assert what in "".join(one.what for one in found)


def test_items_without_versions_are_told_more_of_where_they_are_only_reported() -> None:
    """With unversioned = "report" they are not mirrored at all."""
    side = Side(
        name="stories",
        source=SOURCE,
        targets=(TARGET,),
        replicas=(SOURCE, TARGET),
        unversioned=Unversioned.REPORT,
    )

    (found,) = sample.findings(side, [{"id": {"S": "a"}}])

    assert "they are not mirrored" in found.what


def _of_size(size: int) -> Wire:
    return {"id": {"S": "a"}, "body": {"S": "x" * (size - 7)}}


@pytest.mark.parametrize(
    ("size", "severity"),
    [(1_000, None), (380_000, Severity.NOTE), (400 * 1_024 - 40, Severity.FINDING)],
)
@pytest.mark.parametrize("two_way", [False, True])
def test_items_near_the_limit_are_told(
    size: int, severity: Severity | None, *, two_way: bool
) -> None:
    """What is ours on an item takes room: an item that fits at the source may not fit beside it."""
    side = Side(name="stories", source=SOURCE, targets=(TARGET,), replicas=(SOURCE, TARGET))
    one_way = OneWay(name="stories", source=SOURCE, targets=(TARGET,), guard=Guard.ITEM)
    item = {**_of_size(size), "version": {"N": "1800000000000"}}

    found = list(sample.findings(side if two_way else one_way, [item]))

    assert [one.severity for one in found] == [severity] * (severity is not None)


def test_exact_copies_need_no_room() -> None:
    """With guard order nothing of ours is on an item, and its size is no matter."""
    one_way = OneWay(name="stories", source=SOURCE, targets=(TARGET,))

    assert list(sample.findings(one_way, [_of_size(400 * 1_024 - 40)])) == []
