"""update_item and delete_item: any update, and one version more."""

from __future__ import annotations

from typing import Any

import pytest
from tests.writer.store import Store

from dynamirror.writer import OutpacedError, RefusedWriteError
from dynamirror.writer.operations import TRIES_MAX

KEY = {"Key": {"id": "a"}}


@pytest.mark.parametrize(
    ("expression", "left"),
    [
        ("SET #w = :n", {"w": 1, "x": 2}),
        ("set #w=:n,y=:n", {"w": 1, "x": 2, "y": 1}),
        ("SET #w = if_not_exists(#w, :n) + :n", {"w": 2, "x": 2}),
        ("ADD x :n SET #w = x", {"w": 2, "x": 3}),
        ("REMOVE #w ADD x :n", {"x": 3}),
        ("REMOVE x, #w SET y = :n", {"y": 1}),
        ("SET #set = :n REMOVE #w", {"SET": 1, "x": 2}),
    ],
)
def test_an_update_does_what_it_did_and_raises_the_version(
    store: Store, expression: str, left: dict[str, int]
) -> None:
    """Whatever clauses it has, in whatever order and case."""
    store.given(x=2, version=7)
    names = {"#w": "w", "#set": "SET"}

    store.call(
        "update_item",
        **KEY,
        UpdateExpression=expression,
        ExpressionAttributeNames={one: names[one] for one in names if one in expression},
        ExpressionAttributeValues={":n": 1},
    )

    assert store.held() == {"id": "a", "version": 8, **left}


def test_an_item_made_by_an_update_is_one_above_the_present(store: Store) -> None:
    store.call(
        "update_item",
        **KEY,
        UpdateExpression="SET x = :x",
        ExpressionAttributeValues={":x": "y"},
    )

    assert store.held() == {"id": "a", "x": "y", "version": 1_001}


def test_an_item_without_a_version_gets_the_hybrid_one(store: Store) -> None:
    store.given(x=1)

    store.call("update_item", **KEY, UpdateExpression="REMOVE x")

    assert store.held() == {"id": "a", "version": 1_001}


def test_an_update_without_an_expression_raises_the_version(store: Store) -> None:
    """It creates the item if it isn't there, as ever."""
    store.call("update_item", **KEY)
    store.call("update_item", **KEY)

    assert store.held() == {"id": "a", "version": 1_002}


@pytest.mark.parametrize("condition", [{}, {"ConditionExpression": "attribute_not_exists(id)"}])
def test_taking_away_creates_no_version(store: Store, condition: dict[str, str]) -> None:
    """An update that only removes does to a missing item what it did unversioned: on DynamoDB
    nothing, while the embedded server leaves the bare key.
    """
    request = {**KEY, "UpdateExpression": "REMOVE x, y", "ReturnValues": "ALL_OLD", **condition}

    answer = store.call("update_item", **request)
    assert "version" not in store.held()
    assert not answer.get("Attributes")

    store.given(x=1, version=7)
    if condition:
        assert "Item" not in store.refused("update_item", **request)
        assert store.version() == 7
    else:
        assert store.call("update_item", **request)["Attributes"]["version"] == 7
        assert store.held() == {"id": "a", "version": 8}


def test_taking_away_under_a_condition_that_no_missing_item_meets_fails(store: Store) -> None:
    request = {**KEY, "UpdateExpression": "REMOVE x", "ConditionExpression": "attribute_exists(x)"}

    assert "Item" not in store.refused("update_item", **request)
    assert store.held() == {}
    assert len(store.requests.of("UpdateItem")) == 2


def test_taking_away_from_an_item_that_comes_and_goes_ends(store: Store) -> None:
    def come_and_go(_: str, params: dict[str, Any]) -> None:
        if "attribute_exists" in params["ConditionExpression"]:
            store.plain.delete_item(TableName=store.name, Key={"id": {"S": "a"}})
        else:
            store.given(x=1)

    store.requests.before = come_and_go
    with pytest.raises(OutpacedError):
        store.call("update_item", **KEY, UpdateExpression="REMOVE x")

    assert len(store.requests.of("UpdateItem")) == TRIES_MAX


def test_the_callers_condition_and_names_are_kept(store: Store) -> None:
    store.given(version=7, x=1)
    request = {
        **KEY,
        "UpdateExpression": "SET #mirror_name = :mirror_value",
        "ConditionExpression": "x = :mirror_value OR x = :other",
        "ExpressionAttributeNames": {"#mirror_name": "x"},
        "ExpressionAttributeValues": {":mirror_value": 3, ":other": 1},
    }

    store.call("update_item", **request, expect=7)
    assert store.held() == {"id": "a", "x": 3, "version": 8}
    store.refused("update_item", **request, expect=7)
    request["ExpressionAttributeValues"] = {":mirror_value": 1, ":other": 2}
    store.refused("update_item", **request)

    assert store.held() == {"id": "a", "x": 3, "version": 8}


def test_expecting_no_version_creates(store: Store) -> None:
    store.call("update_item", **KEY, expect=None)

    store.refused("update_item", **KEY, expect=None)
    store.refused("update_item", **KEY, expect=0)


@pytest.mark.parametrize(
    ("wanted", "attributes"),
    [
        ("ALL_OLD", {"id": "a", "x": 1, "version": 7}),
        ("ALL_NEW", {"id": "a", "x": 2, "version": 8}),
        ("UPDATED_OLD", {"x": 1, "version": 7}),
        ("UPDATED_NEW", {"x": 2, "version": 8}),
        ("NONE", None),
    ],
)
def test_return_values_tell_the_version_where_they_tell_what_was_updated(
    store: Store, wanted: str, attributes: dict[str, Any] | None
) -> None:
    """And what was told counts as seen: the next put is above it at once."""
    store.given(x=1, version=5_007 if wanted == "ALL_NEW" else 7)
    if wanted == "ALL_NEW":
        attributes = {"id": "a", "x": 2, "version": 5_008}

    answer = store.call(
        "update_item",
        **KEY,
        UpdateExpression="SET x = :x",
        ExpressionAttributeValues={":x": 2},
        ReturnValues=wanted,
    )

    assert answer.get("Attributes") == attributes
    if wanted == "ALL_NEW":
        store.put()
        assert store.version() == 5_009


@pytest.mark.parametrize("expression", ["ADD version :n", "SET x = :n, #v = :n", "REMOVE #v"])
def test_an_update_that_writes_the_version_itself_is_refused(store: Store, expression: str) -> None:
    with pytest.raises(RefusedWriteError, match="leave that part out"):
        store.call(
            "update_item",
            **KEY,
            UpdateExpression=expression,
            ExpressionAttributeNames={"#v": "version"},
            ExpressionAttributeValues={":n": 1},
        )


def test_an_update_that_cannot_be_read_is_refused_with_the_place(store: Store) -> None:
    with pytest.raises(RefusedWriteError, match=r"found 'PUT' .at position 0"):
        store.call("update_item", **KEY, UpdateExpression="PUT x = :n")


def test_legacy_parameters_are_refused_with_what_to_write(store: Store) -> None:
    with pytest.raises(RefusedWriteError, match="instead of AttributeUpdates, write UpdateExpr"):
        store.call("update_item", **KEY, AttributeUpdates={}, Expected={})

    assert store.requests.sent == []


def test_a_delete_is_sent_as_it_was_given(store: Store) -> None:
    """The mirror ranks it; it needs no version."""
    store.given(version=7)

    answer = store.call("delete_item", **KEY, ReturnValues="ALL_OLD")

    assert answer["Attributes"]["version"] == 7
    assert store.held() == {}
    assert store.requests.of("DeleteItem")[0].keys() <= {"Key", "TableName", "ReturnValues"}


def test_a_delete_may_expect_a_version(store: Store) -> None:
    store.given(version=7, x=1)
    request = {
        **KEY,
        "ConditionExpression": "x = :x OR x = :x",
        "ExpressionAttributeValues": {":x": 1},
    }

    store.refused("delete_item", **request, expect=6)
    store.call("delete_item", **request, expect=7)

    assert store.held() == {}


def test_a_delete_of_an_item_with_a_bad_version_is_done(store: Store) -> None:
    """What was written is answered; nothing is raised after the fact."""
    store.given(version="one")

    store.call("delete_item", **KEY, ReturnValues="ALL_OLD")
    store.given(version=3)
    store.call("get_item", **KEY)

    assert store.version() == 3
