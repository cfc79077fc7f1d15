"""One kept-alive HTTP/1.1 connection: a request at a time, answers framed by llhttp.

Rule 1: a connection goes back to its pool only when its answer was whole and nothing followed it.
In every other case it is dropped, so that no request can ever read another one's answer.
Rule 2: no clock. Deadlines are in ticks of the pool, which looks at all its connections at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from dynamirror.aws.transport import OK, Answer, check_crc32
from dynamirror.errors import TransientError

if TYPE_CHECKING:
    from dynamirror.aws.pool import Pool

_CRC32 = b"x-amz-crc32"
_DATE = b"date"


class StaleError(Exception):
    """A kept connection was closed before anything of the answer came."""


class Connection(asyncio.BufferedProtocol):
    """Lives from connect to loss. asyncio and uvloop both set TCP_NODELAY on it."""

    __slots__ = (
        "_aged",
        "_answer",
        "_begun",
        "_body",
        "_buffer",
        "_bytes_max",
        "_complete",
        "_headers",
        "_keep",
        "_parser",
        "_pool",
        "_quiet_since_s",
        "_received",
        "_retire_at_s",
        "_seen",
        "_served",
        "_transport",
        "gone",
        "on_header",
        "overdue_tick",
    )

    def __init__(self, pool: Pool, *, bytes_max: int, now_s: float, age_s_max: float) -> None:
        self._pool = pool
        self._bytes_max = bytes_max
        self._headers: dict[bytes, bytes] = {}
        # Called for each of an answer's eight headers, so no function of ours stands between.
        self.on_header = self._headers.__setitem__
        self._parser = HttpResponseParser(self)
        self._buffer = pool.buffer
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._body: bytes | list[bytes] = b""
        self._begun = self._complete = self._keep = self._aged = False
        self._received = self._served = self._seen = 0
        self._quiet_since_s = now_s
        self._retire_at_s = now_s + age_s_max
        self.overdue_tick = 0
        self.gone = False

    # -- called by the pool

    def send(self, message: bytes, answer: asyncio.Future[Answer], overdue_tick: int) -> None:
        """Send a request; ``answer`` gets the outcome, at the latest at ``overdue_tick``."""
        if self.gone:  # lost between being handed out and now
            answer.set_exception(StaleError())
            return
        self._answer = answer
        self.overdue_tick = overdue_tick
        self._body = b""
        self._headers.clear()
        self._received = 0
        self._begun = self._complete = False
        self._transport.write(message)  # type: ignore[union-attr]  # connected

    def abandon(self, answer: asyncio.Future[Answer]) -> None:
        """Drop the connection if that answer is still to come: nobody waits for it any more."""
        if self._answer is answer:
            self._answer = None
            self.drop()

    def drop(self) -> None:
        """Close at once, without the farewells of TLS, which can take as long as a request."""
        self.gone = True
        self._pool.retire(self)
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, tick: int, now_s: float, idle_s_max: float) -> None:
        """Give up an overdue answer; close what was quiet for too long or is too old."""
        self._aged = now_s >= self._retire_at_s
        if self._answer is not None:
            if tick >= self.overdue_tick:
                self._fail(TransientError("Timeout", "no answer by the deadline"))
            return
        if self._served != self._seen:
            self._seen = self._served
            self._quiet_since_s = now_s
        if self._aged or now_s - self._quiet_since_s >= idle_s_max:
            self.drop()

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # theirs
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None:
            self.drop()  # nothing was asked
            return
        self._received += nbytes
        if self._received > self._bytes_max:
            self._fail(TransientError("AnswerTooLarge", f"over {self._bytes_max} bytes"))
            return
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(TransientError("AnswerMalformed", f"not HTTP as it should be: {error}"))
            return
        if self._complete:
            self._finish(answer)

    def eof_received(self) -> None:
        # Out of the pool now, for the loss itself is told one turn of the loop later.
        self.gone = True
        self._pool.retire(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        del self._parser  # it refers to us
        if self._answer is not None:
            why = f": {exc}" if exc else ""
            if self._received:
                self._fail(TransientError("AnswerTruncated", f"connection lost inside it{why}"))
            elif self._served:
                self._fail(StaleError())
            else:
                self._fail(TransientError("ConnectionLost", f"no answer came{why}"))
        self._pool.forget(self)

    # -- called by the parser

    def on_message_begin(self) -> None:
        if self._begun:
            raise RuntimeError("a second answer to one request")
        self._begun = True

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self._body = body
        elif isinstance(self._body, list):
            self._body.append(body)
        else:
            self._body = [self._body, body]

    def on_message_complete(self) -> None:
        self._complete = True
        # Asked now, for the parser forgets the headers as it returns.
        self._keep = self._parser.should_keep_alive()

    # -- ours

    def _finish(self, answer: asyncio.Future[Answer]) -> None:
        body = self._body
        if isinstance(body, list):
            body = b"".join(body)
        crc32 = self._headers.get(_CRC32) or self._field(_CRC32)
        if crc32:
            try:
                check_crc32(crc32, body)
            except TransientError as error:
                self._fail(error)
                return
        self._answer = None
        self._served += 1
        if not answer.done():
            status = self._parser.get_status_code()
            # Nobody looks at the Date of an answer that is well.
            date = b"" if status == OK else self._field(_DATE)
            answer.set_result((status, body, date))
        # An answer that overtakes its own request (a refusal of its size) leaves the rest of
        # the request behind on this connection.
        if self._keep and not self._aged and not self._transport.get_write_buffer_size():  # type: ignore[union-attr]  # connected
            self._pool.release(self)
        else:
            self.drop()

    def _field(self, wanted: bytes) -> bytes:
        """Return a header's value, in whatever case its name is spelled, or nothing."""
        for name, value in self._headers.items():
            if name.lower() == wanted:
                return value
        return b""

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        self.drop()
