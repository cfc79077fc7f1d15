"""The proxy does to a request what its fault says, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from tests.fault_proxy import WRITES, Fault, FaultProxy, Rule, spread

PUT = {"TableName": "Stories", "Item": {"id": {"S": "a"}}}
HANG_S = 0.4


@dataclass
class Upstream:
    """A server that does whatever it is asked, and remembers it."""

    done: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    chunked: bool = False
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                operation, body = await read_message(reader)
                self.done.append((operation.split()[0], json.loads(body)))
                writer.write(self.answer())
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    def answer(self) -> bytes:
        body = json.dumps({"UnprocessedItems": {}, "done": len(self.done)}).encode()
        if self.chunked:
            chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % chunks
        head = "HTTP/1.1 200 OK\r\nx-amz-crc32: %d\r\nContent-Length: %d\r\n\r\n"
        return (head % (zlib.crc32(body), len(body))).encode() + body


async def read_message(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return the operation, or of an answer the head, and the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    target = re.search(r"(?i)x-amz-target: \w+\.(\w+)", head)
    if checksum := re.search(r"x-amz-crc32: (\d+)", head):
        assert int(checksum[1]) == zlib.crc32(body)
    return target[1] if target else head, body


class Client:
    """One connection to the proxy."""

    def __init__(self, endpoint: str) -> None:
        self._port = int(endpoint.rpartition(":")[2])

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, operation: str, body: object, region: str = "eu-west-1") -> None:
        content = json.dumps(body).encode()
        self._writer.write(
            f"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{region}/dynamodb/"
            f"aws4_request, SignedHeaders=host, Signature=0\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await self._writer.drain()

    async def call(
        self, operation: str, body: object, region: str = "eu-west-1"
    ) -> tuple[int, dict[str, Any]]:
        await self.send(operation, body, region)
        head, content = await read_message(self._reader)
        return int(head.split()[1]), json.loads(content)


@asynccontextmanager
async def upstream(*, chunked: bool = False) -> AsyncIterator[Upstream]:
    found = Upstream(chunked=chunked)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


Story = Callable[[Upstream, FaultProxy], Awaitable[None]]


def play(
    story: Story,
    *rules: Rule,
    seed: int = 1,
    drop_orphans: bool = False,
    chunked: bool = False,
) -> None:
    async def run() -> None:
        async with (
            upstream(chunked=chunked) as server,
            FaultProxy(
                f"http://127.0.0.1:{server.port}",
                seed=seed,
                rules=rules,
                drop_orphans=drop_orphans,
                delay_s=0.02,
                hang_s=HANG_S,
            ) as proxy,
        ):
            await story(server, proxy)

    asyncio.run(run())


def always(fault: Fault) -> Rule:
    return Rule(rates={fault: 1.0})


def batch(count: int) -> dict[str, Any]:
    puts = [{"PutRequest": {"Item": {"id": {"S": str(number)}}}} for number in range(count)]
    return {"RequestItems": {"Stories": puts}}


@pytest.mark.parametrize("chunked", [False, True])
def test_without_rules_every_request_passes_as_it_is(*, chunked: bool) -> None:
    """A healthy network changes nothing, and one connection carries many requests."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            for number in range(1, 4):
                assert (await client.call("PutItem", PUT))[1]["done"] == number
        assert server.done == [("PutItem", PUT)] * 3

    play(story, chunked=chunked)


def test_a_throttled_request_does_nothing() -> None:
    """A throttle is a 400 with one of the service's codes; the connection goes on."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        codes = set()
        async with Client(proxy.endpoint) as client:
            for _ in range(20):
                status, body = await client.call("PutItem", PUT)
                assert status == 400
                codes.add(body["__type"].partition("#")[2])
        assert codes == {"ProvisionedThroughputExceededException", "ThrottlingException"}
        assert server.done == []

    play(story, always(Fault.THROTTLE))


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_is_done_in_part_and_the_rest_is_reported(seed: int) -> None:
    """Every write of a batch is either done or reported as unprocessed; neither are none."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            _, body = await client.call("BatchWriteItem", batch(25))
        ((_, forwarded),) = server.done
        undone = body["UnprocessedItems"]["Stories"]
        done = forwarded["RequestItems"]["Stories"]
        assert undone
        assert done
        every = sorted(json.dumps(write) for write in done + undone)
        assert every == sorted(json.dumps(w) for w in batch(25)["RequestItems"]["Stories"])

    play(story, always(Fault.UNPROCESSED), seed=seed)


def test_a_batch_of_one_is_throttled_instead() -> None:
    """The service answers a batch of which nothing was done with a throttle."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            assert (await client.call("BatchWriteItem", batch(1)))[0] == 400
        assert server.done == []

    play(story, always(Fault.UNPROCESSED))


def test_what_is_no_batch_is_never_unprocessed() -> None:
    """That fault passes other operations by."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            assert (await client.call("PutItem", PUT))[0] == 200
        assert len(server.done) == 1

    play(story, always(Fault.UNPROCESSED))


@pytest.mark.parametrize(
    ("fault", "done"), [(Fault.ERROR_BEFORE, 0), (Fault.ERROR_AFTER, 1)], ids=str
)
def test_a_500_may_come_before_or_after_the_deed(fault: Fault, done: int) -> None:
    """The client sees the same; the server did the work in one case only."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            status, body = await client.call("PutItem", PUT)
        assert status == 500
        assert body["__type"].endswith("#InternalServerError")
        assert len(server.done) == done

    play(story, always(fault))


@pytest.mark.parametrize(
    ("fault", "done"), [(Fault.RESET_BEFORE, 0), (Fault.RESET_AFTER, 1)], ids=str
)
def test_a_reset_may_come_before_or_after_the_deed(fault: Fault, done: int) -> None:
    """The client's connection breaks without an answer."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            with pytest.raises(ConnectionResetError):
                await client.call("PutItem", PUT)
        assert len(server.done) == done

    play(story, always(fault))


def test_a_truncated_answer_ends_before_its_length() -> None:
    """The head promises more than comes, though the request took effect."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            with pytest.raises(asyncio.IncompleteReadError):
                await client.call("PutItem", PUT)
        assert len(server.done) == 1

    play(story, always(Fault.TRUNCATE))


def test_a_delayed_request_is_answered_all_the_same() -> None:
    """Slow is not broken."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            assert (await client.call("PutItem", PUT))[0] == 200
        assert len(server.done) == 1

    play(story, always(Fault.DELAY))


def test_a_hanging_request_lands_after_its_client_gave_up() -> None:
    """The orphan takes effect late, behind what the client's successor did meanwhile."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            await client.send("PutItem", {"late": True})
            await asyncio.sleep(0.02)
        proxy.rules = []
        async with Client(proxy.endpoint) as client:
            await client.call("PutItem", PUT)
        assert [body for _, body in server.done] == [PUT]
        await proxy.settle()
        assert [body for _, body in server.done] == [PUT, {"late": True}]
        assert proxy.counts["landed_late"] == 1

    play(story, always(Fault.HANG))


def test_orphans_are_dropped_if_so_wanted() -> None:
    """With drop_orphans nothing lands whose client went before it was forwarded."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            await client.send("PutItem", PUT)
            await asyncio.sleep(0.02)
        await proxy.settle()
        assert server.done == []
        assert proxy.counts["dropped"] == 1

    play(story, always(Fault.HANG), drop_orphans=True)


def test_a_hanging_request_is_answered_to_a_client_with_patience() -> None:
    """Who still waits is no orphan, in either mode."""

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            assert (await client.call("PutItem", PUT))[0] == 200
        assert len(server.done) == 1

    play(story, always(Fault.HANG), drop_orphans=True)


def test_a_rule_is_for_its_operations_and_regions() -> None:
    """Reads and other regions pass a rule for writes to one region by."""
    rule = Rule(
        rates={Fault.ERROR_BEFORE: 1.0}, operations=WRITES, regions=frozenset({"eu-west-1"})
    )

    async def story(_server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            assert (await client.call("PutItem", PUT, "eu-west-1"))[0] == 500
            assert (await client.call("PutItem", PUT, "us-east-1"))[0] == 200
            assert (await client.call("GetItem", PUT, "eu-west-1"))[0] == 200

    play(story, rule)


def test_the_first_rule_that_fits_governs() -> None:
    """A healthy region may be spelt as a rule without rates before one for all."""
    healthy = Rule(rates={}, regions=frozenset({"us-east-1"}))

    async def story(_server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            assert (await client.call("PutItem", PUT, "us-east-1"))[0] == 200
            assert (await client.call("PutItem", PUT, "eu-west-1"))[0] == 500

    play(story, healthy, always(Fault.ERROR_BEFORE))


def test_a_seed_gives_the_same_faults_again() -> None:
    """One client's requests meet the same faults in every run of a seed."""

    def once() -> list[int]:
        found: list[int] = []

        async def story(_server: Upstream, proxy: FaultProxy) -> None:
            async with Client(proxy.endpoint) as client:
                found.extend([(await client.call("PutItem", PUT))[0] for _ in range(60)])

        refusals = (Fault.THROTTLE, Fault.ERROR_BEFORE, Fault.ERROR_AFTER)
        play(story, Rule(rates=spread(0.5, refusals)), seed=23)
        return found

    first = once()
    assert set(first) == {200, 400, 500}
    assert once() == first


def test_the_rates_are_kept() -> None:
    """A rate is the share of requests that meet the fault."""

    async def story(_server: Upstream, proxy: FaultProxy) -> None:
        async with Client(proxy.endpoint) as client:
            for _ in range(1_000):
                await client.call("PutItem", PUT)
        assert 60 <= proxy.counts[Fault.THROTTLE] <= 140
        assert proxy.counts["requests"] == 1_000
        assert proxy.counts["forwarded"] == 1_000 - proxy.counts[Fault.THROTTLE]

    play(story, Rule(rates={Fault.THROTTLE: 0.1}))


def test_the_end_of_the_proxy_drops_what_it_holds() -> None:
    """Leaving the proxy waits for nothing: what it still keeps back never lands."""
    seen: list[Upstream] = []

    async def story(server: Upstream, proxy: FaultProxy) -> None:
        seen.append(server)
        async with Client(proxy.endpoint) as client:
            await client.send("PutItem", PUT)
            await asyncio.sleep(0.02)

    play(story, always(Fault.HANG))
    assert seen[0].done == []


def test_only_plain_http_is_behind_it() -> None:
    """The proxy reads what it forwards, so it can't stand before TLS."""
    with pytest.raises(ValueError, match="http:// address"):
        FaultProxy("https://dynamodb.eu-west-1.amazonaws.com", seed=1)
