"""A proxy that stands between an engine and a server and makes the network behave badly.

It forwards DynamoDB's JSON requests on 127.0.0.1 and, by a seeded draw per request, throttles
them, leaves a part of a batch undone, fails before or after the server did the work, resets
connections, cuts answers short, delays, or keeps a request until its client has long given up and
lets it land then. In a test::

    rule = Rule(rates=spread(0.05), operations=WRITES)
    async with FaultProxy("http://127.0.0.1:4566", seed=7, rules=[rule]) as proxy:
        ...  # the engine's endpoint is proxy.endpoint
        proxy.rules = []  # the network heals
        await proxy.settle()  # whatever was kept back has landed

or as a process of its own: ``python -m tests.fault_proxy --upstream URL --seed 7 --faults 0.05``.

A batch that is forwarded in part no longer fits its signature: the server behind must not verify
signatures. One seed gives one sequence of draws; which request meets which depends on the order
in which they arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import socket
import struct
import sys
import zlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

WRITES = frozenset(
    {
        "BatchExecuteStatement",
        "BatchWriteItem",
        "DeleteItem",
        "ExecuteStatement",
        "ExecuteTransaction",
        "PutItem",
        "TransactWriteItems",
        "UpdateItem",
    }
)
READS = frozenset(
    {
        "BatchGetItem",
        "DescribeStream",
        "GetItem",
        "GetRecords",
        "GetShardIterator",
        "Query",
        "Scan",
        "TransactGetItems",
    }
)

HEAD_BYTES_MAX = 1 << 16

_TARGET = re.compile(rb"\r\nx-amz-target: *[\w]+\.(\w+)", re.IGNORECASE)
_REGION = re.compile(rb"\r\nauthorization:.*?Credential=[^/\r\n]+/\d+/([^/\r\n]+)/", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHECKSUM = re.compile(rb"\r\nx-amz-crc32: *\d+", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Fault(StrEnum):
    """What may befall a request."""

    THROTTLE = auto()
    """Refused with one of the service's throttling errors."""
    UNPROCESSED = auto()
    """A batch of writes of which a part is left undone; nothing else is hit by it."""
    ERROR_BEFORE = auto()
    """InternalServerError, and nothing was done."""
    ERROR_AFTER = auto()
    """InternalServerError, though the request took effect."""
    RESET_BEFORE = auto()
    """The connection is reset, and nothing was done."""
    RESET_AFTER = auto()
    """The connection is reset, though the request took effect."""
    TRUNCATE = auto()
    """The request takes effect, its answer ends too early."""
    DELAY = auto()
    """Slow, before the server sees it as well as before the client sees the answer."""
    HANG = auto()
    """Kept so long that the client gives up, and forwarded then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How often each fault befalls the requests that the rule is for; the first rule that fits a
    request governs it.
    """

    rates: Mapping[Fault, float]
    operations: frozenset[str] | None = None
    """Their names; None: all."""
    regions: frozenset[str] | None = None
    """The regions that requests are signed for; None: all."""

    def fits(self, request: Request) -> bool:
        return (self.operations is None or request.operation in self.operations) and (
            self.regions is None or request.region in self.regions
        )


def spread(total: float, faults: Iterable[Fault] = tuple(Fault)) -> dict[Fault, float]:
    """Return rates that are equal and add up to ``total``."""
    hit = list(faults)
    return {fault: total / len(hit) for fault in hit}


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what to forward, and what the rules look at."""

    head: bytes
    body: bytes
    operation: str
    region: str


@dataclass(frozen=True, slots=True)
class Answer:
    head: bytes
    body: bytes


class _ResetError(Exception):
    """The client's connection is to be reset."""


class _OrphanError(Exception):
    """Nobody waits for the answer any more, and the request was not forwarded."""


class FaultProxy:
    """The proxy, from ``async with`` to its end; ``rules`` may be replaced at any time.

    With ``drop_orphans`` a request whose client has gone before it was forwarded is dropped:
    what a killed or timed-out client left unanswered then never lands after its successor, save
    what was on its way to the server at that very moment.
    """

    def __init__(
        self,
        upstream: str,
        *,
        seed: int,
        rules: Sequence[Rule] = (),
        drop_orphans: bool = False,
        delay_s: float = 0.2,
        hang_s: float = 5.0,
        port: int = 0,
    ) -> None:
        parts = urlsplit(upstream)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"the upstream is an http:// address, not {upstream!r}")
        self._upstream = parts.hostname, parts.port or 80
        self._random = random.Random(seed)
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.rules = rules
        self.drop_orphans = drop_orphans
        self.delay_s = delay_s
        self.hang_s = hang_s
        self.counts: Counter[str] = Counter()
        """Per fault; and ``requests``, ``forwarded``, ``landed_late``, ``dropped``."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, limit=HEAD_BYTES_MAX
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def settle(self) -> None:
        """Wait until no request is kept back or under way."""
        await self._idle.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection, by one connection of ours to the server."""
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        server = _Server(*self._upstream)
        client = _Client(reader, writer)
        try:
            while (request := await _read_request(reader)) is not None:
                self._under_way += 1
                self._idle.clear()
                try:
                    whole = await self._handle(request, client, server)
                finally:
                    self._under_way -= 1
                    if not self._under_way:
                        self._idle.set()
                if not whole:
                    break
        except _ResetError:
            client.reset()
        except _OrphanError:
            self.counts["dropped"] += 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, the server or the proxy has gone: so does the connection
        finally:
            server.close()
            await client.close()

    async def _handle(self, request: Request, client: _Client, server: _Server) -> bool:
        """Answer a request, badly if it is drawn; return whether the connection still serves."""
        fault = self._draw(request)
        self.counts["requests"] += 1
        if fault is not None:
            self.counts[fault] += 1
        if (refusal := self._refusal_for(fault)) is not None:
            return await client.send(refusal)
        if fault is Fault.UNPROCESSED:
            return await client.send(await self._do_a_part(request, client, server))
        await self._dawdle(fault)
        answer = await self._forward(request, client, server)
        match fault:
            case Fault.ERROR_AFTER:
                answer = _INTERNAL
            case Fault.RESET_AFTER:
                raise _ResetError
            case Fault.TRUNCATE:
                cut = self._random.randrange(len(answer.body)) if answer.body else 0
                await client.send(Answer(answer.head, answer.body[:cut]))
                return False
            case Fault.DELAY:
                await self._dawdle(fault)
        return await client.send(answer)

    def _refusal_for(self, fault: Fault | None) -> Answer | None:
        """Return what to say instead of forwarding, if the fault is of that kind."""
        if fault is Fault.RESET_BEFORE:
            raise _ResetError
        if fault is Fault.THROTTLE:
            return self._random.choice(_THROTTLES)
        return _INTERNAL if fault is Fault.ERROR_BEFORE else None

    async def _dawdle(self, fault: Fault | None) -> None:
        if fault is Fault.HANG:
            await asyncio.sleep(self.hang_s)
        elif fault is Fault.DELAY:
            await asyncio.sleep(self._random.random() * self.delay_s / 2)

    async def _do_a_part(self, request: Request, client: _Client, server: _Server) -> Answer:
        part, held_back = _part_of(request, self._random)
        if not held_back:  # a batch of which nothing is done is a throttle
            return self._random.choice(_THROTTLES)
        return _with_unprocessed(await self._forward(part, client, server), held_back)

    def _draw(self, request: Request) -> Fault | None:
        rule = next((rule for rule in self.rules if rule.fits(request)), None)
        if rule is None or not request.operation:
            return None
        mark = self._random.random()
        for fault, rate in rule.rates.items():
            mark -= rate
            if mark < 0:
                misses = fault is Fault.UNPROCESSED and request.operation != "BatchWriteItem"
                return None if misses else fault
        return None

    async def _forward(self, request: Request, client: _Client, server: _Server) -> Answer:
        if client.gone:
            if self.drop_orphans:
                raise _OrphanError
            self.counts["landed_late"] += 1
        self.counts["forwarded"] += 1
        return await server.exchange(request)


class _Client:
    """The connection that the engine opened."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def gone(self) -> bool:
        """Whether it was closed; between requests nothing else comes from a client."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def send(self, answer: Answer) -> bool:
        """Send an answer; say whether the connection still serves."""
        if self._writer.is_closing():
            return False
        self._writer.write(answer.head + answer.body)
        await self._writer.drain()
        return True

    def reset(self) -> None:
        """End the connection with a RST, as a host that crashed or a full balancer does."""
        held = self._writer.get_extra_info("socket")
        if held is not None and held.fileno() >= 0:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self._writer.wait_closed()


class _Server:
    """Our connection to the server, opened when first needed and kept."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: Request) -> Answer:
        """Send a request, once: it is never repeated, or a fault would be of our own making."""
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(*self._address, limit=HEAD_BYTES_MAX)
        reader, writer = self._streams
        writer.write(request.head + request.body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        if _CHUNKED.search(head):
            body = await _read_chunks(reader)
            return Answer(_CHUNKED.sub(b"\r\nContent-Length: %d" % len(body), head), body)
        length = _LENGTH.search(head)
        return Answer(head, await reader.readexactly(int(length[1]) if length else 0))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length, target, region = _LENGTH.search(head), _TARGET.search(head), _REGION.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return Request(
        head,
        body,
        target[1].decode() if target else "",
        region[1].decode() if region else "",
    )


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def _refusal(status: str, code: str, message: str) -> Answer:
    """Return an error as DynamoDB spells it."""
    body = json.dumps({"__type": code, "message": message}).encode()
    head = (
        f"HTTP/1.1 {status}\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\n"
        f"x-amzn-RequestId: FAULTPROXY\r\nx-amz-crc32: {zlib.crc32(body)}\r\n\r\n"
    )
    return Answer(head.encode(), body)


_INTERNAL = _refusal(
    "500 Internal Server Error",
    "com.amazonaws.dynamodb.v20120810#InternalServerError",
    "Internal server error",
)
_THROTTLES = (
    _refusal(
        "400 Bad Request",
        "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "The level of configured provisioned throughput for the table was exceeded. "
        "Consider increasing your provisioning level with the UpdateTable API.",
    ),
    _refusal(
        "400 Bad Request",
        "com.amazon.coral.availability#ThrottlingException",
        "Rate of requests exceeds the allowed throughput.",
    ),
)


def _part_of(request: Request, draw: random.Random) -> tuple[Request, dict[str, list[Any]]]:
    """Split a batch: what to forward, and what to leave undone; both have something in them,
    unless there is one write only.
    """
    content = json.loads(request.body)
    writes = [(table, write) for table, some in content["RequestItems"].items() for write in some]
    if len(writes) < 2:
        return request, {}
    left = set(draw.sample(range(len(writes)), draw.randrange(1, len(writes))))
    forwarded: dict[str, list[Any]] = {}
    held_back: dict[str, list[Any]] = {}
    for place, (table, write) in enumerate(writes):
        (held_back if place in left else forwarded).setdefault(table, []).append(write)
    body = json.dumps({**content, "RequestItems": forwarded}).encode()
    head = _LENGTH.sub(b"\r\nContent-Length: %d" % len(body), request.head)
    return Request(head, body, request.operation, request.region), held_back


def _with_unprocessed(answer: Answer, held_back: Mapping[str, list[Any]]) -> Answer:
    """Add what was left undone to what the server itself left undone."""
    if not answer.head.startswith(b"HTTP/1.1 200"):
        return answer
    content = json.loads(answer.body)
    undone = content.setdefault("UnprocessedItems", {})
    for table, writes in held_back.items():
        undone.setdefault(table, []).extend(writes)
    body = json.dumps(content).encode()
    head = _LENGTH.sub(b"\r\nContent-Length: %d" % len(body), answer.head)
    return Answer(_CHECKSUM.sub(b"\r\nx-amz-crc32: %d" % zlib.crc32(body), head), body)


def _names(text: str) -> frozenset[str]:
    known = {"writes": WRITES, "reads": READS}
    return known.get(text) or frozenset(text.split(","))


async def _run(chosen: argparse.Namespace) -> None:
    rule = Rule(
        rates=spread(chosen.faults, chosen.kinds),
        operations=chosen.operations,
        regions=chosen.regions,
    )
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with FaultProxy(
        chosen.upstream,
        seed=chosen.seed,
        rules=[rule],
        drop_orphans=chosen.drop_orphans,
        delay_s=chosen.delay_s,
        hang_s=chosen.hang_s,
        port=chosen.port,
    ) as proxy:
        sys.stdout.write(f"{proxy.endpoint}\n")
        sys.stdout.flush()
        await stop.wait()
        sys.stdout.write(json.dumps(dict(proxy.counts)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fault_proxy", description=__doc__)
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; it is printed")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--faults", type=float, default=0.05, help="share of requests hit")
    parser.add_argument(
        "--kinds",
        type=lambda text: [Fault(name) for name in text.split(",")],
        default=list(Fault),
        help=f"which faults: {','.join(Fault)}",
    )
    parser.add_argument("--operations", type=_names, help="writes, reads, or names with commas")
    parser.add_argument("--regions", type=_names, help="names with commas")
    parser.add_argument("--drop-orphans", action="store_true")
    parser.add_argument("--delay-s", type=float, default=0.2)
    parser.add_argument("--hang-s", type=float, default=5.0)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
