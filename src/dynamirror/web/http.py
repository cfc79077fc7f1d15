"""HTTP/1.1 for a few people on one machine: requests are read by httptools, answered one by one.

Kept small by what it leaves out: no chunked requests, no compression, no TLS. Everything that a
stranger could make large or slow has a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64
IDLE_S = 75.0
"""A browser keeps a connection for later; after so long we take it back."""

CLOSE_S = 2.0
"""What a stopping server gives those that are being answered."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """By lower-case names."""
    body: bytes
    keeps: bool = True
    """Whether the connection may be used again."""


class Response(msgspec.Struct, kw_only=True):
    """One answer."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = {}


Respond = Callable[[Request], Awaitable[Response]]


class RefusedRequestError(Exception):
    """A request that isn't answered as asked; the connection ends with it."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Reading:
    """The requests in the bytes that have come so far, by httptools' callbacks."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.parser = httptools.HttpRequestParser(self)
        self.bytes = 0
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        url = httptools.parse_url(self._url)
        query = dict(parse_qsl((url.query or b"").decode("latin-1"), keep_blank_values=True))
        self.requests.append(
            Request(
                method=self.parser.get_method().decode("latin-1"),
                path=unquote((url.path or b"/").decode("latin-1")),
                query=query,
                headers=self._headers,
                body=self._body,
                # Asked here: behind its end the parser has forgotten the request.
                keeps=self.parser.should_keep_alive(),
            )
        )
        self.bytes = 0

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that are complete with these bytes. Raises RefusedRequestError."""
        self.bytes += len(data)
        if self.bytes > HEAD_BYTES_MAX + BODY_BYTES_MAX:
            raise RefusedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise RefusedRequestError(HTTPStatus.NOT_IMPLEMENTED) from error
        except (httptools.HttpParserError, httptools.HttpParserInvalidURLError) as error:
            raise RefusedRequestError(HTTPStatus.BAD_REQUEST) from error
        found, self.requests = self.requests, []
        return found


class Server:
    """Serves one address until closed."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port: with 0, one that was free. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.close()
        waiting = list(self._open)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=CLOSE_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._open.add(task)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reading, goes_on = _Reading(), True
        while goes_on:
            async with asyncio.timeout(IDLE_S):
                data = await reader.read(HEAD_BYTES_MAX)
            if not data:
                return
            try:
                requests = reading.feed(data)
            except RefusedRequestError as error:
                told = Response(body=b"", content_type="text/plain", status=error.status)
                writer.write(_head(told, goes_on=False))
                await writer.drain()
                return
            for request in requests:
                goes_on = request.keeps
                response = await self._respond(request)
                body = b"" if request.method == "HEAD" else response.body
                writer.write(_head(response, goes_on=goes_on) + body)
                await writer.drain()


def _head(response: Response, *, goes_on: bool) -> bytes:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Connection": "keep-alive" if goes_on else "close",
        **response.headers,
    }
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
