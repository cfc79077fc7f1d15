"""The memory adapter's stream: lineage, trimming, expiry, and what a test can do to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from dynamirror.core.values import Wire, decode, encode
from dynamirror.errors import (
    ExpiredIteratorError,
    NotFoundError,
    RefusedError,
    ThrottledError,
    TransientError,
    TrimmedError,
)
from dynamirror.memory import MemoryDynamoDB, Stream

NAME = "Stories"
MINUTE_MS = 60_000


class Simulation:
    """A table with a stream, and a clock that moves when told to."""

    def __init__(self, **options: Any) -> None:
        self.now_ms = 1_700_000_000_123
        self.db = MemoryDynamoDB(clock=lambda: self.now_ms, **options)
        self.db.perform(
            "CreateTable",
            {
                "TableName": NAME,
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "BillingMode": "PAY_PER_REQUEST",
                "StreamSpecification": {
                    "StreamEnabled": True,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
            },
        )

    @property
    def stream(self) -> Stream:
        stream = self.db.table(NAME).stream
        assert stream is not None
        return stream

    def ask(self, operation: str, **request: Any) -> Wire:
        return decode(asyncio.run(self.db.call(operation, encode(request))))

    def put(self, key: str, version: int = 0) -> None:
        item = {"id": {"S": key}, "v": {"N": str(version)}}
        self.ask("PutItem", TableName=NAME, Item=item)

    def iterator(self, shard: str, kind: str = "TRIM_HORIZON", number: str = "") -> str:
        request = {"StreamArn": self.stream.arn, "ShardId": shard, "ShardIteratorType": kind}
        if number:
            request["SequenceNumber"] = number
        return str(self.ask("GetShardIterator", **request)["ShardIterator"])

    def read(self, iterator: str) -> Wire:
        return self.ask("GetRecords", ShardIterator=iterator)

    def records(self, shard: str) -> list[Wire]:
        records: list[Wire] = self.read(self.iterator(shard))["Records"]
        return records

    def shards(self, **request: Any) -> list[Wire]:
        answer = self.ask("DescribeStream", StreamArn=self.stream.arn, **request)
        shards: list[Wire] = answer["StreamDescription"]["Shards"]
        return shards


def numbers_of(records: list[Wire]) -> list[int]:
    return [int(one["dynamodb"]["SequenceNumber"]) for one in records]


def keys_of(records: list[Wire]) -> list[str]:
    return [one["dynamodb"]["Keys"]["id"]["S"] for one in records]


def test_a_split_closes_the_parent_and_shares_its_keys_out() -> None:
    """Later changes of a key are in one child, and every number there is above the parent's."""
    world = Simulation()
    parent = world.stream.open_shards[0].id
    for version in range(40):
        world.put(f"k{version % 10}", version)
    world.now_ms += 1
    children = world.stream.split(parent)
    for version in range(40, 80):
        world.put(f"k{version % 10}", version)

    described = {one["ShardId"]: one for one in world.shards()}
    before = world.records(parent)
    after = [world.records(child.id) for child in children]

    assert "EndingSequenceNumber" in described[parent]["SequenceNumberRange"]
    assert [described[child.id]["ParentShardId"] for child in children] == [parent, parent]
    assert all(
        "EndingSequenceNumber" not in described[c.id]["SequenceNumberRange"] for c in children
    )
    assert "NextShardIterator" not in world.read(world.iterator(parent))
    assert sum(map(len, after)) == 40
    assert all(after)
    assert not set(keys_of(after[0])) & set(keys_of(after[1]))
    assert min(numbers_of(after[0] + after[1])) > max(numbers_of(before))


def test_a_shard_rolls_over_into_one_child() -> None:
    """As the service does every few hours; a shard may be closed without ever having a record."""
    world = Simulation()
    first = world.stream.open_shards[0].id
    second = world.stream.roll_over(first).id
    third = world.stream.roll_over(second).id
    world.put("a")

    assert [one.get("ParentShardId") for one in world.shards()].count(None) == 1
    assert world.records(first) == world.records(second) == []
    assert keys_of(world.records(third)) == ["a"]
    with pytest.raises(ValueError, match="closed already"):
        world.stream.split(first)


def test_sequence_numbers_outgrow_the_order_of_their_text() -> None:
    """21 to 40 digits, growing as numbers and not as text, never consecutive."""
    world = Simulation()
    for version in range(900):
        world.put("a", version)

    found = numbers_of(world.records(world.stream.open_shards[0].id))

    texts = [str(number) for number in found]
    lengths = {len(text) for text in texts}
    assert found == sorted(found)
    assert texts != sorted(texts)
    assert len(lengths) > 2
    assert min(lengths) >= 21
    assert max(lengths) <= 40
    assert all(after - before > 1 for before, after in pairwise(found))


def test_several_open_shards_share_the_keys() -> None:
    """A key's changes are all in one shard, and unrelated shards number for themselves."""
    world = Simulation(shards=4)
    for version in range(200):
        world.put(f"k{version % 20}", version)

    parts = [set(keys_of(world.records(shard.id))) for shard in world.stream.open_shards]

    assert len(parts) == 4
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20


def test_shards_come_in_pages_and_by_parent() -> None:
    """DescribeStream pages by Limit, and lists the children of one shard if asked."""
    world = Simulation()
    for _ in range(5):
        world.now_ms += 1
        world.stream.roll_over(world.stream.open_shards[0].id)
    every = [one["ShardId"] for one in world.shards()]

    found: list[str] = []
    request: Wire = {"StreamArn": world.stream.arn, "Limit": 2}
    while True:
        page = world.ask("DescribeStream", **request)["StreamDescription"]
        found += [one["ShardId"] for one in page["Shards"]]
        if "LastEvaluatedShardId" not in page:
            break
        request["ExclusiveStartShardId"] = page["LastEvaluatedShardId"]

    assert found == every
    assert len(every) == 6
    children = world.shards(ShardFilter={"Type": "CHILD_SHARDS", "ShardId": every[2]})
    assert [one["ShardId"] for one in children] == [every[3]]


def test_trimmed_records_are_history_lost() -> None:
    """Behind the trim horizon there is an error, never a silent gap."""
    world = Simulation()
    shard = world.stream.open_shards[0].id
    world.put("old")
    number = world.records(shard)[0]["dynamodb"]["SequenceNumber"]
    held = world.iterator(shard)
    world.now_ms += MINUTE_MS
    world.put("new")

    world.stream.trim(world.now_ms)

    with pytest.raises(TrimmedError):
        world.read(held)
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        with pytest.raises(TrimmedError):
            world.iterator(shard, kind, number)
    assert keys_of(world.records(shard)) == ["new"]


def test_a_closed_shard_vanishes_when_trimmed() -> None:
    """Its children still name it as their parent."""
    world = Simulation()
    parent = world.stream.open_shards[0].id
    world.put("a")
    held = world.iterator(parent)
    drained = world.read(held)["NextShardIterator"]
    child = world.stream.roll_over(parent).id
    world.now_ms += MINUTE_MS

    world.stream.trim(world.now_ms)

    assert [(one["ShardId"], one["ParentShardId"]) for one in world.shards()] == [(child, parent)]
    with pytest.raises(NotFoundError):
        world.iterator(parent)
    with pytest.raises(TrimmedError):
        world.read(held)
    assert "NextShardIterator" not in world.read(drained)


def test_an_iterator_dies_after_15_minutes() -> None:
    """The same position with a new iterator goes on."""
    world = Simulation()
    world.put("a")
    held = world.iterator(world.stream.open_shards[0].id)
    world.now_ms += 15 * MINUTE_MS
    world.read(held)
    world.now_ms += 1

    with pytest.raises(ExpiredIteratorError):
        world.read(held)


def test_a_position_belongs_to_its_shard() -> None:
    """A number before the shard's start or after its end is refused."""
    world = Simulation()
    shard = world.shards()[0]
    start = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    world.put("a")

    assert keys_of(
        world.read(world.iterator(shard["ShardId"], "AFTER_SEQUENCE_NUMBER", start))["Records"]
    ) == ["a"]
    for number in (int(start) - 1, 10**40 - 1):
        with pytest.raises(RefusedError):
            world.iterator(shard["ShardId"], "AT_SEQUENCE_NUMBER", str(number))


def test_expired_items_are_removed_with_the_services_mark() -> None:
    """Only what has expired goes, and the record says who removed it."""
    world = Simulation()
    enabled = {"AttributeName": "expires_at", "Enabled": True}
    table = world.db.table(NAME)
    assert table.expire(world.now_ms) == 0
    world.ask("UpdateTimeToLive", TableName=NAME, TimeToLiveSpecification=enabled)
    now_s = world.now_ms // 1000
    for key, expiry in (
        ("past", {"N": str(now_s - 1)}),
        ("future", {"N": str(now_s + 60)}),
        ("text", {"S": str(now_s - 1)}),
        ("ancient", {"N": "1"}),
    ):
        world.ask("PutItem", TableName=NAME, Item={"id": {"S": key}, "expires_at": expiry})
    world.put("never")

    assert table.expire(world.now_ms) == 1

    record = world.records(world.stream.open_shards[0].id)[-1]
    assert keys_of([record]) == ["past"]
    assert record["eventName"] == "REMOVE"
    assert record["userIdentity"] == {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
    assert "OldImage" in record["dynamodb"]
    assert [one["id"]["S"] for one in table.contents() if one["id"]["S"] == "past"] == []


def test_records_can_be_written_by_hand() -> None:
    """What a record says stays, right or wrong; what it lacks is filled in."""
    world = Simulation()
    shard = world.stream.open_shards[0].id
    world.put("a")

    number = world.stream.push({"eventName": "STRANGE", "dynamodb": {"Keys": {"id": {"S": "h"}}}})

    record = world.records(shard)[-1]
    assert record["eventName"] == "STRANGE"
    assert record["dynamodb"]["Keys"] == {"id": {"S": "h"}}
    assert record["dynamodb"]["SequenceNumber"] == number
    assert record["dynamodb"]["ApproximateCreationDateTime"] == world.now_ms // 1000
    assert world.stream.push({}, shard) != number


def test_a_stream_outlives_its_table() -> None:
    """The records of a deleted table can be read, and its shards are closed."""
    world = Simulation()
    world.put("a")
    stream = world.stream

    world.ask("DeleteTable", TableName=NAME)

    described = world.ask("DescribeStream", StreamArn=stream.arn)["StreamDescription"]
    assert described["StreamStatus"] == "DISABLED"
    assert "EndingSequenceNumber" in described["Shards"][0]["SequenceNumberRange"]
    assert not stream.enabled
    assert "disabled" in repr(stream)


def history(seed: int) -> list[Wire]:
    world = Simulation(seed=seed, shards=2)
    for version in range(30):
        world.put(f"k{version % 7}", version)
    world.stream.split(world.stream.open_shards[0].id)
    for version in range(30):
        world.put(f"k{version % 7}", 100 + version)
    scanned = world.ask("Scan", TableName=NAME)["Items"]
    return [*scanned, *(r for one in world.shards() for r in world.records(one["ShardId"]))]


def test_the_same_seed_gives_the_same_history() -> None:
    """Numbers, shard ids, orders; another seed gives others."""
    assert history(7) == history(7)
    assert history(7) != history(8)


def test_hooks_stand_before_and_after_a_request() -> None:
    """Before it takes effect, and after it did but before the caller knows."""
    seen: list[tuple[str, str, int]] = []
    world = Simulation()

    def hook(when: str) -> Callable[[str, bytes], Any]:
        async def note(operation: str, request: bytes) -> None:
            assert json.loads(request)["TableName"] == NAME
            seen.append((when, operation, len(world.db.table(NAME).items)))

        return note

    world.db.before, world.db.after = hook("before"), hook("after")
    world.put("a")
    with pytest.raises(RefusedError):
        world.ask("PutItem", TableName=NAME, Item={})

    assert seen == [
        ("before", "PutItem", 0),
        ("after", "PutItem", 1),
        ("before", "PutItem", 1),
        ("after", "PutItem", 1),
    ]


def test_a_hook_throttles_and_loses_answers() -> None:
    """What a hook raises is what the caller gets: before, nothing happened; after, it did."""
    world = Simulation()

    async def throttle(operation: str, _: bytes) -> None:
        raise ThrottledError("ThrottlingException", operation)

    async def lose(operation: str, _: bytes) -> None:
        raise TransientError("reset", operation)

    world.db.before = throttle
    with pytest.raises(ThrottledError):
        world.put("a")
    assert world.db.table(NAME).items == {}
    world.db.before, world.db.after = None, lose
    with pytest.raises(TransientError):
        world.put("a")
    assert len(world.db.table(NAME).items) == 1


def test_batches_give_back_what_they_are_told_to() -> None:
    """Some entries unprocessed is an answer, all of them a throttle."""
    refused = {"a"}
    world = Simulation(unprocessed=lambda table, key: table == NAME and key["id"]["S"] in refused)

    def write(*keys: str) -> Wire:
        puts = [{"PutRequest": {"Item": {"id": {"S": key}}}} for key in keys]
        return world.ask("BatchWriteItem", RequestItems={NAME: puts})

    answer = write("a", "b")

    assert answer["UnprocessedItems"] == {NAME: [{"PutRequest": {"Item": {"id": {"S": "a"}}}}]}
    with pytest.raises(ThrottledError):
        write("a")
    keys = [{"id": {"S": key}} for key in ("a", "b")]
    read = world.ask("BatchGetItem", RequestItems={NAME: {"Keys": keys, "ConsistentRead": True}})
    assert read["Responses"] == {NAME: [{"id": {"S": "b"}}]}
    assert read["UnprocessedKeys"] == {NAME: {"Keys": [{"id": {"S": "a"}}], "ConsistentRead": True}}


def test_what_it_does_not_know_is_said_aloud() -> None:
    """A fake that ignores a member would let a test pass that must not."""
    world = Simulation()

    with pytest.raises(RefusedError, match="UnknownOperation"):
        world.ask("InventTable")
    with pytest.raises(NotImplementedError, match="IndexName"):
        world.ask(
            "Query",
            TableName=NAME,
            KeyConditionExpression="id = :id",
            ExpressionAttributeValues={":id": {"S": "a"}},
            IndexName="by-author",
        )
    with pytest.raises(RefusedError, match="TableName"):
        world.ask("PutItem", Item={})
    with pytest.raises(RefusedError, match="JSON"):
        asyncio.run(world.db.call("PutItem", b"{"))
    with pytest.raises(RefusedError):
        asyncio.run(world.db.call("PutItem", b'{"a":' * 100_000))


def test_a_reserved_word_needs_an_alias() -> None:
    """As with the service: region, status, owner and 570 others."""
    world = Simulation()

    for name in ("region", "Status", "a.owner"):
        with pytest.raises(RefusedError, match="reserved"):
            world.ask(
                "PutItem",
                TableName=NAME,
                Item={"id": {"S": "a"}},
                ConditionExpression=f"attribute_exists({name})",
            )
