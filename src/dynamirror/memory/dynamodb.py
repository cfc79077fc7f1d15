"""DynamoDB without a network: the port's adapter for simulations, dry runs and users' own tests.

    db = MemoryDynamoDB("us-east-1", clock=clock)
    await db.call("PutItem", b'{"TableName": "Stories", "Item": {"id": {"S": "a"}}}')
    db.table("Stories").stream.split(shard_id)

What it answers is what DynamoDB answers, and where DynamoDB leaves room it takes the less
convenient choice. The same seed and the same requests give the same answers. A request takes effect
in one piece; hooks before and after it are where a simulation lets others in, waits, throttles, or
loses the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

import msgspec

from dynamirror.core.values import Wire, decode, encode
from dynamirror.errors import RefusedError
from dynamirror.memory import control, reads, streams, writes
from dynamirror.memory.refusals import invalid, malformed, refusal
from dynamirror.memory.tables import Region, Table
from dynamirror.ports import Clock

Hook = Callable[[str, bytes], Awaitable[None]]
"""Awaited with an operation and its request; what it raises, the caller gets."""


class Operation(NamedTuple):
    """An operation: who answers it, the members its request must have and those it may have."""

    answer: Callable[[Region, Wire], Wire]
    needs: str
    takes: str = ""


_EXPRESSION = "ExpressionAttributeNames ExpressionAttributeValues"
_WRITE = (
    f"ConditionExpression {_EXPRESSION} ReturnValues ReturnValuesOnConditionCheckFailure "
    "ReturnConsumedCapacity ReturnItemCollectionMetrics"
)
_PAGE = (
    f"{_EXPRESSION} ConsistentRead ExclusiveStartKey FilterExpression Limit "
    "ProjectionExpression ReturnConsumedCapacity Select"
)
_TABLE = (
    "BillingMode DeletionProtectionEnabled ProvisionedThroughput SSESpecification "
    "StreamSpecification TableClass OnDemandThroughput"
)

OPERATIONS = {
    "PutItem": Operation(writes.put_item, "TableName Item", _WRITE),
    "UpdateItem": Operation(writes.update_item, "TableName Key", f"UpdateExpression {_WRITE}"),
    "DeleteItem": Operation(writes.delete_item, "TableName Key", _WRITE),
    "BatchWriteItem": Operation(
        writes.batch_write_item,
        "RequestItems",
        "ReturnConsumedCapacity ReturnItemCollectionMetrics",
    ),
    "TransactWriteItems": Operation(
        writes.transact_write_items,
        "TransactItems",
        "ClientRequestToken ReturnConsumedCapacity ReturnItemCollectionMetrics",
    ),
    "GetItem": Operation(
        reads.get_item,
        "TableName Key",
        "ConsistentRead ExpressionAttributeNames ProjectionExpression ReturnConsumedCapacity",
    ),
    "BatchGetItem": Operation(reads.batch_get_item, "RequestItems", "ReturnConsumedCapacity"),
    "Query": Operation(
        reads.query, "TableName KeyConditionExpression", f"{_PAGE} ScanIndexForward"
    ),
    "Scan": Operation(reads.scan, "TableName", f"{_PAGE} Segment TotalSegments"),
    "CreateTable": Operation(
        control.create_table,
        "TableName KeySchema AttributeDefinitions",
        f"{_TABLE} GlobalSecondaryIndexes LocalSecondaryIndexes Tags",
    ),
    "DescribeTable": Operation(control.describe_table, "TableName"),
    "UpdateTable": Operation(
        control.update_table,
        "TableName",
        f"{_TABLE} AttributeDefinitions GlobalSecondaryIndexUpdates",
    ),
    "DeleteTable": Operation(control.delete_table, "TableName"),
    "ListTables": Operation(control.list_tables, "", "ExclusiveStartTableName Limit"),
    "UpdateTimeToLive": Operation(control.update_time_to_live, "TableName TimeToLiveSpecification"),
    "DescribeTimeToLive": Operation(control.describe_time_to_live, "TableName"),
    "DescribeContinuousBackups": Operation(control.describe_continuous_backups, "TableName"),
    "UpdateContinuousBackups": Operation(
        control.update_continuous_backups, "TableName PointInTimeRecoverySpecification"
    ),
    "ListTagsOfResource": Operation(control.list_tags_of_resource, "ResourceArn", "NextToken"),
    "TagResource": Operation(control.tag_resource, "ResourceArn Tags"),
    "UntagResource": Operation(control.untag_resource, "ResourceArn TagKeys"),
    "ListStreams": Operation(streams.list_streams, "", "ExclusiveStartStreamArn Limit TableName"),
    "DescribeStream": Operation(
        streams.describe_stream, "StreamArn", "ExclusiveStartShardId Limit ShardFilter"
    ),
    "GetShardIterator": Operation(
        streams.get_shard_iterator, "StreamArn ShardId ShardIteratorType", "SequenceNumber"
    ),
    "GetRecords": Operation(streams.get_records, "ShardIterator", "Limit"),
}

_NEEDED = {name: tuple(one.needs.split()) for name, one in OPERATIONS.items()}
_KNOWN = {name: frozenset(f"{one.needs} {one.takes}".split()) for name, one in OPERATIONS.items()}


class MemoryDynamoDB:
    """One region and account, in memory.

    ``clock`` is the wall clock in milliseconds. ``shards`` is how many open shards a new stream
    has. ``before`` is awaited before a request takes effect, ``after`` when it has, before the
    caller sees the answer or the refusal. ``unprocessed`` is asked, with table and key, for each
    entry of a batch: True gives it back.
    """

    def __init__(
        self,
        region: str = "us-east-1",
        *,
        clock: Clock,
        account: str = "000000000000",
        seed: int = 0,
        shards: int = 1,
        before: Hook | None = None,
        after: Hook | None = None,
        unprocessed: Callable[[str, Wire], bool] | None = None,
    ) -> None:
        self.before = before
        self.after = after
        chance = Random(f"{seed} {region} {account}")
        self._region = Region(region, account, clock, chance, shards, unprocessed)

    def __repr__(self) -> str:
        return f"<MemoryDynamoDB {self._region.name}, {len(self._region.tables)} tables>"

    async def call(self, operation: str, request: bytes) -> bytes:
        """Answer one request, as the port says."""
        if self.before is not None:
            await self.before(operation, request)
        try:
            try:
                parsed = decode(request)
            except (msgspec.DecodeError, RecursionError) as error:
                raise malformed(f"The request is not a JSON object: {error}") from None
            return encode(self.perform(operation, parsed))
        finally:
            if self.after is not None:
                await self.after(operation, request)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def perform(self, operation: str, request: Wire) -> Wire:
        """Answer one request at once and without the hooks, as an application of the simulation.

        Treat what it returns as read-only: items in it are the stored ones.
        """
        if operation not in OPERATIONS:
            raise refusal(RefusedError, "UnknownOperationException", operation)
        for name in _NEEDED[operation]:
            if name not in request:
                raise invalid(f"{operation} needs {name}")
        if not request.keys() <= _KNOWN[operation]:
            unknown = sorted(request.keys() - _KNOWN[operation])
            raise NotImplementedError(f"MemoryDynamoDB.{operation} has no {', '.join(unknown)}")
        return OPERATIONS[operation].answer(self._region, request)

    def table(self, name: str) -> Table:
        """Return a table, to look at its contents or to steer its stream."""
        return self._region.table(name)
