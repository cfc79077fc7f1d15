"""put_item: above what is there, and under the caller's conditions."""

from __future__ import annotations

from decimal import Decimal

import pytest
from boto3.dynamodb.conditions import Attr
from tests.writer.store import Store

from dynamirror.core.condition import parse_condition
from dynamirror.writer import OutpacedError, RefusedWriteError, VersionError
from dynamirror.writer.operations import TRIES_MAX

TRUE = {"ConditionExpression": "attribute_not_exists(absent) OR size(absent) = :n"}
FALSE = {"ConditionExpression": "attribute_exists(absent) OR size(absent) = :n"}
VALUES = {"ExpressionAttributeValues": {":n": 1}}


def test_a_new_item_has_the_present_time(store: Store) -> None:
    store.put(mood="new")

    assert store.held() == {"id": "a", "mood": "new", "version": 1_000}


def test_a_put_is_above_what_this_client_saw_without_trying(store: Store) -> None:
    """Two puts of one millisecond need two requests."""
    store.put()
    store.put()

    assert store.version() == 1_001
    assert len(store.requests.of("PutItem")) == 2


def test_a_put_is_above_what_another_client_saved(store: Store) -> None:
    """The version that stands in the way tells the next one."""
    store.given(version=5_000)

    store.put(mood="mine")

    assert store.held() == {"id": "a", "mood": "mine", "version": 5_001}
    assert len(store.requests.of("PutItem")) == 2


def test_a_version_read_is_a_version_seen(store: Store) -> None:
    store.given(version=5_000)

    store.call("get_item", Key={"id": "a"})
    store.put()

    assert store.version() == 5_001
    assert len(store.requests.of("PutItem")) == 1


def test_an_item_put_back_as_it_was_read_is_above_itself(store: Store) -> None:
    """The version in the item is one that the caller saw; it is not what is written."""
    store.given(version=5_000)
    item = {"id": "a", "version": Decimal(5_000), "mood": "edited"}

    store.call("put_item", Item=item)

    assert store.held() == {"id": "a", "mood": "edited", "version": 5_001}
    assert item["version"] == 5_000


@pytest.mark.parametrize("held", [900, 5_000], ids=["ours holds", "ours fails"])
@pytest.mark.parametrize("asked", [False, True])
def test_the_callers_condition_decides(store: Store, held: int, asked: bool) -> None:  # noqa: FBT001
    """Whether or not the version was in the way; the item is shown if asked for, and only then."""
    store.given(version=held, mood="old")
    shown = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if asked else {}

    response = store.refused("put_item", Item={"id": "a"}, **FALSE, **VALUES, **shown)
    assert ("Item" in response) is asked
    assert store.held() == {"id": "a", "mood": "old", "version": held}

    store.call("put_item", Item={"id": "a"}, **TRUE, **VALUES, **shown)
    assert store.version() == max(1_000, held + 1)


def test_a_failed_condition_on_an_item_that_is_not_there_is_the_callers(store: Store) -> None:
    response = store.refused(
        "put_item", Item={"id": "a"}, ConditionExpression="attribute_exists(id)"
    )

    assert "Item" not in response
    assert len(store.requests.of("PutItem")) == 1


@pytest.mark.parametrize(
    "condition",
    ["(mood = :a OR mood = :b)", "(mood = :a) OR (mood = :b)", "mood = :a OR mood = :b"],
)
def test_parentheses_are_neither_missed_nor_doubled(store: Store, condition: str) -> None:
    """The caller's OR stays together; the service refuses ((a OR b))."""
    values = {":a": "x", ":b": "y"}
    store.given(version=900, mood="x")
    request = {"ConditionExpression": condition, "ExpressionAttributeValues": values}

    store.call("put_item", Item={"id": "a", "mood": "z"}, **request)
    store.refused("put_item", Item={"id": "a", "mood": "x"}, **request)

    parse_condition(store.requests.of("PutItem")[-1]["ConditionExpression"])


def test_the_callers_placeholders_are_left_alone(store: Store) -> None:
    store.given(version=900, mood="x")

    store.call(
        "put_item",
        Item={"id": "a"},
        ConditionExpression="#mirror_name = :mirror_value AND NOT #v > :w",
        ExpressionAttributeNames={"#mirror_name": "mood", "#v": "version"},
        ExpressionAttributeValues={":mirror_value": "x", ":w": 900},
    )

    assert store.version() == 1_000


@pytest.mark.parametrize("store", ["resource"], indirect=True)
def test_boto3s_condition_objects_are_taken(store: Store) -> None:
    """Their terms, parentheses and values included."""
    store.given(version=5_000, mood="x", n=1)
    either = Attr("mood").eq("x") | Attr("mood").eq("y")

    store.call("put_item", Item={"id": "a", "mood": "z"}, ConditionExpression=either)
    store.refused("put_item", Item={"id": "a"}, ConditionExpression=either & Attr("n").lt(3))

    assert store.version() == 5_001


def test_what_is_no_condition_is_refused(store: Store) -> None:
    with pytest.raises(RefusedWriteError, match="Attr and Key"):
        store.call("put_item", Item={"id": "a"}, ConditionExpression=object())


def test_return_values_are_the_callers(store: Store) -> None:
    store.put(mood="one")

    assert "Attributes" not in store.put(mood="two")
    answer = store.call("put_item", Item={"id": "a", "mood": "three"}, ReturnValues="ALL_OLD")

    assert answer["Attributes"] == {"id": "a", "mood": "two", "version": 1_001}


def test_an_item_created_again_is_above_the_one_deleted(store: Store) -> None:
    """A delete counts as a version; so the new item is two above the old, whatever the clock."""
    store.given(version=5_000)
    store.call("get_item", Key={"id": "a"})
    store.call("delete_item", Key={"id": "a"})

    store.put()
    assert store.version() == 5_002

    store.call("delete_item", Key={"id": "a"}, ReturnValues="ALL_OLD")
    store.call("update_item", Key={"id": "a"})
    assert store.version() > 5_003


@pytest.mark.parametrize("expect", [900, Decimal(900), {"N": "900"}])
def test_expect_saves_over_that_version_only(store: Store, expect: object) -> None:
    store.given(version=900)

    store.call("put_item", Item={"id": "a"}, expect=expect)
    assert store.version() == 1_000

    response = store.refused("put_item", Item={"id": "a"}, expect=expect)
    assert "Item" not in response
    assert len(store.requests.of("PutItem")) == 2


@pytest.mark.parametrize("expect", [None, 0])
def test_expecting_no_version_creates(store: Store, expect: int | None) -> None:
    """0 is the version of an item without one."""
    store.call("put_item", Item={"id": "a"}, expect=expect)
    store.refused("put_item", Item={"id": "a"}, expect=expect)

    store.given(version=0)
    if expect == 0:
        store.call("put_item", Item={"id": "a"}, expect=0)
    else:
        store.refused("put_item", Item={"id": "a"}, expect=None)


def test_expect_and_the_callers_condition_must_both_hold(store: Store) -> None:
    store.given(version=900, mood="x")
    request = {"Item": {"id": "a"}, "ExpressionAttributeValues": {":t": "x"}}

    store.refused("put_item", **request, ConditionExpression="NOT mood = :t", expect=900)
    store.refused("put_item", **request, ConditionExpression="mood = :t", expect=901)
    store.call("put_item", **request, ConditionExpression="mood = :t", expect=900)

    assert store.version() == 1_000


def test_tries_end(store: Store) -> None:
    """Where others are faster each time, the write says so instead of trying for ever."""
    store.given(version=5_000)

    def outpace(_: str, __: object) -> None:
        store.given(version=store.version() + 10_000)

    store.requests.before = outpace
    with pytest.raises(OutpacedError, match=f"{TRIES_MAX} times"):
        store.put()

    assert len(store.requests.of("PutItem")) == TRIES_MAX


@pytest.mark.parametrize("held", ["mood", Decimal(-1), Decimal("1e37"), Decimal("2000.5")])
def test_a_version_that_is_none_is_named(store: Store, held: object) -> None:
    """Where it is in the way, and where the caller hands it in."""
    store.given(version=held)
    blocking = held != Decimal(-1)

    if blocking:
        with pytest.raises(VersionError, match="'version' of an item of writer-"):
            store.put()
    with pytest.raises(VersionError, match="an integer from 0 to"):
        store.put(version=held)


def test_there_is_an_end_to_versions(store: Store) -> None:
    store.given(version=Decimal(10**37 - 1))

    with pytest.raises(VersionError, match="no higher version"):
        store.put()


def test_legacy_parameters_are_refused_with_what_to_write(store: Store) -> None:
    for name in ("Expected", "ConditionalOperator"):
        with pytest.raises(RefusedWriteError, match=f"instead of {name}, write ConditionExpr"):
            store.call("put_item", Item={"id": "a"}, **{name: {}})

    assert store.requests.sent == []


def test_another_attribute_may_be_the_version(store: Store) -> None:
    writer = store.another(version_attribute="size of it")

    store.put(by=writer)

    assert store.held() == {"id": "a", "size of it": 1_000}


def test_only_the_named_tables_are_versioned(store: Store) -> None:
    """By name, or each with its own version attribute."""
    store.put(by=store.another(tables=["other"]))
    assert store.held() == {"id": "a"}
    with pytest.raises(RefusedWriteError, match="items have none"):
        store.call("put_item", by=store.another(tables=["other"]), Item={"id": "a"}, expect=1)

    store.put(by=store.another(tables={store.name: "rev"}))
    assert store.held() == {"id": "a", "rev": 1_000}


def test_a_client_that_may_not_describe_tables_saves_all_the_same(store: Store) -> None:
    """Without the key's names it remembers nothing, and asks the item instead."""

    def deny(operation: str, params: dict[str, object]) -> None:
        if operation == "DescribeTable":
            params["TableName"] = "no-such-table"

    store.requests.before = deny
    store.put()
    store.put()

    assert store.version() == 1_001
    assert len(store.requests.of("DescribeTable")) == 1
    assert len(store.requests.of("PutItem")) == 3
