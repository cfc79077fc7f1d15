"""What the memory adapter refuses, beyond what every server is held to."""

from __future__ import annotations

from typing import Any

import pytest

from dynamirror.core.values import Wire
from dynamirror.errors import InUseError, NotFoundError, RefusedError, ServiceError
from dynamirror.memory import MemoryDynamoDB

NAME = "Stories"
KEY: Wire = {"id": {"S": "a"}, "at": {"N": "1"}}
SCHEMA: Wire = {
    "TableName": NAME,
    "KeySchema": [
        {"AttributeName": "id", "KeyType": "HASH"},
        {"AttributeName": "at", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "at", "AttributeType": "N"},
        {"AttributeName": "author", "AttributeType": "S"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-author",
            "KeySchema": [{"AttributeName": "author", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture
def db() -> MemoryDynamoDB:
    """A region with one table, which has an index."""
    one = MemoryDynamoDB("eu-west-1", clock=lambda: 1_700_000_000_000, account="123456789012")
    one.perform("CreateTable", SCHEMA)
    return one


ONE = {"ExpressionAttributeValues": {":one": {"N": "1"}}}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("CreateTable", {**SCHEMA, "TableName": "a b"}),
        ("CreateTable", {**SCHEMA, "TableName": "Other", "GlobalSecondaryIndexes": []}),
        ("CreateTable", {**SCHEMA, "TableName": "Other", "KeySchema": SCHEMA["KeySchema"][::-1]}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "author": {"N": "1"}}}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "author": {"S": ""}}}),
        ("PutItem", {"TableName": NAME, "Item": [KEY]}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "v": "text"}}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "v": {"NULL": False}}}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "v": {"S": 1}}}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "v": {"L": {}}}}),
        ("PutItem", {"TableName": NAME, "Item": {**KEY, "v": {"X": "1"}}}),
        ("PutItem", {"TableName": "", "Item": KEY}),
        ("PutItem", {"TableName": NAME, "Item": KEY, "ConditionExpression": 1}),
        ("PutItem", {"TableName": NAME, "Item": KEY, "ExpressionAttributeNames": {}}),
        ("PutItem", {"TableName": NAME, "Item": KEY, "ExpressionAttributeNames": {"n": "n"}}),
        ("PutItem", {"TableName": NAME, "Item": KEY, "ExpressionAttributeValues": {}}),
        ("PutItem", {"TableName": NAME, "Item": KEY, "ExpressionAttributeValues": {"n": {}}}),
        ("PutItem", {"TableName": NAME, "Item": KEY, "ReturnValuesOnConditionCheckFailure": "X"}),
        (
            "UpdateItem",
            {"TableName": NAME, "Key": KEY, "UpdateExpression": "SET author = :one", **ONE},
        ),
        ("BatchWriteItem", {"RequestItems": {NAME: [{}]}}),
        ("TransactWriteItems", {"TransactItems": [{}]}),
        ("TransactWriteItems", {"TransactItems": [{"Get": {"TableName": NAME, "Key": KEY}}]}),
        (
            "TransactWriteItems",
            {"TransactItems": [{"ConditionCheck": {"TableName": NAME, "Key": KEY}}]},
        ),
        ("Scan", {"TableName": NAME, "Segment": 1}),
        ("Scan", {"TableName": NAME, "Segment": 2, "TotalSegments": 2}),
        ("Scan", {"TableName": NAME, "Limit": 0}),
        ("Query", {"TableName": NAME, "KeyConditionExpression": "id > :one", **ONE}),
        ("Query", {"TableName": NAME, "KeyConditionExpression": "id = :one", **ONE}),
        ("Query", {"TableName": NAME, "KeyConditionExpression": "at = :one", **ONE}),
        ("Query", {"TableName": NAME, "KeyConditionExpression": "id <> :one", **ONE}),
        ("Query", {"TableName": NAME, "KeyConditionExpression": "author = :one", **ONE}),
        ("Query", {"TableName": NAME, "KeyConditionExpression": "attribute_exists(id)"}),
        ("ListStreams", {"Limit": 101}),
        ("GetRecords", {"ShardIterator": "a|b"}),
        (
            "UpdateTable",
            {
                "TableName": NAME,
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "ALL"},
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_faulty_request_is_refused(
    db: MemoryDynamoDB, operation: str, request_: dict[str, Any]
) -> None:
    """As the service does, and without any effect."""
    with pytest.raises(RefusedError):
        db.perform(operation, request_)

    assert db.table(NAME).contents() == []


def test_a_fault_inside_a_transaction_is_a_reason(db: MemoryDynamoDB) -> None:
    """An update that doesn't fit the item cancels the transaction, and says which it was."""
    update = {"TableName": NAME, "Key": KEY, "UpdateExpression": "SET n = n + :one", **ONE}

    with pytest.raises(ServiceError) as canceled:
        db.perform("TransactWriteItems", {"TransactItems": [{"Update": update}]})

    assert b'"Code":"ValidationError"' in canceled.value.body


def test_a_token_belongs_to_one_transaction(db: MemoryDynamoDB) -> None:
    """Another transaction with the token of an earlier one is refused."""
    put = {"Put": {"TableName": NAME, "Item": KEY}}
    delete = {"Delete": {"TableName": NAME, "Key": KEY}}
    db.perform("TransactWriteItems", {"TransactItems": [put], "ClientRequestToken": "t"})

    with pytest.raises(RefusedError, match="Idempotent"):
        db.perform("TransactWriteItems", {"TransactItems": [delete], "ClientRequestToken": "t"})


def test_a_table_goes_by_its_arn_too(db: MemoryDynamoDB) -> None:
    """Where a name is asked for, the ARN of the region's own table will do."""
    arn = db.perform("DescribeTable", {"TableName": NAME})["Table"]["TableArn"]
    assert arn == "arn:aws:dynamodb:eu-west-1:123456789012:table/Stories"

    db.perform("PutItem", {"TableName": arn, "Item": KEY})

    assert db.table(NAME).contents() == [KEY]
    with pytest.raises(NotFoundError):
        db.perform("ListTagsOfResource", {"ResourceArn": f"{arn}x"})
    with pytest.raises(NotFoundError):
        db.table("Unknown")
    assert "eu-west-1" in repr(db)
    assert "1 items" in repr(db.table(NAME))


def test_indexes_and_settings_are_remembered(db: MemoryDynamoDB) -> None:
    """A table's description tells what it was made and changed with."""

    def described() -> Wire:
        table: Wire = db.perform("DescribeTable", {"TableName": NAME})["Table"]
        return table

    assert [one["IndexStatus"] for one in described()["GlobalSecondaryIndexes"]] == ["ACTIVE"]
    index = SCHEMA["GlobalSecondaryIndexes"][0] | {"IndexName": "second"}
    throughput = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
    for change in (
        {"Create": index},
        {"Update": {"IndexName": "second", "ProvisionedThroughput": throughput}},
        {"Delete": {"IndexName": "by-author"}},
    ):
        db.perform("UpdateTable", {"TableName": NAME, "GlobalSecondaryIndexUpdates": [change]})
    db.perform(
        "UpdateTable",
        {
            "TableName": NAME,
            "AttributeDefinitions": SCHEMA["AttributeDefinitions"],
            "BillingMode": "PROVISIONED",
            "ProvisionedThroughput": throughput,
            "TableClass": "STANDARD_INFREQUENT_ACCESS",
            "DeletionProtectionEnabled": True,
        },
    )

    found = described()
    (left,) = found["GlobalSecondaryIndexes"]
    assert (left["IndexName"], left["ProvisionedThroughput"]) == ("second", throughput)
    assert found["BillingModeSummary"] == {"BillingMode": "PROVISIONED"}
    assert found["ProvisionedThroughput"] == throughput
    assert found["TableClassSummary"] == {"TableClass": "STANDARD_INFREQUENT_ACCESS"}
    with pytest.raises(RefusedError, match="protected"):
        db.perform("DeleteTable", {"TableName": NAME})
    with pytest.raises(InUseError):
        db.perform("CreateTable", SCHEMA)


def test_a_stream_never_has_the_label_of_another(db: MemoryDynamoDB) -> None:
    """Off and on again within a millisecond is a new stream all the same."""
    on = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    for wanted in (on, {"StreamEnabled": False}, on):
        db.perform("UpdateTable", {"TableName": NAME, "StreamSpecification": wanted})

    listed = db.perform("ListStreams", {"Limit": 1})
    rest = db.perform("ListStreams", {"ExclusiveStartStreamArn": listed["LastEvaluatedStreamArn"]})

    arns = [one["StreamArn"] for one in listed["Streams"] + rest["Streams"]]
    assert len(set(arns)) == len(arns) == 2
    assert db.perform("DescribeTable", {"TableName": NAME})["Table"]["LatestStreamArn"] == arns[1]


def test_tables_are_listed_in_pages(db: MemoryDynamoDB) -> None:
    """By name, each once."""
    db.perform("CreateTable", {**SCHEMA, "TableName": "Archive"})

    first = db.perform("ListTables", {"Limit": 1})
    second = db.perform("ListTables", {"ExclusiveStartTableName": first["LastEvaluatedTableName"]})

    assert first["TableNames"] + second["TableNames"] == ["Archive", NAME]
    assert "LastEvaluatedTableName" not in second


def test_expiry_is_switched_off_by_its_name(db: MemoryDynamoDB) -> None:
    """Only the attribute that it is on for can switch it off."""

    def switch(name: str, *, enabled: bool) -> None:
        wanted = {"AttributeName": name, "Enabled": enabled}
        db.perform("UpdateTimeToLive", {"TableName": NAME, "TimeToLiveSpecification": wanted})

    switch("expires_at", enabled=True)
    with pytest.raises(RefusedError):
        switch("expires_at", enabled=True)
    with pytest.raises(RefusedError):
        switch("other", enabled=False)
    switch("expires_at", enabled=False)
    assert db.table(NAME).ttl_attribute is None


def test_a_read_shows_what_it_was_asked_for(db: MemoryDynamoDB) -> None:
    """Projections of single and batched reads."""
    db.perform("PutItem", {"TableName": NAME, "Item": {**KEY, "n": {"N": "1"}, "o": {"N": "2"}}})
    wanted = {"ProjectionExpression": "#n", "ExpressionAttributeNames": {"#n": "n"}}

    assert db.perform("GetItem", {"TableName": NAME, "Key": KEY, **wanted}) == {
        "Item": {"n": {"N": "1"}}
    }
    batch = db.perform("BatchGetItem", {"RequestItems": {NAME: {"Keys": [KEY], **wanted}}})
    assert batch["Responses"] == {NAME: [{"n": {"N": "1"}}]}
    with pytest.raises(RefusedError):
        db.perform(
            "GetItem",
            {"TableName": NAME, "Key": KEY, **wanted, "ConsistentRead": True}
            | {"ExpressionAttributeNames": {"#n": "n", "#o": "o"}},
        )
