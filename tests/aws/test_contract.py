"""What both transports promise, against a server that misbehaves."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Literal

import pytest
from tests.aws.place import Certificates, Rotating, client, run, server_tls
from tests.aws.server import (
    Behaviour,
    Request,
    close_unanswered,
    refused,
    send,
    send_and_close,
    send_and_reset,
    send_piecemeal,
    serving,
    spelled,
    wait,
    well,
)

from dynamirror.errors import (
    AccessDeniedError,
    ConfigError,
    RefusedError,
    ServiceError,
    ThrottledError,
    TransientError,
)

Kind = Literal["native", "botocore"]

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\n{"a":\r\n3;of=three\r\n "b\r\n2\r\n"}\r\n0\r\nTrailer: x\r\n\r\n'
)


def test_a_request_is_one_signed_post(transport: Kind) -> None:
    """A request is POST /, names its API and operation, and is signed, token included."""

    async def story() -> None:
        rotating = Rotating("token")
        async with (
            serving() as server,
            client(server.url, transport, credentials=rotating) as dynamodb,
        ):
            assert await dynamodb.call("PutItem", b'{"a":1}') == b'{"a":1}'
            await dynamodb.call("GetRecords", b"{}")
        put, get = server.requests
        assert put.head["x-amz-target"] == "DynamoDB_20120810.PutItem"
        assert get.head["x-amz-target"] == "DynamoDBStreams_20120810.GetRecords"
        assert put.head["host"] == server.url.removeprefix("http://")
        assert put.head["content-type"] == "application/x-amz-json-1.0"
        assert put.head["x-amz-security-token"] == "token"
        assert "/eu-west-1/dynamodb/aws4_request, SignedHeaders=" in put.head["authorization"]
        assert put.head["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")

    run(story())


def test_a_connection_is_kept(transport: Kind) -> None:
    """Requests one after the other take one connection."""

    async def story() -> None:
        async with serving() as server, client(server.url, transport) as dynamodb:
            for number in range(10):
                assert await dynamodb.call("PutItem", b"%d" % number) == b"%d" % number
        assert server.connections == 1

    run(story())


def test_answers_find_their_requests(transport: Kind) -> None:
    """Many requests at once share a few connections, and each gets its own answer."""

    async def story() -> None:
        slow: list[Behaviour] = [wait(0.001 * (number % 7)) for number in range(100)]
        async with (
            serving(*slow) as server,
            client(server.url, transport, connections_max=4) as dynamodb,
        ):
            bodies = [b"%d" % number for number in range(100)]
            answers = await asyncio.gather(*(dynamodb.call("PutItem", body) for body in bodies))
        assert answers == bodies
        assert server.connections <= 4

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(send_piecemeal(spelled(b'{"a": "b"}')), id="byte by byte"),
        pytest.param(send(CHUNKED), id="chunked"),
        pytest.param(send_piecemeal(CHUNKED), id="chunked, byte by byte"),
        pytest.param(send(spelled(b'{"a": "b"}', x_amz_crc32="")), id="no checksum"),
        pytest.param(send_and_close(spelled(b'{"a": "b"}', Connection="close")), id="closing"),
    ],
)
def test_an_answer_is_read_however_it_comes(transport: Kind, answer: Behaviour) -> None:
    """How an answer is cut into pieces changes nothing, and the next request works too."""

    async def story() -> None:
        async with serving(answer) as server, client(server.url, transport) as dynamodb:
            assert await dynamodb.call("GetItem", b"{}") == b'{"a": "b"}'
            assert await dynamodb.call("GetItem", b'{"next":1}') == b'{"next":1}'

    run(story())


def test_a_large_answer_is_read_whole(transport: Kind) -> None:
    """A megabyte and more comes back as it was sent."""

    async def story() -> None:
        large = bytes(range(32, 127)) * 20_000
        async with serving() as server, client(server.url, transport) as dynamodb:
            assert await dynamodb.call("BatchWriteItem", large) == large

    run(story())


def test_an_idle_connection_may_be_closed(transport: Kind) -> None:
    """A server that closes kept connections costs a new one, never an error."""

    async def story() -> None:
        script = [send_and_close(spelled(b"one")), send_and_close(spelled(b"two")), well]
        async with serving(*script) as server, client(server.url, transport) as dynamodb:
            assert await dynamodb.call("GetItem", b"{}") == b"one"
            await asyncio.sleep(0.05)
            assert await dynamodb.call("GetItem", b"{}") == b"two"
            await asyncio.sleep(0.05)
            assert await dynamodb.call("GetItem", b"three") == b"three"
        assert server.connections == 3

    run(story())


def test_close_means_close(transport: Kind) -> None:
    """After ``Connection: close`` nothing more is sent on that connection."""

    async def story() -> None:
        async with (
            serving(send(spelled(b"last", Connection="close"))) as server,
            client(server.url, transport) as dynamodb,
        ):
            assert await dynamodb.call("GetItem", b"1") == b"last"
            assert await dynamodb.call("GetItem", b"2") == b"2"
        assert [request.connection for request in server.requests] == [1, 2]

    run(story())


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(send_and_close(spelled(b"cut short")[:-4]), id="truncated body"),
        pytest.param(send_and_close(CHUNKED[:-20]), id="truncated chunks"),
        pytest.param(send_and_close(spelled(b"cut short")[:60]), id="truncated head"),
        pytest.param(send_and_reset(b""), id="reset at once"),
        pytest.param(send_and_reset(spelled(b"cut short")[:-4]), id="reset inside"),
        pytest.param(close_unanswered, id="closed unanswered"),
        pytest.param(send(spelled(b"damaged", crc32=1)), id="wrong checksum"),
        pytest.param(send(spelled(b"damaged", x_amz_crc32="rubbish")), id="checksum of rubbish"),
        pytest.param(send(spelled(b"x" * 5_000)), id="oversize"),
        pytest.param(send_and_close(b"SSH-2.0-OpenSSH_9.6\r\n"), id="not HTTP"),
        pytest.param(send(spelled(b"", "500 Internal Server Error")), id="500"),
        pytest.param(send(spelled(b"<html>", "502 Bad Gateway")), id="502"),
        pytest.param(send(refused("InternalServerError", "500 x")), id="InternalServerError"),
        pytest.param(send(refused("ValidationException", "503 x")), id="503 with a code"),
    ],
)
def test_an_unknown_outcome_is_transient(transport: Kind, fault: Behaviour) -> None:
    """Where no whole answer came, the request may have taken effect: TransientError, and the
    next request is none the worse for it."""

    async def story() -> None:
        async with (
            serving(fault) as server,
            client(server.url, transport, answer_bytes_max=4_096) as dynamodb,
        ):
            with pytest.raises(TransientError) as caught:
                await dynamodb.call("PutItem", b"first")
            assert caught.value.retryable
            assert await dynamodb.call("PutItem", b"second") == b"second"
        assert server.bodies == {b"first": 1, b"second": 1}

    run(story())


def test_a_deadline_is_kept(transport: Kind) -> None:
    """An answer after the deadline is a TransientError, and never the answer to the next
    request."""

    async def story() -> None:
        async with (
            serving(wait(0.5)) as server,
            client(server.url, transport, deadline_s=0.2) as dynamodb,
        ):
            start = time.monotonic()
            with pytest.raises(TransientError):
                await dynamodb.call("PutItem", b"late")
            assert 0.15 < time.monotonic() - start < 0.45
            for number in range(5):
                assert await dynamodb.call("PutItem", b"%d" % number) == b"%d" % number
                await asyncio.sleep(0.1)

    run(story())


def test_a_page_of_a_scan_may_take_longer(transport: Kind) -> None:
    """A server that looks through a whole table for a page is not asked for it again meanwhile."""

    async def story() -> None:
        async with (
            serving(wait(0.5)) as server,
            client(server.url, transport, deadline_s=0.2) as dynamodb,
        ):
            assert await dynamodb.call("Scan", b"page") == b"page"
        assert server.bodies == {b"page": 1}

    run(story())


def test_nobody_listens(transport: Kind) -> None:
    """A server that isn't there is a TransientError that names the address."""

    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with client(f"http://127.0.0.1:{port}", transport) as dynamodb:
            with pytest.raises(TransientError, match=f"127.0.0.1:{port}"):
                await dynamodb.call("PutItem", b"{}")

    run(story())


def test_nobody_answers_the_handshake(transport: Kind) -> None:
    """A server that accepts and then is silent fails the connect, before the deadline."""

    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"https://127.0.0.1:{silent.getsockname()[1]}"
            async with client(url, transport, connect_s=0.2, deadline_s=1.0) as dynamodb:
                with pytest.raises(TransientError):
                    await dynamodb.call("PutItem", b"{}")

    run(story())


def test_what_is_cancelled_is_forgotten(transport: Kind) -> None:
    """The answer to a cancelled request is nobody else's."""

    async def story() -> None:
        async with (
            serving(*[wait(0.1)] * 4) as server,
            client(server.url, transport, connections_max=8) as dynamodb,
        ):
            calls = [asyncio.create_task(dynamodb.call("PutItem", b"old")) for _ in range(4)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            for number in range(8):
                assert await dynamodb.call("PutItem", b"%d" % number) == b"%d" % number
                await asyncio.sleep(0.02)

    run(story())


def test_tls_with_an_authority_of_ones_own(transport: Kind, certificates: Certificates) -> None:
    """AWS_CA_BUNDLE says whose certificates are good."""

    async def story() -> None:
        tls = server_tls(certificates.right)
        async with (
            serving(tls=tls) as server,
            client(server.url, transport, authority=certificates.authority) as dynamodb,
        ):
            assert await dynamodb.call("PutItem", b"1") == b"1"
            large = b"x" * 300_000
            assert await dynamodb.call("PutItem", large) == large
        assert server.connections == 1

    run(story())


def test_tls_faults_are_the_same_faults(transport: Kind, certificates: Certificates) -> None:
    """Behind TLS a truncated answer is truncated and an idle connection may close."""

    async def story() -> None:
        tls = server_tls(certificates.right)
        script = [
            send_and_close(spelled(b"one")),
            send_and_close(spelled(b"cut short")[:-4]),
            send_and_reset(spelled(b"cut short")[:-4]),
            wait(0.6),
        ]
        async with (
            serving(*script, tls=tls) as server,
            client(
                server.url, transport, authority=certificates.authority, deadline_s=0.4
            ) as dynamodb,
        ):
            assert await dynamodb.call("PutItem", b"0") == b"one"
            await asyncio.sleep(0.05)
            for _ in range(3):
                with pytest.raises(TransientError):
                    await dynamodb.call("PutItem", b"{}")
            assert await dynamodb.call("PutItem", b"4") == b"4"

    run(story())


@pytest.mark.parametrize("fault", ["unknown authority", "another host"])
def test_a_certificate_that_is_not_to_be_trusted(
    transport: Kind, certificates: Certificates, fault: str
) -> None:
    """Nothing is sent to a server that can't prove who it is; the error says how to go on."""

    async def story() -> None:
        other = fault == "another host"
        tls = server_tls(certificates.other if other else certificates.right)
        authority = certificates.authority if other else None
        async with (
            serving(tls=tls) as server,
            client(server.url, transport, authority=authority) as dynamodb,
        ):
            with pytest.raises(ConfigError, match="AWS_CA_BUNDLE"):
                await dynamodb.call("PutItem", b"{}")
        assert server.requests == []

    run(story())


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (refused("ThrottlingException"), ThrottledError, "ThrottlingException"),
        (refused("ThrottlingException", "503 x"), ThrottledError, "ThrottlingException"),
        (refused("ValidationException"), RefusedError, "ValidationException"),
        (refused("BrandNewException"), ServiceError, "BrandNewException"),
        (spelled(b"<html>no</html>", "403 Forbidden"), AccessDeniedError, "HTTP 403"),
        (spelled(b"\xff\xfe[", "404 Not Found"), ServiceError, "HTTP 404"),
        (spelled(b"", "302 Found", Location="http://x/"), ServiceError, "HTTP 302"),
    ],
)
def test_a_refusal_is_told_as_it_is(
    transport: Kind, answer: bytes, kind: type[ServiceError], code: str
) -> None:
    """What the service says is raised at once, under its own name, and never sent again."""

    async def story() -> None:
        async with (
            serving(send(answer)) as server,
            client(server.url, transport) as dynamodb,
        ):
            with pytest.raises(ServiceError) as caught:
                await dynamodb.call("PutItem", b"{}")
        assert type(caught.value) is kind
        assert caught.value.code == code
        assert len(server.requests) == 1

    run(story())


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_expired_credentials_are_renewed(transport: Kind, code: str) -> None:
    """Credentials the service calls expired are renewed, and the request sent once more."""

    async def story() -> None:
        async with (
            serving(send(refused(code))) as server,
            client(server.url, transport, credentials=Rotating("old", "new")) as dynamodb,
        ):
            assert await dynamodb.call("PutItem", b"1") == b"1"
        tokens = [request.head["x-amz-security-token"] for request in server.requests]
        assert tokens == ["old", "new"]

    run(story())


def test_credentials_that_stay_expired_are_an_error(transport: Kind) -> None:
    """A second refusal is final, and so is the first where there are no other credentials."""

    async def story() -> None:
        script = [send(refused("ExpiredTokenException"))] * 3
        async with (
            serving(*script) as server,
            client(server.url, transport, credentials=Rotating("old", "new")) as dynamodb,
        ):
            for _ in range(2):
                with pytest.raises(AccessDeniedError):
                    await dynamodb.call("PutItem", b"{}")
        assert len(server.requests) == 3

    run(story())


@pytest.mark.parametrize("code", ["InvalidSignatureException", "RequestTimeTooSkewed"])
@pytest.mark.parametrize("off_s", [-4_000, 4_000])
def test_a_wrong_clock_is_corrected(transport: Kind, code: str, off_s: int) -> None:
    """A machine whose clock is off signs by the service's Date from then on."""

    async def strict(writer: asyncio.StreamWriter, request: Request) -> None:
        # A server whose clock is off from ours by so much.
        now_s = time.time() + off_s
        signed = time.strptime(request.head["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
        date = formatdate(now_s, usegmt=True)
        if abs(time.mktime(signed) - time.timezone - now_s) > 300:
            answer = refused(code).replace(b"Date: ", b"Date: " + date.encode() + b"\r\nOld: ")
        else:
            answer = spelled(request.body)
        await send(answer)(writer, request)

    async def story() -> None:
        async with serving(*[strict] * 4) as server, client(server.url, transport) as dynamodb:
            for _ in range(3):
                assert await dynamodb.call("PutItem", b"1") == b"1"
        assert len(server.requests) == 4

    run(story())


@pytest.mark.parametrize("date", ["right", "", "rubbish", "a, b Jan c d:e:f GMT"])
def test_a_wrong_key_is_no_wrong_clock(transport: Kind, date: str) -> None:
    """A bad signature with the right Date, or none to go by, is an error at once."""
    answer = refused("InvalidSignatureException")
    head, _, rest = answer.partition(b"Date: ")
    date = formatdate(usegmt=True) if date == "right" else date  # as of now, not of collection
    answer = head + b"Date: " + date.encode() + rest[rest.index(b"\r\n") :]

    async def story() -> None:
        async with (
            serving(send(answer)) as server,
            client(server.url, transport) as dynamodb,
        ):
            with pytest.raises(AccessDeniedError):
                await dynamodb.call("PutItem", b"{}")
        assert len(server.requests) == 1

    run(story())


def test_closing_leaves_nothing_open(transport: Kind) -> None:
    """After close every connection is gone and a request is an error, which no retry helps;
    closing twice is no fault."""

    async def story() -> None:
        async with serving() as server, client(server.url, transport) as dynamodb:
            await asyncio.gather(*(dynamodb.call("PutItem", b"1") for _ in range(5)))
            await dynamodb.close()
            await asyncio.sleep(0.05)
            assert server.open == 0
            with pytest.raises(ServiceError, match="ClientClosed") as caught:
                await dynamodb.call("PutItem", b"1")
            assert not caught.value.retryable

    run(story())
