"""The kept connections to one endpoint: at most so many, the last used first.

Rule 1: a request takes any free connection, or waits in line. Who waits gets the first that
becomes free, be it just opened or just released; the pool opens as many as there are in line.
Rule 2: one timer for all. Each sweep is a tick; deadlines count ticks, so a request costs no timer
and no look at the clock. A loop that stands still (AWS Lambda freezes it between invocations)
doesn't tick, and what it finds on waking up gets a fresh chance to be read before it is overdue.
Rule 3: one event loop, though it may stop and run again (``run_until_complete``, many times).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from functools import partial
from random import uniform

from dynamirror.aws.connection import Connection, StaleError
from dynamirror.aws.endpoints import Endpoint
from dynamirror.aws.transport import (
    ANSWER_BYTES_MAX,
    CONNECT_S,
    CONNECTIONS_MAX,
    DEADLINE_S,
    Answer,
)
from dynamirror.errors import ConfigError, ServiceError, TransientError

AGE_S_MAX = 300.0
"""After this, less up to a fifth, a connection is closed once idle: names move to new addresses."""

IDLE_S_MAX = 60.0
"""The AWS SDK for Java closes idle connections after as long; NAT gateways drop them at 350 s."""

TICKS_PER_DEADLINE = 20

BUFFER_BYTES = 65_536
"""Read at once. Ours and kept, for asyncio would allocate 256 KiB for every read, which costs
about as much as all the rest of a small answer."""

CONNECT_SPREAD_S = 0.001
"""Connects beyond the first spread over this much each: about the CPU of a TLS handshake."""


class Pool:
    """Connections to one endpoint; ``exchange`` is all that is asked of it."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        tls: ssl.SSLContext | None,
        connections_max: int = CONNECTIONS_MAX,
        deadline_s: float = DEADLINE_S,
        connect_s: float = CONNECT_S,
        age_s_max: float = AGE_S_MAX,
        idle_s_max: float = IDLE_S_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        # Each read fills it and is parsed at once, so all connections of one loop can share it.
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self._endpoint = endpoint
        self._tls = tls
        self._connections_max = connections_max
        self._tick_s = deadline_s / TICKS_PER_DEADLINE
        self._connect_s = connect_s
        self._age_s_max = age_s_max
        self._idle_s_max = idle_s_max
        self._answer_bytes_max = answer_bytes_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._line: deque[tuple[asyncio.Future[Connection], int]] = deque()
        self._tick = 0
        self._timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<Pool {self._endpoint.url}: {len(self._connections)} connections, "
            f"{len(self._idle)} idle, {len(self._dials)} opening, {len(self._line)} in line>"
        )

    async def exchange(self, message: bytes) -> Answer:
        """Send a whole request and return its answer.

        Raises TransientError without a whole answer by the deadline, ConfigError where the
        endpoint's certificate doesn't stand up.
        """
        # One more, for the tick under way is not a whole one.
        overdue_tick = self._tick + TICKS_PER_DEADLINE + 1
        for _ in range(2):
            connection = self._idle.pop() if self._idle else await self._wait(overdue_tick)
            answer: asyncio.Future[Answer] = self._loop.create_future()  # type: ignore[union-attr]  # connected
            connection.send(message, answer, overdue_tick)
            try:
                return await answer
            except StaleError:
                # The server closed it while we thought it kept. What else lies idle is no younger,
                # so the second attempt gets a new connection or one that has just answered.
                for idle in tuple(self._idle):
                    idle.drop()
            except asyncio.CancelledError:
                connection.abandon(answer)
                raise
        raise TransientError("ConnectionLost", "no answer came, twice")

    async def close(self) -> None:
        """Drop every connection and wait until each is gone; unanswered requests fail."""
        self._closed = True
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        while self._line:
            self._refuse_first(TransientError("ConnectionLost", "closed while in line"))
        if self._connections:
            self._emptied = asyncio.get_running_loop().create_future()
            for connection in tuple(self._connections):
                connection.drop()
            await self._emptied
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- called by connections

    def release(self, connection: Connection) -> None:
        """Take back a connection that is ready for a request."""
        if connection.gone:
            return
        while self._line:
            waiting, _ = self._line.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        self._idle.append(connection)

    def retire(self, connection: Connection) -> None:
        """Hand this connection out no more."""
        if connection in self._idle:
            self._idle.remove(connection)

    def forget(self, connection: Connection) -> None:
        """Strike out a connection that is lost, which may make room for another."""
        self._connections.discard(connection)
        self.retire(connection)
        if self._line:
            self._open()
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    # -- ours

    async def _wait(self, overdue_tick: int) -> Connection:
        if self._closed:
            raise ServiceError("ClientClosed", "no request can be sent any more")
        self._loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Connection] = self._loop.create_future()
        self._line.append((waiting, overdue_tick))
        self._open()
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_s, self._sweep)
        try:
            return await waiting
        except asyncio.CancelledError:
            # It may have got its connection in the very moment it was cancelled.
            if not waiting.cancelled() and waiting.exception() is None:
                self.release(waiting.result())
            raise

    def _open(self) -> None:
        room = self._connections_max - len(self._connections) - len(self._dials)
        for _ in range(min(room, len(self._line) - len(self._dials))):
            delay_s = uniform(0, CONNECT_SPREAD_S * len(self._dials))
            dial = asyncio.get_running_loop().create_task(self._dial(delay_s))
            self._dials.add(dial)
            dial.add_done_callback(self._dialled)

    def _dialled(self, dial: asyncio.Task[None]) -> None:
        self._dials.discard(dial)
        if not dial.cancelled() and (error := dial.exception()) is not None:
            self._refuse_first(error)  # a fault of ours, say; whoever waits must not wait on
        if not self._closed and self._line:
            self._open()

    async def _dial(self, delay_s: float) -> None:
        endpoint = self._endpoint
        loop = asyncio.get_running_loop()
        try:
            if delay_s:
                await asyncio.sleep(delay_s)
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    partial(
                        Connection,
                        self,
                        bytes_max=self._answer_bytes_max,
                        now_s=loop.time(),
                        age_s_max=self._age_s_max * uniform(0.8, 1.0),
                    ),
                    endpoint.host,
                    endpoint.port,
                    ssl=self._tls,
                    server_hostname=endpoint.host if self._tls else None,
                )
        except OSError as error:  # time-outs and everything of TLS included
            self._refuse_first(_not_connected(endpoint, error, self._connect_s))
            return
        if connection.gone:
            self._refuse_first(TransientError("ConnectFailed", f"{endpoint.url}: closed at once"))
            return
        self._connections.add(connection)
        self.release(connection)

    def _refuse_first(self, error: BaseException) -> None:
        while self._line:
            waiting, _ = self._line.popleft()
            if not waiting.done():
                waiting.set_exception(error)
                return

    def _sweep(self) -> None:
        self._tick += 1
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in tuple(self._connections):
            connection.sweep(self._tick, now_s, self._idle_s_max)
        while self._line and (self._line[0][0].done() or self._line[0][1] <= self._tick):
            waiting, _ = self._line.popleft()
            if not waiting.done():
                waiting.set_exception(TransientError("Timeout", f"none became free: {self!r}"))
        busy = self._connections or self._dials or self._line
        self._timer = loop.call_later(self._tick_s, self._sweep) if busy else None


def _not_connected(endpoint: Endpoint, error: OSError, connect_s: float) -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"{endpoint.url}: its certificate is not to be trusted ({error.verify_message}). "
            "If it is your own server's, set AWS_CA_BUNDLE to the file of the authority that "
            "signed it, and name the server as the certificate does."
        )
    if isinstance(error, TimeoutError):
        return TransientError("ConnectTimeout", f"{endpoint.url}: not within {connect_s:g} s")
    fault = TransientError("ConnectFailed", f"{endpoint.url}: {error}")
    if isinstance(error, socket.gaierror):
        fault.hint = "Check the region's name, and that this machine can look up names."
    return fault
