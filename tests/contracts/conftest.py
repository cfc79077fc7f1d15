"""The port's adapters, one after the other, and a table to try them on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from tests.profiles import MEMORY
from tests.servers import Server, Service

from dynamirror.core.values import Wire
from dynamirror.memory import MemoryDynamoDB

_numbers = count(time.time_ns())


@pytest.fixture(params=["memory", "server"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One region of an adapter of the port."""
    if request.param == "memory":
        opened = Service(lambda: MemoryDynamoDB(clock=_now_ms), MEMORY)
    else:
        server: Server = request.getfixturevalue("server")
        opened = Service(lambda: server.connect(server.regions[0]), server.profile)
    with opened as one:
        yield one


class TableHelper:
    """A table with a key ``id`` (S), and its stream."""

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.name = name

    def ask(self, operation: str, **request: Any) -> Wire:
        return self.service.ask(operation, TableName=self.name, **request)

    def put(self, item: Wire, **request: Any) -> Wire:
        return self.ask("PutItem", Item=item, **request)

    def get(self, key: Wire) -> Wire | None:
        return self.ask("GetItem", Key=key, ConsistentRead=True).get("Item")

    def update(self, key: Wire, expression: str, **request: Any) -> Wire:
        return self.ask("UpdateItem", Key=key, UpdateExpression=expression, **request)

    def delete(self, key: Wire, **request: Any) -> Wire:
        return self.ask("DeleteItem", Key=key, **request)

    @property
    def stream_arn(self) -> str:
        return str(self.service.described(self.name)["LatestStreamArn"])

    def changes_of(self, key: Wire) -> list[Wire]:
        """Return what the stream has of one item, by writing to it once more and reading up to
        that write.
        """
        self.put({**key, "the end": {"BOOL": True}})
        found: list[Wire] = []

        def ended() -> bool:
            found[:] = [one for one in self.records() if one["dynamodb"]["Keys"] == key]
            return bool(found) and "the end" in found[-1]["dynamodb"].get("NewImage", {})

        self.service.wait(ended)
        return found[:-1]

    def shards(self, stream_arn: str | None = None) -> list[Wire]:
        description = self.service.ask("DescribeStream", StreamArn=stream_arn or self.stream_arn)
        shards: list[Wire] = description["StreamDescription"]["Shards"]
        return shards

    def records(self, stream_arn: str | None = None) -> list[Wire]:
        """Return all records there are, shard by shard."""
        arn = stream_arn or self.stream_arn
        records: list[Wire] = []
        for shard in self.shards(arn):
            iterator = self.iterator(shard["ShardId"], "TRIM_HORIZON", stream_arn=arn)
            while iterator:
                answer = self.service.ask("GetRecords", ShardIterator=iterator)
                records += answer["Records"]
                iterator = answer.get("NextShardIterator", "") if answer["Records"] else ""
        return records

    def iterator(
        self, shard_id: str, kind: str, number: str | None = None, stream_arn: str | None = None
    ) -> str:
        position = {} if number is None else {"SequenceNumber": number}
        answer = self.service.ask(
            "GetShardIterator",
            StreamArn=stream_arn or self.stream_arn,
            ShardId=shard_id,
            ShardIteratorType=kind,
            **position,
        )
        return str(answer["ShardIterator"])


@pytest.fixture
def make_table(service: Service) -> Iterator[Callable[..., TableHelper]]:
    """Makes tables that are gone after the test."""
    names: list[str] = []

    def make(*, keys: str = "id:S", view_type: str | None = None) -> TableHelper:
        names.append(f"contract-{next(_numbers)}")
        service.create_table(names[-1], keys=keys, view_type=view_type)
        return TableHelper(service, names[-1])

    yield make
    for name in names:
        service.drop(name)


@pytest.fixture
def table(make_table: Callable[..., TableHelper]) -> TableHelper:
    """A table with key ``id`` (S) and a stream of both images."""
    return make_table(view_type="NEW_AND_OLD_IMAGES")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
