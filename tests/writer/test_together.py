"""Many writers at once: whatever they do, an item's version only rises."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.servers import Server
from tests.writer.store import Store, arguments, code, wire

WRITERS = 4
SAVES = 25
KEYS = ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(3))
def test_concurrent_writers_never_lower_a_version(
    client_store: Store, server: Server, seed: int
) -> None:
    """Clients with clocks of their own, every kind of save: each change that the table's stream
    tells has a higher version than what it replaced.
    """
    store = client_store
    store.plain.update_table(
        TableName=store.name,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )

    def life(number: int) -> None:
        draw = random.Random(f"{seed}/{number}")
        client = store.another(clock=lambda: 1_000 + draw.randrange(20))
        for _ in range(SAVES):
            draw.choice([put, update, transact, batch])(client, store.name, draw.choice(KEYS))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(life, range(WRITERS)))

    changes = [
        tuple(int(image["version"]["N"]) for image in (one["OldImage"], one["NewImage"]))
        for one in records(store, server)
        if "OldImage" in one
    ]
    assert len(changes) > WRITERS * SAVES / 2
    assert [(old, new) for old, new in changes if old >= new] == [], f"seed {seed}"


def records(store: Store, server: Server) -> list[Any]:
    """Return what the table's stream has."""
    streams = boto3.client("dynamodbstreams", **arguments(server))
    arn = store.plain.describe_table(TableName=store.name)["Table"]["LatestStreamArn"]
    found = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            found += [record["dynamodb"] for record in page["Records"]]
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return found


def put(client: Any, table: str, key: str) -> None:
    client.put_item(TableName=table, Item=wire({"id": key}))


def update(client: Any, table: str, key: str) -> None:
    client.update_item(
        TableName=table,
        Key=wire({"id": key}),
        UpdateExpression="ADD saves :one",
        ExpressionAttributeValues=wire({":one": 1}),
    )


def transact(client: Any, table: str, key: str) -> None:
    """Save in a transaction; one that meets another is not made."""
    try:
        put = {"TableName": table, "Item": wire({"id": key})}
        client.transact_write_items(TransactItems=[{"Put": put}])
    except ClientError as error:
        assert "TransactionConflict" in str(error)  # noqa: PT017


def batch(client: Any, table: str, key: str) -> None:
    client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": wire({"id": key})}}]})


@pytest.mark.parametrize("store", ["client", "resource"], indirect=True)
def test_optimistic_locking_loses_no_increment(store: Store) -> None:
    """Read, add one, save if it is still that version: as many as were saved are counted."""
    store.put(n=0)

    def count(number: int) -> None:
        writer = store.another()
        saved = 0
        while saved < 10:
            item = store.call("get_item", by=writer, Key={"id": "a"}, ConsistentRead=True)["Item"]
            expect = item["version"]
            try:
                if number % 2:
                    increment: dict[str, Any] = {"n": item["n"] + 1}
                    store.call("put_item", by=writer, Item={**item, **increment}, expect=expect)
                else:
                    store.call(
                        "update_item",
                        by=writer,
                        Key={"id": "a"},
                        UpdateExpression="SET n = :n",
                        ExpressionAttributeValues={":n": item["n"] + 1},
                        expect=expect,
                    )
                saved += 1
            except ClientError as error:
                assert code(error) == "ConditionalCheckFailedException"  # noqa: PT017

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(count, range(WRITERS)))

    assert store.held()["n"] == 10 * WRITERS
