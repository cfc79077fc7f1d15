"""The ways of servers that do otherwise than DynamoDB, before one that does not.

ScyllaDB Alternator, as older versions have it (docs/servers.md says where each is known from):

- event names tell nothing: a new item is a MODIFY;
- a put may come as two records, REMOVE at ts - 1 and MODIFY at ts, and an answer may end between;
- a write that changes nothing has a record too, and a delete of nothing;
- a delete by time to live is not told from others;
- the stream of a table has many shards, which never split, and names of its own for itself, its
  shards and its records; sequence numbers have 37 digits;
- a change can be read only after a while;
- of the operations it has those of ``ALTERNATOR_HAS``, and knows no others.

DynamoDB Local:

- tables and streams are named as of a region ``ddblocal``;
- a scan of a segment reads the whole table;
- there are no tags, and no point-in-time recovery.

``imitated`` gives an adapter of the port around another one. ``ImitationProxy`` is the same over
HTTP, before a server on this machine; ``imitating(url)`` runs it in a thread.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol
from urllib.parse import quote, unquote
from uuid import NAMESPACE_URL, uuid5

from tests.fault_proxy import Answer, FaultProxy, Request, _Client, _refusal, _Server
from tests.profiles import ALTERNATOR_HAS, LOCAL_LACKS

from dynamirror.aws.client import connect
from dynamirror.config.model import Place
from dynamirror.core.servers import Kind
from dynamirror.core.values import Wire, decode, encode
from dynamirror.errors import NotFoundError, RefusedError, ServiceError
from dynamirror.ports import Clock, DynamoDB

EPOCH_TICKS = 0x01B21DD213814000
"""From 1582, where a version 1 UUID's time begins, to 1970, in units of 100 ns."""

MICROSECOND = 10

UNKNOWN = "UnknownOperationException"

NAMING = frozenset({"CreateTable", "DeleteTable", "DescribeTable", "UpdateTable"})
TAGGING = frozenset({"ListTagsOfResource", "TagResource", "UntagResource"})
READING = frozenset({"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"})

TABLE_ARN = "arn:scylla:alternator:alternator_{0}:scylla:table/{0}"

STREAM_ARN = (
    "arn:aws:dynamodb:us-east-1:000000000000:table/alternator_{0}@{0}_scylla_cdc_log/stream/{1}"
)
"""How newer versions call a stream; older ones: S and a UUID."""


# Which view types beside NEW_AND_OLD_IMAGES show an image.
VIEWS = {"OldImage": "OLD_IMAGE", "NewImage": "NEW_IMAGE"}


def unknown(operation: str) -> RefusedError:
    return RefusedError(UNKNOWN, f"Unsupported operation {operation}")


class Imitated(DynamoDB, Protocol):
    """One region of a server that does otherwise."""

    def changes(self, operation: str) -> bool:
        """Tell whether it does anything else than pass an operation on."""


def imitated(kind: Kind, server: DynamoDB, *, clock: Clock, **habits: Any) -> Imitated:
    """Return a server of a kind; ``habits`` are those that ``Imitation`` takes."""
    if kind is Kind.DYNAMODB_LOCAL:
        return LocalImitation(server)
    return Imitation(server, clock=clock, **habits)


class LocalImitation:
    """DynamoDB Local (Developer Guide, 'DynamoDB local usage notes')."""

    def __init__(self, server: DynamoDB) -> None:
        self._server = server
        self._region = b""

    def changes(self, operation: str) -> bool:
        return operation in LOCAL_LACKS | NAMING | READING | {"Scan"}

    async def close(self) -> None:
        await self._server.close()

    async def call(self, operation: str, request: bytes) -> bytes:
        if operation in LOCAL_LACKS:
            raise unknown(operation)
        if operation == "Scan":
            wire = decode(request)
            whole = wire.keys() - {"Segment", "TotalSegments"}
            request = encode({name: wire[name] for name in whole})
        if operation not in NAMING | READING:
            return await self._server.call(operation, request)
        here = rb"arn:aws:dynamodb:ddblocal:"
        answer = await self._server.call(
            operation, request.replace(here, b"arn:aws:dynamodb:" + self._region + b":")
        )
        if found := re.search(rb"arn:aws:dynamodb:([a-z0-9-]+):", answer):
            self._region = found[1]
        answer = re.sub(rb"arn:aws:dynamodb:[a-z0-9-]+:", here, answer)
        return re.sub(rb'"awsRegion": ?"[^"]*"', b'"awsRegion":"ddblocal"', answer)


@dataclass(slots=True)
class Told:
    """A record as the imitation tells it."""

    number: int
    wire: Wire
    visible_ms: int


@dataclass(slots=True)
class Shown:
    """A stream as the imitation shows it."""

    arn: str
    """The server's own."""
    created_ms: int
    shards: list[list[Told]]
    read_to: dict[str, str] = field(default_factory=dict)
    """The last number that was read of each of the server's shards."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def shard_id(self, number: int) -> str:
        return f"H {self.created_ms:x}:{number:032x}"


class Imitation:
    """One region of ScyllaDB Alternator."""

    def __init__(
        self,
        server: DynamoDB,
        *,
        clock: Clock,
        seed: int = 0,
        shards: int = 8,
        visible_after_s: float = 0.0,
        newer: bool = False,
    ) -> None:
        """``newer``: streams are called as newer versions call them."""
        self._server = server
        self._newer = newer
        self._clock = clock
        self._chance = Random(f"imitation {seed}")
        self._shards = shards
        self._visible_after_ms = int(visible_after_s * 1_000)
        self._ticks = 0
        self._streams: dict[str, Shown] = {}
        self.pairs = 0
        """Puts that it told as two records."""

    def changes(self, operation: str) -> bool:
        return operation not in ALTERNATOR_HAS or operation in NAMING | TAGGING | READING

    async def close(self) -> None:
        await self._server.close()

    async def call(self, operation: str, request: bytes) -> bytes:
        if operation not in ALTERNATOR_HAS:
            raise unknown(operation)
        if operation in NAMING:
            return encode(self._renamed(decode(await self._server.call(operation, request))))
        if operation in TAGGING:
            wire = decode(request)
            name = wire.get("ResourceArn", "").rpartition("/")[2]
            table = await self._ask("DescribeTable", TableName=name)
            wire["ResourceArn"] = table["Table"]["TableArn"]
            return await self._server.call(operation, encode(wire))
        if operation in READING:
            return encode(await self._read(operation, decode(request)))
        return await self._server.call(operation, request)

    async def _ask(self, operation: str, **request: Any) -> Wire:
        return decode(await self._server.call(operation, encode(request)))

    def _renamed(self, answer: Wire) -> Wire:
        for table in (answer.get("Table"), answer.get("TableDescription")):
            if table is not None:
                table["TableArn"] = TABLE_ARN.format(table["TableName"])
                if "LatestStreamArn" in table:
                    table["LatestStreamArn"] = self._shown(table["LatestStreamArn"])
        return answer

    def _shown(self, arn: str) -> str:
        """Return what a stream is called here."""
        odd = f"S{uuid5(NAMESPACE_URL, arn)}"
        if self._newer:
            odd = STREAM_ARN.format(arn.split("/")[1], arn.rpartition("/")[2])
        if odd not in self._streams:
            shards: list[list[Told]] = [[] for _ in range(self._shards)]
            self._streams[odd] = Shown(arn, self._clock(), shards)
        return odd

    async def _read(self, operation: str, request: Wire) -> Wire:
        if operation == "ListStreams":
            answer = await self._ask("ListStreams", **request)
            for one in answer["Streams"]:
                one["StreamArn"] = self._shown(one["StreamArn"])
            return answer
        if operation == "GetRecords":
            odd, found, rest = request["ShardIterator"].partition("|")
            if not found:
                raise RefusedError("ValidationException", "Invalid ShardIterator")
            number, place = rest.split("|")
            stream = self._stream(unquote(odd))
            enabled = await self._refresh(stream)
            return self._page(stream, int(number), int(place), request, enabled=enabled)
        stream = self._stream(request["StreamArn"])
        enabled = await self._refresh(stream)
        if operation == "DescribeStream":
            return await self._described(stream, request, enabled=enabled)
        return self._iterator_of(stream, request)

    def _stream(self, odd: str) -> Shown:
        if odd not in self._streams:
            raise NotFoundError("ResourceNotFoundException", f"Invalid StreamArn: {odd}")
        return self._streams[odd]

    async def _described(self, stream: Shown, request: Wire, *, enabled: bool) -> Wire:
        answer = await self._ask("DescribeStream", StreamArn=stream.arn, Limit=1)
        described = answer["StreamDescription"]
        shards = []
        for number, records in enumerate(stream.shards):
            span = {"StartingSequenceNumber": str(self._ticks_of(stream.created_ms) << 64)}
            if not enabled:
                span["EndingSequenceNumber"] = str(
                    records[-1].number if records else self._ticks_of(stream.created_ms) << 64
                )
            shards.append({"ShardId": stream.shard_id(number), "SequenceNumberRange": span})
        start = request.get("ExclusiveStartShardId", "")
        found = [one for one in shards if one["ShardId"] > start]
        limit = request.get("Limit", 100)
        described.pop("LastEvaluatedShardId", None)
        if len(found) > limit:
            described["LastEvaluatedShardId"] = found[limit - 1]["ShardId"]
        described |= {"StreamArn": request["StreamArn"], "Shards": found[:limit]}
        return answer

    def _iterator_of(self, stream: Shown, request: Wire) -> Wire:
        names = [stream.shard_id(number) for number in range(len(stream.shards))]
        if request["ShardId"] not in names:
            raise NotFoundError("ResourceNotFoundException", f"no shard {request['ShardId']}")
        number = names.index(request["ShardId"])
        records = stream.shards[number]
        numbers = [one.number for one in records]
        match request["ShardIteratorType"]:
            case "TRIM_HORIZON":
                place = 0
            case "LATEST":
                place = self._visible(records)
            case "AT_SEQUENCE_NUMBER":
                place = bisect_right(numbers, int(request["SequenceNumber"]) - 1)
            case _:
                place = bisect_right(numbers, int(request["SequenceNumber"]))
        return {"ShardIterator": f"{quote(request['StreamArn'])}|{number}|{place}"}

    def _page(
        self, stream: Shown, number: int, place: int, request: Wire, *, enabled: bool
    ) -> Wire:
        records = stream.shards[number]
        limit = request.get("Limit", 1_000)
        if not 1 <= limit <= 1_000:
            raise RefusedError("ValidationException", "Limit must be 1 to 1000")
        end = max(place, min(self._visible(records), place + limit))
        odd = request["ShardIterator"].split("|")[0]
        answer: Wire = {"Records": [one.wire for one in records[place:end]]}
        if enabled or end < len(records):
            answer["NextShardIterator"] = f"{odd}|{number}|{end}"
        return answer

    def _visible(self, records: list[Told]) -> int:
        return bisect_right(records, self._clock(), key=lambda one: one.visible_ms)

    async def _refresh(self, stream: Shown) -> bool:
        """Take what the server's stream has had since; return whether it goes on."""
        async with stream.lock:
            answer = await self._ask("DescribeStream", StreamArn=stream.arn)
            description = answer["StreamDescription"]
            shards = {one["ShardId"]: one.get("ParentShardId") for one in description["Shards"]}

            def depth(name: str | None) -> int:
                return 0 if name not in shards else 1 + depth(shards[name])

            for name in sorted(shards, key=depth):
                await self._take(stream, name)
            return bool(description["StreamStatus"] == "ENABLED")

    async def _take(self, stream: Shown, name: str) -> None:
        read_to = stream.read_to.get(name)
        start: Wire = {"ShardIteratorType": "TRIM_HORIZON"}
        if read_to is not None:
            start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": read_to}
        answer = await self._ask("GetShardIterator", StreamArn=stream.arn, ShardId=name, **start)
        iterator = answer["ShardIterator"]
        while iterator:
            answer = await self._ask("GetRecords", ShardIterator=iterator)
            for record in answer["Records"]:
                self._tell(stream, record)
                stream.read_to[name] = record["dynamodb"]["SequenceNumber"]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None

    def _tell(self, stream: Shown, record: Wire) -> None:
        """Tell of a change as Alternator would, and now and then of a write that is none."""
        body = record["dynamodb"]
        parts = sorted((name, *value.items()) for name, value in body["Keys"].items())
        shard = stream.shards[zlib.crc32(json.dumps(parts).encode()) % len(stream.shards)]
        old, new = ({name: body.get(name)} for name in VIEWS)
        removal = record["eventName"] == "REMOVE"
        self._write(shard, body, old, new, removal=removal)
        if self._chance.random() < 0.1:
            self._write(shard, body, {"OldImage": new["NewImage"]}, new, removal=removal)

    def _write(self, shard: list[Told], body: Wire, old: Wire, new: Wire, *, removal: bool) -> None:
        self._ticks = max(self._ticks + 2 * MICROSECOND, self._ticks_of(self._clock()))
        if not removal and self._chance.random() < 0.6:
            self.pairs += 1
            self._add(shard, body, "REMOVE", old)
            self._ticks += MICROSECOND
            self._add(shard, body, "MODIFY", new)
        else:
            self._add(shard, body, "REMOVE" if removal else "MODIFY", old | new)

    def _add(self, shard: list[Told], body: Wire, name: str, images: Wire) -> None:
        number = self._ticks << 64 | self._chance.getrandbits(64)
        view = body.get("StreamViewType", "NEW_AND_OLD_IMAGES")
        shown = {
            which: image
            for which, image in images.items()
            if image is not None and view in ("NEW_AND_OLD_IMAGES", VIEWS[which])
        }
        wire = {
            "eventID": f"E{self._ticks:x}:{number & (2**64 - 1):x}",
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "scylladb:alternator",
            "awsRegion": "datacenter1",
            "dynamodb": {
                "ApproximateCreationDateTime": body.get("ApproximateCreationDateTime", 0),
                "Keys": body["Keys"],
                "SequenceNumber": str(number),
                "StreamViewType": view,
                **shown,
            },
        }
        shard.append(Told(number, wire, self._clock() + self._visible_after_ms))

    @staticmethod
    def _ticks_of(ms: int) -> int:
        return ms * 10_000 + EPOCH_TICKS


class ImitationProxy(FaultProxy):
    """The imitation of a kind over HTTP, every region of a server."""

    def __init__(self, upstream: str, clock: Clock, kind: Kind, **habits: Any) -> None:
        super().__init__(upstream, seed=0)
        self._url = upstream
        self.kind = kind
        self.in_vain: Counter[str] = Counter()
        """How often an operation was asked for that the server doesn't have."""
        self._clock = clock
        self._habits = habits
        self.regions: dict[str, Imitated] = {}

    async def _forward(self, request: Request, client: _Client, server: _Server) -> Answer:
        if request.region not in self.regions:
            self.regions[request.region] = self._region(request.region)
        region = self.regions[request.region]
        if not region.changes(request.operation):
            return await super()._forward(request, client, server)
        try:
            body = await region.call(request.operation, request.body)
        except ServiceError as error:
            if error.code == UNKNOWN:
                self.in_vain[request.operation] += 1
            return _refusal("400 Bad Request", error.code, error.message)
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"  # neither says what the body's CRC-32 is
        )
        return Answer(head.encode(), body)

    def _region(self, name: str) -> Imitated:
        place = Place(region=name, table="", name=name, endpoint_url=self._url)
        known = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        server = connect(place, environment=known)
        return imitated(self.kind, server, clock=self._clock, **self._habits)

    @property
    def pairs(self) -> int:
        """Puts that were told as two records, in all regions."""
        alternators = (one for one in self.regions.values() if isinstance(one, Imitation))
        return sum(region.pairs for region in alternators)

    async def close_regions(self) -> None:
        for region in self.regions.values():
            await region.close()


@contextmanager
def imitating(
    url: str, clock: Clock, kind: Kind = Kind.ALTERNATOR, **habits: Any
) -> Iterator[ImitationProxy]:
    """Run the imitation before a server, in a thread of its own."""
    proxy = ImitationProxy(url, clock, kind, **habits)
    ready, stop = threading.Event(), threading.Event()
    ends: list[Callable[[], object]] = []

    async def main() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(over.set))
        async with proxy:
            ready.set()
            await over.wait()
            await proxy.close_regions()
        stop.set()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="imitation")
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        ends[0]()
        thread.join()
