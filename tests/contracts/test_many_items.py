"""Requests for many items: batches, transactions, scans, queries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.contracts.conftest import TableHelper

from dynamirror.core.values import Wire
from dynamirror.errors import NotFoundError, RefusedError, TransactionCanceledError

NEEDS_TRANSACTIONS = pytest.mark.needs("TransactWriteItems")

CANCELED = "TransactionCanceledException"


def item(number: int, **more: Wire) -> Wire:
    return {"id": {"S": f"k{number}"}, "n": {"N": str(number)}, **more}


def key(number: int) -> Wire:
    return {"id": {"S": f"k{number}"}}


def put_request(number: int) -> Wire:
    return {"PutRequest": {"Item": item(number)}}


def write_batch(table: TableHelper, requests: list[Wire]) -> Wire:
    return table.service.ask("BatchWriteItem", RequestItems={table.name: requests})


def transact(table: TableHelper, *actions: Wire, **request: Any) -> Wire:
    named = [
        {kind: {"TableName": table.name, **body}} for one in actions for kind, body in one.items()
    ]
    return table.service.ask("TransactWriteItems", TransactItems=named, **request)


def fill(table: TableHelper, count: int) -> None:
    for start in range(0, count, 25):
        write_batch(table, [put_request(n) for n in range(start, min(start + 25, count))])


def pages(table: TableHelper, operation: str, **request: Any) -> list[Wire]:
    """Return all pages of a scan or query."""
    found = [table.ask(operation, **request)]
    while start := found[-1].get("LastEvaluatedKey"):
        found.append(table.ask(operation, ExclusiveStartKey=start, **request))
    return found


def test_a_batch_writes_25_items(table: TableHelper) -> None:
    """Puts and deletes of different items, without order; nothing is left."""
    fill(table, 25)
    answer = write_batch(
        table, [put_request(30)] + [{"DeleteRequest": {"Key": key(n)}} for n in range(24)]
    )

    assert answer["UnprocessedItems"] == {}
    assert table.get(key(24)) == item(24)
    assert table.get(key(30)) == item(30)
    assert table.get(key(3)) is None


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [put_request(n) for n in range(26)],
        [put_request(1), put_request(1)],
        [put_request(1), {"DeleteRequest": {"Key": key(1)}}],
        [put_request(1), {"PutRequest": {"Item": {"id": {"S": ""}}}}],
    ],
    ids=["none", "26", "twice", "put and delete", "one bad"],
)
def test_a_batch_that_breaks_the_rules_writes_nothing(
    table: TableHelper, requests: list[Wire]
) -> None:
    """1 to 25 requests, each item once, all of them valid."""
    with pytest.raises(RefusedError):
        write_batch(table, requests)

    assert table.get(key(1)) is None


def test_a_batch_reads_100_items(table: TableHelper) -> None:
    """Those that are there come back, in any order; the limit is 100 keys, each once."""
    fill(table, 50)

    def read(keys: list[Wire]) -> Wire:
        request = {table.name: {"Keys": keys, "ConsistentRead": True}}
        return table.service.ask("BatchGetItem", RequestItems=request)

    answer = read([key(n) for n in range(100)])
    found = sorted(answer["Responses"][table.name], key=lambda one: int(one["n"]["N"]))
    assert found == [item(n) for n in range(50)]
    assert answer["UnprocessedKeys"] == {}
    for keys in ([], [key(n) for n in range(101)], [key(1), key(1)]):
        with pytest.raises(RefusedError):
            read(keys)


@NEEDS_TRANSACTIONS
def test_a_transaction_is_all_or_nothing(table: TableHelper) -> None:
    """Every reason is told in the order of the requests, with the item if asked for."""
    table.put(item(1))
    actions = (
        {"Put": {"Item": item(2)}},
        {
            "ConditionCheck": {
                "Key": key(1),
                "ConditionExpression": "n > :n",
                "ExpressionAttributeValues": {":n": {"N": "5"}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
        {"Delete": {"Key": key(3), "ConditionExpression": "attribute_exists(id)"}},
        {
            "Update": {
                "Key": key(4),
                "UpdateExpression": "SET n = :n",
                "ExpressionAttributeValues": {":n": {"N": "4"}},
            }
        },
    )

    with pytest.raises(TransactionCanceledError) as canceled:
        transact(table, *actions)

    reasons = json.loads(canceled.value.body)["CancellationReasons"]
    assert canceled.value.code == CANCELED
    assert [reason["Code"] for reason in reasons] == [
        "None",
        "ConditionalCheckFailed",
        "ConditionalCheckFailed",
        "None",
    ]
    assert [reason.get("Item") for reason in reasons] == [None, item(1), None, None]
    assert table.get(key(2)) is None
    table.put(item(1) | {"n": {"N": "6"}})
    table.put(item(3))

    transact(table, *actions)

    assert table.get(key(2)) == item(2)
    assert table.get(key(3)) is None
    assert table.get(key(4)) == item(4)


@NEEDS_TRANSACTIONS
def test_a_transaction_leaves_a_record_of_each_change(table: TableHelper) -> None:
    """The stream doesn't know transactions: one record per item that changed."""
    table.put(item(1))
    transact(
        table,
        {"Put": {"Item": item(1)}},
        {"Put": {"Item": item(2)}},
        {"Delete": {"Key": key(3)}},
    )

    assert [one["eventName"] for one in table.changes_of(key(1))] == ["INSERT"]
    assert [one["eventName"] for one in table.changes_of(key(2))] == ["INSERT"]
    assert table.changes_of(key(3)) == []


@NEEDS_TRANSACTIONS
@pytest.mark.parametrize(
    "actions",
    [
        [],
        [{"Put": {"Item": item(n)}} for n in range(101)],
        [{"Put": {"Item": item(1)}}, {"Delete": {"Key": key(1)}}],
        [{"Put": {"Item": item(1), "ConditionExpression": "n ="}}],
    ],
    ids=["none", "101", "one item twice", "broken expression"],
)
def test_a_transaction_that_breaks_the_rules_is_refused(
    table: TableHelper, actions: list[Wire]
) -> None:
    """1 to 100 requests, each item once."""
    with pytest.raises(RefusedError):
        transact(table, *actions)

    assert table.get(key(1)) is None


@NEEDS_TRANSACTIONS
def test_a_transaction_with_a_token_happens_once(table: TableHelper) -> None:
    """The same transaction sent again answers, and does nothing; a bare repetition acts again."""
    add = {
        "Update": {
            "Key": key(1),
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }
    for _ in range(2):
        transact(table, add, ClientRequestToken=f"{table.name}-token")
    for _ in range(2):
        transact(table, add)

    assert table.get(key(1)) == {**key(1), "n": {"N": "3"}}


def test_a_scan_sees_every_item_once(table: TableHelper) -> None:
    """Page by page, and the last page says so."""
    fill(table, 40)

    found = pages(table, "Scan", Limit=7, ConsistentRead=True)

    items = [one for page in found for one in page["Items"]]
    assert all(page["Count"] <= 7 for page in found)
    assert sorted(one["id"]["S"] for one in items) == sorted(f"k{n}" for n in range(40))


@pytest.mark.parametrize("segments", [1, 2, 7, 64])
def test_segments_share_a_table_out(table: TableHelper, segments: int) -> None:
    """Each item is in one segment, of however many; a page of a segment starts where one ended.
    Where segments mean nothing, each item is in every one.
    """
    fill(table, 40)
    times = 1 if table.service.profile.scans_by_segment else segments

    found = [
        one["id"]["S"]
        for segment in range(segments)
        for page in pages(table, "Scan", Segment=segment, TotalSegments=segments, Limit=3)
        for one in page["Items"]
    ]

    assert sorted(found) == sorted([f"k{n}" for n in range(40)] * times)


def test_a_scan_filters_projects_and_counts(table: TableHelper) -> None:
    """A filter hides items but not the work; a projection shows parts; COUNT shows none."""
    fill(table, 10)
    filtered: Wire = {
        "FilterExpression": "n >= :n",
        "ExpressionAttributeValues": {":n": {"N": "7"}},
    }

    answer = table.ask("Scan", ProjectionExpression="n", **filtered)
    counted = table.ask("Scan", Select="COUNT", **filtered)

    assert sorted(one["n"]["N"] for one in answer["Items"]) == ["7", "8", "9"]
    assert all(one.keys() == {"n"} for one in answer["Items"])
    assert (answer["Count"], answer["ScannedCount"]) == (3, 10)
    assert (counted["Count"], counted["ScannedCount"], "Items" in counted) == (3, 10, False)


def test_a_scan_goes_on_from_an_item_that_is_gone(table: TableHelper) -> None:
    """Removing items between pages loses and repeats none of the others."""
    fill(table, 20)
    seen: list[str] = []
    start: Wire = {}
    while True:
        page = table.ask("Scan", Limit=4, **start)
        seen += [one["id"]["S"] for one in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        table.delete(page["LastEvaluatedKey"])
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    assert sorted(seen) == sorted(f"k{n}" for n in range(20))


@pytest.mark.parametrize("segments", [1, 3])
def test_a_scan_goes_on_after_any_item_of_a_page(table: TableHelper, segments: int) -> None:
    """Not only after the page's last: a limit might have ended it at any."""
    fill(table, 20)
    for segment in range(segments):
        request = {"Segment": segment, "TotalSegments": segments, "ConsistentRead": True}
        whole = [one["id"] for one in table.ask("Scan", **request)["Items"]]
        for place, key in enumerate(whole, 1):
            rest = table.ask("Scan", **request, ExclusiveStartKey={"id": key})["Items"]
            assert [one["id"] for one in rest] == whole[place:]


def test_a_page_holds_1_mb(table: TableHelper) -> None:
    """A page ends at 1 MB, whatever its limit."""
    for number in range(6):
        table.put(item(number, big={"S": "x" * 300_000}))

    found = pages(table, "Scan")

    assert len(found) > 1
    assert all(page["Count"] <= 4 for page in found)
    assert sum(page["Count"] for page in found) == 6


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("id = :id", [-2, 0, 1, 2, 9, 10]),
        ("id = :id AND n < :low", [-2, 0, 1]),
        ("id = :id AND n <= :low", [-2, 0, 1, 2]),
        ("id = :id AND n = :low", [2]),
        ("n > :low AND id = :id", [9, 10]),
        ("id = :id AND n BETWEEN :low AND :high", [2, 9]),
    ],
)
def test_a_query_reads_a_partition_in_order(
    make_table: Callable[..., TableHelper], condition: str, expected: list[int], *, forward: bool
) -> None:
    """Sort keys are numbers in the order of numbers, forwards and backwards, in pages."""
    table = make_table(keys="id:S n:N")
    for number in (10, 9, 2, 1, 0, -2):
        table.put({"id": {"S": "p"}, "n": {"N": str(number)}})
        table.put({"id": {"S": "q"}, "n": {"N": str(number)}})
    values = {":id": {"S": "p"}, ":low": {"N": "2"}, ":high": {"N": "9"}}
    used = {name: value for name, value in values.items() if name in condition.split()}

    found = pages(
        table,
        "Query",
        KeyConditionExpression=condition,
        ExpressionAttributeValues=used,
        ScanIndexForward=forward,
        Limit=2,
    )

    numbers = [int(one["n"]["N"]) for page in found for one in page["Items"]]
    assert numbers == (expected if forward else expected[::-1])


def test_a_query_by_prefix(make_table: Callable[..., TableHelper]) -> None:
    """Text sort keys are found by how they begin, in the order of their bytes."""
    table = make_table(keys="id:S at:S")
    for at in ("a#2", "a#10", "A#1", "b#1", "ä#1", "a"):
        table.put({"id": {"S": "p"}, "at": {"S": at}})

    answer = table.ask(
        "Query",
        KeyConditionExpression="id = :id AND begins_with(#at, :at)",
        ExpressionAttributeNames={"#at": "at"},
        ExpressionAttributeValues={":id": {"S": "p"}, ":at": {"S": "a#"}},
    )

    assert [one["at"]["S"] for one in answer["Items"]] == ["a#10", "a#2"]


def test_a_table_that_is_not_there_is_not_found(table: TableHelper) -> None:
    """Every operation says so, and names it so."""
    missing = TableHelper(table.service, "no-such-table")
    calls: list[Callable[[], object]] = [
        lambda: missing.get(key(1)),
        lambda: missing.put(item(1)),
        lambda: missing.delete(key(1)),
        lambda: missing.ask("Scan"),
        lambda: missing.ask("DescribeTable"),
        lambda: write_batch(missing, [put_request(1)]),
    ]
    if "TransactWriteItems" not in table.service.profile.lacks:
        calls.append(lambda: transact(missing, {"Put": {"Item": item(1)}}))
    for call in calls:
        with pytest.raises(NotFoundError) as unknown:
            call()
        assert unknown.value.code == "ResourceNotFoundException"
