"""Lambda's event source mapping, played on a stream in memory.

Batches of each shard in order, parents before children; partial responses honoured (all from the
lowest returned sequence number is delivered again); what raises is delivered again whole; and, as
the service may, any batch once more. With lanes, several batches of a shard run at once, but never
two with the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any
from zlib import crc32

from dynamirror.core.lineage import Shard, readable
from dynamirror.core.values import Wire, decode, encode
from dynamirror.memory.dynamodb import MemoryDynamoDB

Invoke = Callable[[Wire], Awaitable[Wire]]
"""Takes an event, returns the partial batch response."""

ATTEMPTS_MAX = 10_000


class EventSourceMapping:
    """Delivers all that a table's stream holds."""

    def __init__(
        self,
        db: MemoryDynamoDB,
        table: str,
        invoke: Invoke,
        chance: Random,
        *,
        batch_size: int = 25,
        again: float = 0.0,
        lanes: int = 1,
    ) -> None:
        self.db = db
        self.arn = db.table(table).stream.arn  # type: ignore[union-attr]
        self.invoke = invoke
        self.chance = chance
        self.batch_size = batch_size
        self.again = again
        self.lanes = lanes
        self.errors: list[Exception] = []
        self.deliveries = 0

    async def run(self) -> None:
        """Deliver until the stream has no more."""
        shards, done = self._shards(), set[str]()
        while ready := readable(shards, done):
            await asyncio.gather(*(self._deliver_shard(self._records(name)) for name in ready))
            done |= set(ready)

    def events(self) -> list[Wire]:
        """Return all records of all shards as Lambda spells them, parents first."""
        shards, done, events = self._shards(), set[str](), []
        while ready := readable(shards, done):
            events += [record for name in ready for record in self._records(name)]
            done |= set(ready)
        return events

    async def _deliver_shard(self, records: Sequence[Wire]) -> None:
        lanes: list[list[Wire]] = [[] for _ in range(self.lanes)]
        for record in records:
            lanes[crc32(encode(record["dynamodb"]["Keys"])) % self.lanes].append(record)
        await asyncio.gather(*map(self._deliver_lane, lanes))

    async def _deliver_lane(self, records: list[Wire]) -> None:
        at = attempts = 0
        while at < len(records):
            batch = records[at : at + self.chance.randint(1, self.batch_size)]
            failed = await self._deliver(batch)
            attempts = attempts + 1 if failed == 0 else 0
            if attempts > ATTEMPTS_MAX:
                raise RuntimeError("a batch never gets through")
            if self.chance.random() >= self.again:
                at += failed
        if records and self.chance.random() < self.again:
            await self._deliver(records[-self.batch_size :])

    async def _deliver(self, batch: list[Wire]) -> int:
        """Return how many records from the start need not be delivered again."""
        self.deliveries += 1
        try:
            answer = await self.invoke({"Records": batch})
        except Exception as error:  # noqa: BLE001 - to Lambda all are alike
            self.errors.append(error)
            return 0
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        failures = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
        if not failures:
            return len(batch)
        # What is not of this batch counts as a failure of all of it.
        return min(numbers.index(one) if one in numbers else 0 for one in failures)

    def _shards(self) -> dict[str, Shard]:
        request = {"StreamArn": self.arn}
        listed = self.db.perform("DescribeStream", request)["StreamDescription"]["Shards"]
        return {one["ShardId"]: Shard(one["ShardId"], one.get("ParentShardId")) for one in listed}

    def _records(self, shard: str) -> list[Wire]:
        request: Wire = {
            "StreamArn": self.arn,
            "ShardId": shard,
            "ShardIteratorType": "TRIM_HORIZON",
        }
        iterator = self.db.perform("GetShardIterator", request)["ShardIterator"]
        records: list[Wire] = []
        while iterator is not None:
            page = decode(encode(self.db.perform("GetRecords", {"ShardIterator": iterator})))
            records += [self._as_lambda_spells(record) for record in page["Records"]]
            iterator = page.get("NextShardIterator") if page["Records"] else None
        return records

    def _as_lambda_spells(self, record: Wire) -> Wire:
        event: dict[str, Any] = {**record, "eventSourceARN": self.arn}
        if identity := event.pop("userIdentity", None):
            event["userIdentity"] = {
                "type": identity["Type"],
                "principalId": identity["PrincipalId"],
            }
        return event
