"""What is served where, beside a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from dynamirror.errors import DynamirrorError
from dynamirror.observe.prometheus import CONTENT_TYPE, exposition
from dynamirror.runtimes.watching import Watch
from dynamirror.web.app import Dashboard
from dynamirror.web.guard import Guard, new_token
from dynamirror.web.http import Request, Respond, Response, Server


class AddressError(DynamirrorError):
    """An address can't be listened at."""

    hint = "Another process may listen there: give another port."


@asynccontextmanager
async def served(respond: Respond, host: str, port: int) -> AsyncIterator[int]:
    """Serve an address within the context, and say at which port. Raises AddressError."""
    server = Server(respond)
    try:
        found = await server.start(host, port)
    except OSError as error:
        raise AddressError(f"can't listen at {host}:{port}: {error.strerror or error}") from error
    try:
        yield found
    finally:
        await server.close()


@asynccontextmanager
async def watched(watch: Watch) -> AsyncIterator[None]:
    """Sample how the mirrors stand within the context."""
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def metrics_of(watch: Watch) -> Respond:
    """Return what answers a scrape: ``/metrics`` and nothing else."""

    async def respond(request: Request) -> Response:
        if request.path != "/metrics":
            told = b"metrics are at /metrics\n"
            return Response(body=told, content_type="text/plain", status=HTTPStatus.NOT_FOUND)
        text = exposition(await watch.seen())
        return Response(body=text.encode(), content_type=CONTENT_TYPE)

    return respond


@asynccontextmanager
async def dashboard(watch: Watch, host: str, port: int, *, writes: bool) -> AsyncIterator[str]:
    """Serve the dashboard within the context, and say what to open. Raises AddressError.

    The address carries a token where one is needed: to change something, or from elsewhere.
    """
    guard = Guard(host=host, writes=writes, token=new_token())
    respond = Dashboard(watch, guard).respond
    async with served(respond, host, port) as found, watched(watch):
        shown = f"[{host}]" if ":" in host else host
        secret = f"#token={guard.token}" if writes or not guard.loopback else ""
        yield f"http://{shown}:{found}/{secret}"
