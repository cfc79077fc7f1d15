"""A server that misbehaves on request, on 127.0.0.1: one behaviour per request, in order.

A behaviour is an async function of the connection's writer and the request. Requests beyond the
script are answered well.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate


@dataclass
class Request:
    connection: int
    head: Mapping[str, str]
    body: bytes


Behaviour = Callable[[asyncio.StreamWriter, Request], Awaitable[None]]


@dataclass
class Server:
    url: str = ""
    script: list[Behaviour] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    @property
    def bodies(self) -> Counter[bytes]:
        return Counter(request.body for request in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        mine = self.connections
        try:
            while not writer.is_closing():
                request = await _request(reader, mine)
                self.requests.append(request)
                behave = self.script.pop(0) if self.script else well
                await behave(writer, request)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(
    *script: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    server = Server(script=list(script))
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await server.serve(reader, writer)

    listening = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield server
    finally:
        listening.close()
        # The client has closed by now; what still sleeps in a behaviour is waited for.
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


def spelled(
    body: bytes = b"{}", status: str = "200 OK", *, crc32: int | None = None, **headers: str
) -> bytes:
    """Return an answer as DynamoDB spells it; a header is given as ``Content_Type="..."``."""
    head = {
        "Server": "Server",
        "Date": formatdate(usegmt=True),
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(body)),
        "Connection": "keep-alive",
        "x-amzn-RequestId": "TIJ3UVK4NJ7QIEB13UFU26TPB3VV4KQNSO5AEMVJF66Q9ASUAAJG",
        "x-amz-crc32": str(zlib.crc32(body) if crc32 is None else crc32),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def refused(code: str, status: str = "400 Bad Request", message: str = "no") -> bytes:
    body = f'{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"{message}"}}'
    return spelled(body.encode(), status)


# -- behaviours


async def well(writer: asyncio.StreamWriter, request: Request) -> None:
    """Answer with the request's own body, so that a mixed-up answer shows."""
    await send(spelled(request.body))(writer, request)


def send(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, _: Request) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def send_and_close(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, _: Request) -> None:
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return behave


def send_piecemeal(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, _: Request) -> None:
        for place in range(len(answer)):
            writer.write(answer[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)

    return behave


def send_and_reset(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, _: Request) -> None:
        if answer:
            writer.write(answer)
            await writer.drain()
            await asyncio.sleep(0.05)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return behave


def wait(seconds: float, then: Behaviour = well) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, request: Request) -> None:
        await asyncio.sleep(seconds)
        await then(writer, request)

    return behave


async def close_unanswered(writer: asyncio.StreamWriter, _: Request) -> None:
    writer.close()
    await writer.wait_closed()


async def _request(reader: asyncio.StreamReader, connection: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    assert head[0] == "POST / HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in head[1:-2])
    names = {name.lower(): value for name, value in fields.items()}
    body = await reader.readexactly(int(names["content-length"]))
    return Request(connection, names, body)
