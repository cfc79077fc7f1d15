"""The port's adapters, one after the other, and a table to try them on.

``memory`` and ``server`` are as they are; the others are imitations of servers that do otherwise,
before ``server``. A test that ``needs`` an operation runs where there is one; where it lacks,
``test_lacking.py`` holds the server to that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from tests.imitation import imitated
from tests.profiles import DYNAMODB, MEMORY, imitated_profile
from tests.servers import Server, Service

from dynamirror.core.pairs import joined
from dynamirror.core.record import record_of
from dynamirror.core.servers import Kind
from dynamirror.core.values import Wire
from dynamirror.memory import MemoryDynamoDB
from dynamirror.ports import DynamoDB

_numbers = count(time.time_ns())


IMITATED = (Kind.ALTERNATOR, Kind.DYNAMODB_LOCAL)

SHARDS = 3
"""Of the imitated streams: few, as every test reads all."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "service" not in metafunc.fixturenames:
        return
    needed = {name for mark in metafunc.definition.iter_markers("needs") for name in mark.args}
    lacking = {kind.value for kind in IMITATED if imitated_profile(kind, DYNAMODB).lacks & needed}
    backends = ("memory", "server", *(kind.value for kind in IMITATED))
    metafunc.parametrize("service", [one for one in backends if one not in lacking], indirect=True)


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One region of an adapter of the port."""
    if request.param == "memory":
        opened = Service(lambda: MemoryDynamoDB(clock=_now_ms), MEMORY)
    else:
        server: Server = request.getfixturevalue("server")
        opened = _behind(server, request.param)
    with opened as one:
        yield one


def _behind(server: Server, name: str) -> Service:
    def connect() -> DynamoDB:
        return server.connect(server.regions[0])

    if name == "server":
        return Service(connect, server.profile)
    kind = Kind(name)
    habits = {"shards": SHARDS} if kind is Kind.ALTERNATOR else {}
    return Service(
        lambda: imitated(kind, connect(), clock=_now_ms, **habits),
        imitated_profile(kind, server.profile),
    )


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
        that write. Where records aren't writes: the writes that they tell of.
        """
        self.put({**key, "the end": {"BOOL": True}})
        found: list[Wire] = []

        def ended() -> bool:
            found[:] = [one for one in self.writes() if one["dynamodb"]["Keys"] == key]
            return bool(found) and "the end" in found[-1]["dynamodb"].get("NewImage", {})

        self.service.wait(ended)
        return found[:-1]

    def writes(self, stream_arn: str | None = None) -> list[Wire]:
        """Return a record for each write that changed something, named by what it did."""
        records = self.records(stream_arn)
        if self.service.profile.records_are_writes:
            return records
        wires = {int(one["dynamodb"]["SequenceNumber"]): one for one in records}
        found = []
        for record in joined([record_of(one) for one in records]):
            old, new = record.old_image, record.new_image
            if old == new:
                continue
            name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
            wire = wires[record.sequence_number]
            images = {"OldImage": old, "NewImage": new}
            there = {which: image for which, image in images.items() if image is not None}
            found.append({**wire, "eventName": name, "dynamodb": {**wire["dynamodb"], **there}})
        return found

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
