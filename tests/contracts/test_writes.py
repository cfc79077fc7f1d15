"""Single writes: conditions, what they return, what they leave in the stream."""

from __future__ import annotations

import json

import pytest
from tests.contracts.conftest import TableHelper

from dynamirror.core.values import Wire
from dynamirror.errors import ConditionFailedError, RefusedError

KEY = {"id": {"S": "a"}}


def names_of(records: list[Wire]) -> list[str]:
    return [record["eventName"] for record in records]


def test_a_change_is_recorded_once_with_both_images(table: TableHelper) -> None:
    """An insert has no old image, a removal no new one, a change has both."""
    first, second = {**KEY, "n": {"N": "1"}}, {**KEY, "n": {"N": "2"}, "s": {"SS": ["x"]}}
    table.put(first)
    table.put(second)
    table.delete(KEY)

    records = table.changes_of(KEY)

    images = [(one["dynamodb"].get("OldImage"), one["dynamodb"].get("NewImage")) for one in records]
    assert names_of(records) == ["INSERT", "MODIFY", "REMOVE"]
    assert images == [(None, first), (first, second), (second, None)]


def test_a_record_says_where_it_comes_from(table: TableHelper) -> None:
    """Keys, view type, whole seconds, a number of 21 to 40 digits."""
    profile = table.service.profile
    table.put(KEY)

    (record,) = table.changes_of(KEY)

    change = record["dynamodb"]
    assert record["eventSource"] == profile.event_source
    assert record["awsRegion"] == (profile.record_region or table.stream_arn.split(":")[3])
    assert "userIdentity" not in record
    assert change["Keys"] == KEY
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert change["ApproximateCreationDateTime"] == int(change["ApproximateCreationDateTime"])
    assert change["SequenceNumber"].isdigit()
    digits = profile.sequence_digits
    assert len(change["SequenceNumber"]) in (range(21, 41) if digits is None else [digits])
    assert (change.get("SizeBytes", 0) > 0) is profile.record_bytes_told


def test_writes_that_change_nothing_leave_no_record(table: TableHelper) -> None:
    """The same put again, an update to what is there, a delete of what isn't: no record."""
    item = {**KEY, "n": {"N": "1"}, "l": {"L": [{"S": "x"}]}}
    table.put(item)
    table.put(item)
    table.update(KEY, "SET n = :n", ExpressionAttributeValues={":n": {"N": "1"}})
    table.update(KEY, "REMOVE nothing")
    table.delete({"id": {"S": "never there"}})

    assert names_of(table.changes_of(KEY)) == ["INSERT"]
    assert table.changes_of({"id": {"S": "never there"}}) == []


def test_an_equal_item_spelled_differently_is_no_change(table: TableHelper) -> None:
    """1.0 is 1, and a set has no order."""
    table.put({**KEY, "n": {"N": "1"}, "s": {"SS": ["x", "y"]}})
    table.put({**KEY, "n": {"N": "1.00"}, "s": {"SS": ["y", "x"]}})

    recorded = names_of(table.changes_of(KEY)) == ["INSERT", "MODIFY"]

    assert recorded is table.service.profile.respelled_writes_recorded


def test_sequence_numbers_of_an_item_grow(table: TableHelper) -> None:
    """They grow as numbers, whatever their texts do."""
    for version in range(30):
        table.put({**KEY, "v": {"N": str(version)}})

    numbers = [int(one["dynamodb"]["SequenceNumber"]) for one in table.changes_of(KEY)]

    assert len(numbers) == 30
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("view_type", "images"),
    [
        ("KEYS_ONLY", []),
        ("NEW_IMAGE", ["NewImage"]),
        ("OLD_IMAGE", ["OldImage"]),
        ("NEW_AND_OLD_IMAGES", ["NewImage", "OldImage"]),
    ],
)
def test_a_stream_shows_what_its_view_type_says(
    make_table: object, view_type: str, images: list[str]
) -> None:
    """Images that the view type leaves out are not there."""
    assert callable(make_table)
    table: TableHelper = make_table(view_type=view_type)
    table.put(KEY)
    table.put({**KEY, "n": {"N": "1"}})
    table.service.wait(lambda: len(table.records()) >= 2)

    changes = [one["dynamodb"] for one in table.records()]

    assert {name for one in changes for name in one if name in ("NewImage", "OldImage")} == set(
        images
    )
    assert {one["StreamViewType"] for one in changes} == {view_type}


def test_a_condition_decides(table: TableHelper) -> None:
    """A write whose condition fails changes nothing."""
    table.put(KEY, ConditionExpression="attribute_not_exists(id)")

    for write in (table.put, table.delete):
        with pytest.raises(ConditionFailedError) as refused:
            write(KEY, ConditionExpression="attribute_not_exists(id)")
        assert refused.value.code == "ConditionalCheckFailedException"
        assert "Item" not in json.loads(refused.value.body)
    assert table.get(KEY) == KEY


def test_a_failed_condition_can_show_the_item(table: TableHelper) -> None:
    """ALL_OLD puts what is there into the error; where nothing is there, nothing."""
    item = {**KEY, "n": {"N": "7"}, "b": {"B": "AQ=="}}
    table.put(item)

    for key, seen in ((KEY, item), ({"id": {"S": "none"}}, None)):
        with pytest.raises(ConditionFailedError) as refused:
            table.update(
                key,
                "SET n = :n",
                ConditionExpression="n < :n",
                ExpressionAttributeValues={":n": {"N": "7.0"}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        assert json.loads(refused.value.body).get("Item") == seen


def test_a_guarded_put_orders_by_padded_text(table: TableHelper) -> None:
    """The condition of the one-way guard: absent or lower is overwritten, equal or higher not."""
    guarded = {
        "ConditionExpression": "attribute_not_exists(#q) OR #q < :q",
        "ExpressionAttributeNames": {"#q": "_mirror_seq"},
    }

    def put(number: int) -> Wire:
        mark = {"S": f"{1:010d}#{number:040d}"}
        return table.put(
            {**KEY, "_mirror_seq": mark}, ExpressionAttributeValues={":q": mark}, **guarded
        )

    put(9)
    put(10)
    for late in (9, 10):
        with pytest.raises(ConditionFailedError):
            put(late)
    put(10**21)


def test_returned_values(table: TableHelper) -> None:
    """ALL_OLD, ALL_NEW, UPDATED_OLD, UPDATED_NEW and nothing."""
    old = {**KEY, "n": {"N": "1"}, "m": {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}}
    assert table.put(old, ReturnValues="ALL_OLD") == {}
    assert table.put(old, ReturnValues="ALL_OLD") == {"Attributes": old}

    def returned(kind: str) -> object:
        table.put(old)
        return table.update(
            KEY,
            "SET n = n + :n, m.x = :n",
            ExpressionAttributeValues={":n": {"N": "5"}},
            ReturnValues=kind,
        ).get("Attributes")

    assert returned("NONE") is None
    assert returned("ALL_OLD") == old
    assert returned("ALL_NEW") == {
        **KEY,
        "n": {"N": "6"},
        "m": {"M": {"x": {"N": "5"}, "y": {"N": "2"}}},
    }
    assert returned("UPDATED_OLD") == {"n": {"N": "1"}, "m": {"M": {"x": {"N": "1"}}}}
    assert returned("UPDATED_NEW") == {"n": {"N": "6"}, "m": {"M": {"x": {"N": "5"}}}}
    assert table.delete(KEY, ReturnValues="ALL_OLD")["Attributes"]["n"] == {"N": "6"}
    assert table.delete(KEY, ReturnValues="ALL_OLD") == {}


def test_an_update_makes_a_missing_item_unless_it_only_takes_away(table: TableHelper) -> None:
    """SET and ADD insert, REMOVE and DELETE don't; without an expression the key alone is put."""
    table.update({"id": {"S": "set"}}, "SET a = :a", ExpressionAttributeValues={":a": {"N": "1"}})
    table.update({"id": {"S": "add"}}, "ADD a :a", ExpressionAttributeValues={":a": {"N": "1"}})
    table.ask("UpdateItem", Key={"id": {"S": "key"}})

    assert table.get({"id": {"S": "set"}}) == {"id": {"S": "set"}, "a": {"N": "1"}}
    assert table.get({"id": {"S": "add"}}) == {"id": {"S": "add"}, "a": {"N": "1"}}
    assert table.get({"id": {"S": "key"}}) == {"id": {"S": "key"}}


def test_an_update_leaves_the_key_alone(table: TableHelper) -> None:
    """A key attribute can't be updated, not even to itself."""
    with pytest.raises(RefusedError):
        table.update(KEY, "SET id = :a", ExpressionAttributeValues={":a": {"S": "a"}})


@pytest.mark.parametrize(
    "request_",
    [
        {"ConditionExpression": "a = :gone"},
        {"ConditionExpression": "#gone = :a", "ExpressionAttributeValues": {":a": {"N": "1"}}},
        {
            "ConditionExpression": "a = :a",
            "ExpressionAttributeValues": {":a": {"N": "1"}, ":b": {"N": "1"}},
        },
        {"ConditionExpression": "attribute_exists(a)", "ExpressionAttributeNames": {"#n": "n"}},
        {"ExpressionAttributeNames": {"#n": "n"}},
        {"ExpressionAttributeValues": {":a": {"N": "1"}}},
        {"ConditionExpression": ""},
        {"ConditionExpression": "a ="},
        {"ReturnValues": "ALL_NEW"},
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_refused(table: TableHelper, request_: Wire) -> None:
    """Undefined or unused placeholders, broken expressions, values of the wrong type."""
    with pytest.raises(RefusedError) as refused:
        table.put(KEY, **request_)

    assert refused.value.code == "ValidationException"
    assert table.get(KEY) is None


@pytest.mark.parametrize(
    ("condition", "value"), [("a < :a", {"BOOL": True}), ("a = :a", {"SS": []})]
)
def test_a_value_that_can_never_fit_is_refused(
    table: TableHelper, condition: str, value: Wire
) -> None:
    """A fault in the request itself is a refusal, not a condition that fails."""
    with pytest.raises((RefusedError, ConditionFailedError)) as refused:
        table.put(KEY, ConditionExpression=condition, ExpressionAttributeValues={":a": value})

    checked = isinstance(refused.value, RefusedError)
    assert checked is table.service.profile.expressions_exact


def test_sums_have_38_digits(table: TableHelper) -> None:
    """Counters are exact as far as numbers go, and refused beyond."""
    table.put({**KEY, "n": {"N": "1" + "0" * 37}})
    one = {"ExpressionAttributeValues": {":one": {"N": "1"}}}

    answer = table.update(KEY, "ADD n :one", ReturnValues="UPDATED_NEW", **one)

    exact = answer["Attributes"] == {"n": {"N": "1" + "0" * 36 + "1"}}
    assert exact is table.service.profile.sums_exact


@pytest.mark.parametrize("number", ["9E125", "1E38"])
def test_a_sum_that_is_no_number_is_refused(table: TableHelper, number: str) -> None:
    """Too large, or of more than 38 digits."""
    table.put({**KEY, "n": {"N": number}})
    other = number if number == "9E125" else "1"

    try:
        table.update(KEY, "ADD n :n", ExpressionAttributeValues={":n": {"N": other}})
    except RefusedError:
        refused = True
    else:
        refused = False

    assert refused is (table.service.profile.sums_exact or number == "9E125")
