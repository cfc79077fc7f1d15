"""The HTTP server: one request or many, well formed or not, from anybody who reaches the port."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from dynamirror.web import http
from dynamirror.web.http import HEAD_BYTES_MAX, Request, Response, Server


async def echo(request: Request) -> Response:
    told = f"{request.method} {request.path} {sorted(request.query.items())} {len(request.body)}"
    return Response(body=told.encode(), content_type="text/plain", headers={"X-Test": "yes"})


async def said(*pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Return all that the server answers to these pieces, until it or we close."""
    server = Server(echo)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await server.close()
    return answer


def test_a_request_is_answered_with_length_and_headers() -> None:
    answer = asyncio.run(said(b"GET /a%20b?x=1&y= HTTP/1.1\r\nHost: h\r\n\r\n"))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"X-Test: yes" in head
    assert body == b"GET /a b [('x', '1'), ('y', '')] 0"


def test_a_connection_is_kept_and_requests_may_come_in_any_pieces() -> None:
    """Two in one packet, one in many: each gets its answer, in order."""
    one = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
    one += b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    two = b"GET /3 HTTP/1.1\r\nHost: h\r\n\r\n"

    answer = asyncio.run(said(one, two[:9], two[9:], pause_s=0.02))

    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert [answer.index(word) for word in (b"GET /1", b"POST /2", b"GET /3")] == sorted(
        answer.index(word) for word in (b"GET /1", b"POST /2", b"GET /3")
    )
    assert b"POST /2 [] 3" in answer


def test_a_head_request_has_no_body() -> None:
    answer = asyncio.run(said(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"))

    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 12" in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\x02 nonsense\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            HTTPStatus.NOT_IMPLEMENTED,
        ),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: HTTPStatus) -> None:
    answer = asyncio.run(said(data))

    assert answer.startswith(f"HTTP/1.1 {status.value} ".encode())
    assert b"Connection: close" in answer


def test_a_request_without_end_is_cut_off() -> None:
    """Nobody fills our memory."""
    flood = b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * HEAD_BYTES_MAX * 6

    answer = asyncio.run(said(flood))

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_more_connections_than_are_served_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many idle browsers don't cost the engine its descriptors."""
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 2)

    async def main() -> bytes:
        server = Server(echo)
        port = await server.start("127.0.0.1", 0)
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        ends = await asyncio.wait_for(open_ones[2][0].read(), 10)
        for _, writer in open_ones:
            writer.close()
        await server.close()
        return ends

    assert asyncio.run(main()) == b""


def test_an_idle_connection_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "IDLE_S", 0.05)

    async def main() -> bytes:
        server = Server(echo)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        rest = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await server.close()
        return rest

    assert asyncio.run(main()) == b""


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
def test_who_wants_the_connection_closed_gets_it_closed(data: bytes) -> None:
    async def main() -> bytes:
        server = Server(echo)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await server.close()
        return answer

    assert b"Connection: close" in asyncio.run(main())
