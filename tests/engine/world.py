"""A source and a target in memory, a mirror between them, and a network that misbehaves by seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from tests.core.images import wire_of
from tests.engine.virtual_time import now_ms

from dynamirror.config.model import Guard, OneWay, OnPoison, Place
from dynamirror.core.record import StreamRecord, record_of
from dynamirror.core.values import Wire, decode, same
from dynamirror.engine.retry import Backoff
from dynamirror.engine.station import Station
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.stream.shard import Reading
from dynamirror.engine.writing.links import Links
from dynamirror.errors import BusyError, ThrottledError, TransientError
from dynamirror.memory.dynamodb import MemoryDynamoDB
from dynamirror.ports import DynamoDB
from dynamirror.wiring import target_views_of

SOURCE = Place(region="us-east-1", table="Stories", name="us-east-1")
TARGET = Place(region="eu-west-1", table="Stories", name="eu-west-1")
CHECKPOINTS = "Stories-dynamirror-checkpoints"
PARKED = "Stories-dynamirror-parked"
LEDGER = "Stories-dynamirror-ledger"

OURS = ("_mirror_seq",)

Hook = Callable[[str, bytes], Awaitable[None]]


def key(name: str) -> Wire:
    return {"id": {"S": name}}


def item(name: str, value: int = 0, **more: Any) -> Wire:
    return {**key(name), "value": {"N": str(value)}, **more}


def change(name: str, number: int, value: int | None = 0, **more: Any) -> StreamRecord:
    """Return the record of a put, or, with None for a value, of a removal."""
    new = None if value is None else item(name, value)
    return record_of(wire_of(key(name), new, item(name), number=number, **more))


def create(db: MemoryDynamoDB, table: str, *names: str, stream: bool = False) -> None:
    """Create a table whose key attributes are strings."""
    request: Wire = {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(names, ("HASH", "RANGE"), strict=False)
        ],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
    }
    if stream:
        request["StreamSpecification"] = {
            "StreamEnabled": True,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
    db.perform("CreateTable", request)


class Faults:
    """Delays, throttles, 5xx before and after the fact; drawn from a seed, so that runs repeat."""

    def __init__(self, seed: int, rate: float, operations: Sequence[str] = ()) -> None:
        self.chance = Random(seed)
        self.rate = rate
        self.operations = operations
        self.delay_s = 0.05

    async def before(self, operation: str, _: bytes) -> None:
        await asyncio.sleep(self.chance.random() * self.delay_s)
        if self._strikes(operation):
            throttled = ThrottledError("ProvisionedThroughputExceededException", "seeded")
            raise self.chance.choice([throttled, TransientError("InternalServerError", "seeded")])
        if operation == "TransactWriteItems" and self.chance.random() < self.rate:
            raise BusyError("TransactionInProgressException", "seeded")

    async def after(self, operation: str, _: bytes) -> None:
        await asyncio.sleep(self.chance.random() * self.delay_s)
        if self._strikes(operation):
            raise TransientError("InternalServerError", "seeded: done, but the answer is lost")

    def unprocessed(self, _: str, __: Wire) -> bool:
        return self.chance.random() < self.rate

    def _strikes(self, operation: str) -> bool:
        if self.operations and operation not in self.operations:
            return False
        return self.chance.random() < self.rate


class World:
    """Two regions and a mirror between them. Make it inside the loop: its clock is the loop's."""

    def __init__(
        self,
        guard: Guard = Guard.ORDER,
        *,
        seed: int = 0,
        shards: int = 1,
        on_poison: OnPoison = OnPoison.STOP,
    ) -> None:
        self.chance = Random(seed)
        self.mirror = OneWay(
            name="stories", source=SOURCE, targets=(TARGET,), guard=guard, on_poison=on_poison
        )
        self.source = MemoryDynamoDB(SOURCE.region, clock=now_ms, seed=seed, shards=shards)
        self.target = MemoryDynamoDB(TARGET.region, clock=now_ms, seed=seed)
        self.backoff = Backoff(draw=self.chance.random)
        self.connect: Callable[[MemoryDynamoDB], DynamoDB] = lambda db: db
        create(self.source, "Stories", "id", stream=True)
        create(self.source, CHECKPOINTS, "link", "shard")
        create(self.source, PARKED, "k", "seq")
        create(self.target, "Stories", "id")
        create(self.target, LEDGER, "k")

    @property
    def stream(self) -> Any:
        return self.source.table("Stories").stream

    @property
    def checkpoints(self) -> Checkpoints:
        link = f"{self.mirror.name}/{self.mirror.source.name}"
        return Checkpoints(self.connect(self.source), self.mirror.checkpoints, link, self.backoff)

    @property
    def links(self) -> Links:
        return Links(
            self.mirror,
            self.connect(self.source),
            {TARGET.name: self.connect(self.target)},
            clock=now_ms,
            backoff=self.backoff,
            views=target_views_of(self.mirror, ()) if self.mirror.views else {},
        )

    def lease(self, owner: str, *, dead: Sequence[str] = ()) -> Lease:
        return Lease(self.checkpoints, owner, clock=now_ms, is_dead=lambda name: name in dead)

    def station(self, owner: str = "me", *, dead: Sequence[str] = ()) -> Station:
        lease = self.lease(owner, dead=dead)
        source = self.connect(self.source)
        return Station(self.links, source, self.checkpoints, lease, now_ms, self.backoff)

    def consumer(
        self, owner: str = "me", *, dead: Sequence[str] = (), reading: Reading | None = None
    ) -> Consumer:
        return Consumer(self.station(owner, dead=dead), reading)

    def put(self, name: str, value: int = 0, **more: Any) -> None:
        self.source.perform("PutItem", {"TableName": "Stories", "Item": item(name, value, **more)})

    def delete(self, name: str) -> None:
        self.source.perform("DeleteItem", {"TableName": "Stories", "Key": key(name)})

    def write_at_random(self, writes: int, keys: int) -> None:
        """Put and delete, with items that come back after having been deleted."""
        for _ in range(writes):
            name = f"key {self.chance.randrange(keys)}"
            if self.chance.random() < 0.25:
                self.delete(name)
            else:
                self.put(name, self.chance.randrange(10**9))

    def split_at_random(self) -> None:
        shard = self.chance.choice(self.stream.open_shards)
        if self.chance.random() < 0.5:
            self.stream.split(shard.id)
        else:
            self.stream.roll_over(shard.id)

    def at_target(self) -> dict[str, Wire]:
        return contents(self.target, "Stories")

    def differences(self) -> list[str]:
        """Return the keys whose items differ; our own marks are none of the users' business."""
        mine, theirs = contents(self.source, "Stories"), self.at_target()
        for held in theirs.values():
            for name in OURS:
                held.pop(name, None)
        return sorted(
            name
            for name in mine.keys() | theirs.keys()
            if name not in mine or name not in theirs or not same(mine[name], theirs[name])
        )

    @property
    def parked(self) -> list[Wire]:
        """The rows that stand for parked changes, not those of their images or the list."""
        return [row for row in self.rows(PARKED) if "code" in row]

    def rows(self, table: str, *, at: str = "source") -> list[Wire]:
        db = self.source if at == "source" else self.target
        return [dict(row) for row in db.table(table).contents()]


def contents(db: MemoryDynamoDB, table: str) -> dict[str, Wire]:
    return {held["id"]["S"]: dict(held) for held in db.table(table).contents()}


def keys_of(operation: str, request: bytes) -> list[str]:
    """Return the ids of the items that a write request is about."""
    wire = decode(request)
    match operation:
        case "BatchWriteItem":
            entries = [one for part in wire["RequestItems"].values() for one in part]
            return [
                (one["PutRequest"]["Item"] if "PutRequest" in one else one["DeleteRequest"]["Key"])[
                    "id"
                ]["S"]
                for one in entries
            ]
        case "TransactWriteItems":
            one = wire["TransactItems"][1]
            held = one["Put"]["Item"] if "Put" in one else one["Delete"]["Key"]
            return [held["id"]["S"]]
        case "PutItem":
            return [wire["Item"]["id"]["S"]]
        case "DeleteItem":
            return [wire["Key"]["id"]["S"]]
    return []


class Watch:
    """A port that lets requests through and sees that no key is ever in flight twice.

    ``answers`` are asked first, in order: an error is raised, bytes are returned, None lets the
    request through.
    """

    def __init__(self, db: MemoryDynamoDB, delay_s: float = 0.05, seed: int = 0) -> None:
        self.db = db
        self.delay_s = delay_s
        self.chance = Random(seed)
        self.requests: list[tuple[str, list[str]]] = []
        self.times_s: list[float] = []
        self.in_flight: Counter[str] = Counter()
        self.in_flight_max = 0
        self.twice: list[str] = []
        self.answers: list[Exception | bytes | None] = []
        self.refuses: Callable[[str], Exception | None] = lambda _: None
        self._open = 0

    async def call(self, operation: str, request: bytes) -> bytes:
        if operation == "DescribeTable":  # a heartbeat, which changes nothing
            return await self.db.call(operation, request)
        names = keys_of(operation, request)
        self.requests.append((operation, names))
        self.times_s.append(asyncio.get_running_loop().time())
        self.in_flight.update(names)
        self._open += 1
        self.in_flight_max = max(self.in_flight_max, self._open)
        self.twice += [name for name in names if self.in_flight[name] > 1]
        try:
            await asyncio.sleep(self.delay_s * (0.5 + self.chance.random()))
            answer = self.answers.pop(0) if self.answers else None
            if isinstance(answer, bytes):
                return answer
            errors = [answer, *(self.refuses(name) for name in names)]
            for error in errors:
                if error is not None:
                    raise error
            return await self.db.call(operation, request)
        finally:
            self.in_flight.subtract(names)
            self._open -= 1

    async def close(self) -> None:
        pass
