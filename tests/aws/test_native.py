"""What only the native transport promises: retries, limits, and that nothing is ever mixed up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from tests.aws.place import ENVIRONMENT, APlace, Certificates, client, run, server_tls
from tests.aws.server import (
    Behaviour,
    Request,
    Server,
    close_unanswered,
    send,
    send_and_close,
    send_and_reset,
    serving,
    spelled,
    wait,
    well,
)

from dynamirror.aws.client import connect
from dynamirror.aws.connection import Connection
from dynamirror.aws.endpoints import parse
from dynamirror.aws.pool import Pool
from dynamirror.errors import TransientError

MESSAGE = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def pooled(server: Server, **options: Any) -> AsyncIterator[Pool]:
    pool = Pool(parse(server.url, "test"), tls=None, **options)
    try:
        yield pool
    finally:
        await pool.close()


async def read_then_reset(writer: asyncio.StreamWriter, request: Request) -> None:
    await send_and_reset(b"")(writer, request)


@pytest.mark.parametrize("leave", [close_unanswered, read_then_reset])
def test_a_stale_connection_is_tried_once_more(leave: Behaviour) -> None:
    """A kept connection that the server closes as the request arrives: sent again on a new one,
    and nobody hears of it."""

    async def story() -> None:
        async with serving(well, leave) as server, client(server.url) as dynamodb:
            assert await dynamodb.call("PutItem", b"1") == b"1"
            assert await dynamodb.call("PutItem", b"2") == b"2"
        assert [request.connection for request in server.requests] == [1, 1, 2]

    run(story())


def test_a_stale_connection_takes_its_idle_peers_along() -> None:
    """After a server's restart all idle connections are stale: one retry is enough all the same."""

    async def story() -> None:
        script: list[Behaviour] = [wait(0.05)] * 5
        async with serving(*script) as server, client(server.url) as dynamodb:
            await asyncio.gather(*(dynamodb.call("PutItem", b"1") for _ in range(5)))
            assert server.connections == 5
            server.script = [close_unanswered]
            assert await dynamodb.call("PutItem", b"2") == b"2"
        assert server.requests[-1].connection == 6

    run(story())


def test_a_new_connection_is_never_tried_twice() -> None:
    """Where a new connection is closed unanswered, the request may have been carried out."""

    async def story() -> None:
        async with serving(close_unanswered) as server, client(server.url) as dynamodb:
            with pytest.raises(TransientError, match="ConnectionLost"):
                await dynamodb.call("PutItem", b"1")
        assert len(server.requests) == 1

    run(story())


def test_an_answer_begun_is_never_tried_twice() -> None:
    """A byte of an answer means that the request was carried out, at least in part."""

    async def story() -> None:
        async with serving(well, send_and_close(b"H")) as server, client(server.url) as dynamodb:
            await dynamodb.call("PutItem", b"1")
            with pytest.raises(TransientError, match="AnswerTruncated"):
                await dynamodb.call("PutItem", b"2")
        assert len(server.requests) == 2

    run(story())


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(spelled(b"evil"), id="a second answer"),
        pytest.param(b"HTTP/1.1 2", id="a part of one"),
        pytest.param(b"\r\n\r\nrubbish", id="rubbish"),
    ],
)
def test_what_follows_an_answer_is_nobodys(extra: bytes) -> None:
    """Bytes after an answer, in the same packet or a later one, never answer the next request."""

    async def story() -> None:
        later = spelled(b"first")

        async def in_two(writer: asyncio.StreamWriter, _: Request) -> None:
            writer.write(later)
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(extra)

        async with (
            serving(send(later + extra), in_two) as server,
            client(server.url) as dynamodb,
        ):
            with pytest.raises(TransientError, match="AnswerMalformed"):
                await dynamodb.call("PutItem", b"1")
            assert await dynamodb.call("PutItem", b"2") == b"first"
            await asyncio.sleep(0.05)
            assert await dynamodb.call("PutItem", b"3") == b"3"
        assert [request.connection for request in server.requests] == [1, 2, 3]

    run(story())


def test_an_answer_may_overtake_its_request() -> None:
    """A refusal that comes before the request was sent whole is told, and the rest of the request
    never becomes the head of the next."""

    async def story() -> None:
        async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(spelled(b"", "413 Payload Too Large"))
            await asyncio.sleep(0.1)
            writer.close()
            await writer.wait_closed()

        listening = await asyncio.start_server(impatient, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        pool = Pool(parse(f"http://127.0.0.1:{port}", "test"), tls=None)
        status, _, _ = await pool.exchange(MESSAGE[:-2] + b"x" * 20_000_000)
        assert status == 413
        assert ", 0 idle," in repr(pool)
        await pool.close()
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.2)

    run(story())


def test_a_request_in_line_has_its_deadline_too() -> None:
    """Where no connection becomes free, a request fails at its deadline and not later."""

    async def story() -> None:
        script: list[Behaviour] = [wait(0.6)]
        async with (
            serving(*script) as server,
            client(server.url, connections_max=1, deadline_s=0.3) as dynamodb,
        ):
            outcomes = await asyncio.gather(
                *(dynamodb.call("PutItem", b"1") for _ in range(3)), return_exceptions=True
            )
        assert all(isinstance(outcome, TransientError) for outcome in outcomes)

    run(story())


def test_a_connection_given_to_the_cancelled_goes_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request cancelled in the very moment it gets its connection hands it on."""

    async def story() -> None:
        async with serving(wait(0.05)) as server, pooled(server, connections_max=1) as pool:
            first, second, third = (asyncio.create_task(pool.exchange(MESSAGE)) for _ in range(3))
            release = pool.release

            def release_and_cancel(connection: Connection) -> None:
                release(connection)
                if first.done() or pool._line:
                    second.cancel()

            await asyncio.sleep(0.02)
            monkeypatch.setattr(pool, "release", release_and_cancel)
            assert await third == await first
            assert second.cancelled()
            assert [request.connection for request in server.requests] == [1, 1]

    run(story())


def test_the_last_used_is_used_first() -> None:
    """Connections beyond those needed fall idle, and are closed after a while; so are old ones."""

    async def story() -> None:
        script: list[Behaviour] = [wait(0.05)] * 6
        async with (
            serving(*script) as server,
            pooled(server, deadline_s=1.0, idle_s_max=0.2) as pool,
        ):
            await asyncio.gather(*(pool.exchange(MESSAGE) for _ in range(6)))
            assert server.open == 6
            for _ in range(10):
                await pool.exchange(MESSAGE)
                await asyncio.sleep(0.05)
            assert server.open == 1
            assert server.connections == 6

    run(story())


@pytest.mark.parametrize("pause_s", [0.02, 0.0])
def test_an_old_connection_is_replaced(pause_s: float) -> None:
    """Names move to new addresses: no connection is kept for ever, be it seldom idle."""

    async def story() -> None:
        script: list[Behaviour] = [wait(0.02)] * 30
        async with (
            serving(*script) as server,
            pooled(server, deadline_s=1.0, age_s_max=0.2) as pool,
        ):
            for _ in range(30):
                await pool.exchange(MESSAGE)
                await asyncio.sleep(pause_s)
            assert 3 <= server.connections <= 9
            assert server.open <= 1

    run(story())


def test_nothing_runs_when_nothing_is_open() -> None:
    """An idle client costs nothing: with the last connection gone its timer is gone."""

    async def story() -> None:
        async with serving() as server, pooled(server, deadline_s=0.4, idle_s_max=0.1) as pool:
            await pool.exchange(MESSAGE)
            await asyncio.sleep(0.3)
            assert "0 connections" in repr(pool)
            assert pool._timer is None
            await pool.exchange(MESSAGE)
        assert server.connections == 2

    run(story())


def test_no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small requests leave at once (TCP_NODELAY)."""

    async def story() -> None:
        made = []
        original = Connection.connection_made

        def seen(connection: Any, transport: asyncio.BaseTransport) -> None:
            made.append(transport.get_extra_info("socket"))
            original(connection, transport)

        monkeypatch.setattr(Connection, "connection_made", seen)
        async with serving() as server, pooled(server) as pool:
            await pool.exchange(MESSAGE)
            assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    run(story())


def test_a_cancelled_request_gives_its_place_up_at_once() -> None:
    """Its connection is closed, not waited for: the next request takes the place."""

    async def story() -> None:
        async with (
            serving(wait(0.5)) as server,
            client(server.url, connections_max=1) as dynamodb,
        ):
            cancelled = asyncio.create_task(dynamodb.call("PutItem", b"old"))
            await asyncio.sleep(0.05)
            cancelled.cancel()
            async with asyncio.timeout(0.3):
                assert await dynamodb.call("PutItem", b"new") == b"new"
        assert [request.connection for request in server.requests] == [1, 2]

    run(story())


@pytest.mark.parametrize(("times", "expected"), [(1, b"{}"), (2, None)])
def test_a_connection_lost_while_handed_on(
    monkeypatch: pytest.MonkeyPatch, times: int, expected: bytes | None
) -> None:
    """A connection that is lost between two requests costs the second at most a retry."""

    async def story() -> None:
        async with serving(wait(0.05)) as server, pooled(server, connections_max=1) as pool:
            calls = [asyncio.create_task(pool.exchange(MESSAGE)) for _ in range(2)]
            release = pool.release
            left = times

            def release_and_lose(connection: Connection) -> None:
                nonlocal left
                release(connection)
                if left:
                    left -= 1
                    connection.drop()

            await asyncio.sleep(0.02)
            monkeypatch.setattr(pool, "release", release_and_lose)
            await calls[0]
            if expected is None:
                with pytest.raises(TransientError, match="twice"):
                    await calls[1]
            else:
                assert (await calls[1])[1] == expected

    run(story())


def test_a_name_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that can't be looked up is told with the likeliest cause, a misspelt region."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def story() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        dynamodb = connect(APlace(region="eu-wst-1"), environment=ENVIRONMENT)
        with pytest.raises(TransientError, match="eu-wst-1") as caught:
            await dynamodb.call("PutItem", b"{}")
        assert "region" in caught.value.hint
        await dynamodb.close()

    run(story())


def test_a_fault_of_ours_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should never fail, failing: every request that waits is told, and none hangs."""

    async def story() -> None:
        async with serving() as server, pooled(server) as pool:
            loop = asyncio.get_running_loop()

            async def broken(*_: object, **__: object) -> None:
                raise ValueError("broken")

            with monkeypatch.context() as patched:
                patched.setattr(loop, "create_connection", broken)
                calls = (pool.exchange(MESSAGE) for _ in range(5))
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [str(outcome) for outcome in outcomes] == ["broken"] * 5
            assert (await pool.exchange(MESSAGE))[0] == 200

    run(story())


def test_closing_fails_what_is_unanswered() -> None:
    """Requests still out at close fail at once, those in line too."""

    async def story() -> None:
        async with (
            serving(wait(0.2)) as server,
            client(server.url, connections_max=1) as dynamodb,
        ):
            calls = [asyncio.create_task(dynamodb.call("PutItem", b"1")) for _ in range(3)]
            await asyncio.sleep(0.05)
            await dynamodb.close()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, TransientError) for outcome in outcomes)

    run(story())


def test_the_loop_may_stand_still() -> None:
    """A loop that stops between calls, as AWS Lambda freezes it, finds its connections again; those
    closed meanwhile are replaced."""
    loop = asyncio.new_event_loop()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(5)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            dynamodb = connect(APlace(endpoint_url=url), environment=ENVIRONMENT)

            def answered(connection: socket.socket) -> None:
                connection.recv(65_536)
                connection.sendall(spelled(b"{}"))

            for _ in range(3):
                call = loop.create_task(dynamodb.call("PutItem", b"{}"))
                loop.run_until_complete(asyncio.sleep(0.05))
                connection, _ = listening.accept()
                with connection:
                    answered(connection)
                    loop.run_until_complete(call)
                    second = loop.create_task(dynamodb.call("PutItem", b"{}"))
                    loop.run_until_complete(asyncio.sleep(0.05))
                    answered(connection)
                    loop.run_until_complete(second)
                # Closed while nobody looks.
            loop.run_until_complete(dynamodb.close())
    finally:
        loop.close()


@pytest.mark.parametrize("secure", [False, True])
def test_uvloop(certificates: Certificates, secure: bool) -> None:  # noqa: FBT001
    """On uvloop everything holds that holds on asyncio's own loop."""

    async def story() -> None:
        script = [
            well,
            close_unanswered,
            well,
            send_and_close(spelled(b"cut short")[:-4]),
            send(spelled(b"damaged", crc32=1)),
            wait(0.5),
        ]
        async with (
            serving(*script, tls=server_tls(certificates.right) if secure else None) as server,
            client(server.url, authority=certificates.authority, deadline_s=0.3) as dynamodb,
        ):
            assert await dynamodb.call("PutItem", b"1") == b"1"
            assert await dynamodb.call("PutItem", b"2") == b"2"
            for _ in range(3):
                with pytest.raises(TransientError):
                    await dynamodb.call("PutItem", b"{}")
            bodies = [b"%d" % number for number in range(50)]
            answers = await asyncio.gather(*(dynamodb.call("PutItem", body) for body in bodies))
            assert answers == bodies
            cancelled = asyncio.create_task(dynamodb.call("PutItem", b"old"))
            await asyncio.sleep(0)
            cancelled.cancel()
            large = b"x" * 1_000_000
            assert await dynamodb.call("PutItem", large) == large

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
