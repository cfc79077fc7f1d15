"""What an application answers to a health check: whether its data path works, by using it.

A check of Amazon Route 53 waits 2 seconds for the answer, so the look has a time limit below that.
It reads one key, which need not be there, with strong consistency; it may write one row to a table
of ours. The answer has no key, no item and no message: anybody may ask for it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from queue import Empty, SimpleQueue
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dynamirror.writer.client import Passing
from dynamirror.writer.saving import now_ms

TIMEOUT_S = 1.5
"""Route 53 wants status and headers within 2 s of the connection (Developer Guide, 'How Amazon
Route 53 determines whether a health check is healthy')."""

KEEP_S = 1.0
"""So long one answer serves all who ask: whoever asks more often can't use up the table."""

AT_ONCE = 4
"""Looks that may hang at once; each is a thread until its client gives up."""

ROW = {"link": "#health", "shard": "application"}
"""The row that is written to the checkpoint table: no mirror's link is called like that."""

KEPT_S = 86_400
"""Until time to live may take that row away."""

OK, ILL = 200, 503

Answer = tuple[int, bytes]
"""A status of HTTP, and JSON."""


class Health:
    """Looks whether a region's data path works; also a WSGI and, as ``asgi``, an ASGI app."""

    def __init__(
        self,
        table: Any,
        key: Mapping[str, Any],
        *,
        checkpoint_table: str | None = None,
        lag: Callable[[], float | None] | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(getattr(table, "name", None), str) or not hasattr(table, "get_item"):
            raise TypeError(f"health() takes a boto3 Table, not {type(table).__name__}")
        self._table = table._wrapped if isinstance(table, Passing) else table  # noqa: SLF001
        self._key = dict(key)
        self._checkpoint_table = checkpoint_table
        self._lag = lag
        self._timeout_s = timeout_s
        self._clock = clock
        self._slots = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._kept: tuple[float, Answer] | None = None

    def look(self) -> Answer:
        """Return 200 if the data path works and 503 if not, and what was found, as JSON.

        It returns within the time limit and raises nothing of AWS's.
        """
        with self._lock:  # who asks meanwhile gets the same answer
            now_s = self._clock()
            if self._kept is None or now_s - self._kept[0] >= KEEP_S:
                self._kept = (now_s, self._looked())
            return self._kept[1]

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request of WSGI."""
        del environ
        status, body = self.look()
        reason = "OK" if status == OK else "Service Unavailable"
        headers = [(name.decode(), value.decode()) for name, value in _headers(body)]
        start_response(f"{status} {reason}", headers)
        return [body]

    async def asgi(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer a request of ASGI."""
        del receive
        if scope["type"] != "http":
            raise ValueError(f"a health check answers http, not {scope['type']}")
        status, body = await asyncio.to_thread(self.look)
        start = {"type": "http.response.start", "status": status, "headers": _headers(body)}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def _looked(self) -> Answer:
        found: SimpleQueue[dict[str, Any]] = SimpleQueue()

        def look() -> None:
            try:
                found.put(self._found())
            finally:
                self._slots.release()

        if not self._slots.acquire(blocking=False):
            return _answer({"error": "Hanging"})
        # No pool's: a thread that hangs must keep nobody from ending the process.
        threading.Thread(target=look, name="dynamirror-health", daemon=True).start()
        try:
            return _answer(found.get(timeout=self._timeout_s))
        except Empty:
            return _answer({"error": "Timeout"})

    def _found(self) -> dict[str, Any]:
        """Return what a look finds; with ``error``, the data path doesn't work."""
        told: dict[str, Any] = {}
        try:
            told["region"] = self._table.meta.client.meta.region_name
            told["read_ms"] = _timed(
                lambda: self._table.get_item(Key=self._key, ConsistentRead=True)
            )
            if self._checkpoint_table is not None:
                told["write_ms"] = _timed(self._write)
        except ClientError as error:
            told["error"] = str(error.response.get("Error", {}).get("Code", "ClientError"))
        except BotoCoreError as error:
            told["error"] = type(error).__name__
        if self._lag is not None:
            told["lag_seconds"] = self._lag()
        return told

    def _write(self) -> None:
        at_ms = now_ms()
        row = {**ROW, "at_ms": at_ms, "expires_at": at_ms // 1_000 + KEPT_S, "format": 1}
        self._table.meta.client.put_item(TableName=self._checkpoint_table, Item=row)


def health(
    table: Any,
    key: Mapping[str, Any],
    *,
    checkpoint_table: str | None = None,
    lag: Callable[[], float | None] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Health:
    """Return a health check of the data path, to be mounted in an application.

    ``table`` is a boto3 Table, versioned or not, and ``key`` one of its keys, which need not be
    there. ``checkpoint_table``: also write a row to this table of ours, in the same region.
    ``lag`` returns how far the mirror that writes to this region is behind, seconds, or None where
    that isn't known; it is told and not judged. Raises TypeError for what is no Table.
    """
    return Health(table, key, checkpoint_table=checkpoint_table, lag=lag, timeout_s=timeout_s)


def lag_from(checkpoints: Any, link: str) -> Callable[[], float | None]:
    """Return what tells the lag of a link that `dynamirror run` applies: ``lag`` of ``health``.

    ``checkpoints`` is the boto3 Table beside the link's source, whose region the link comes from;
    ``link`` as `dynamirror status` names it, such as ``sessions/us-east-1``.
    """

    def lag() -> float | None:
        key = {"link": link, "shard": "#lease"}
        try:
            row = checkpoints.get_item(Key=key).get("Item") or {}
        except (BotoCoreError, ClientError):
            return None  # that region may be gone, which is no fault of this one
        report = json.loads(row.get("report") or "{}")
        if report.get("lag_ms") is None:
            return None
        # An engine that has died tells nothing more, and is further behind each second.
        since_ms = max(0, now_ms() - int(report["at_ms"]))
        return float(report["lag_ms"] + since_ms) / 1_000

    return lag


def _timed(act: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    act()
    return round((time.perf_counter() - began_s) * 1_000, 1)


def _answer(told: Mapping[str, Any]) -> Answer:
    status = ILL if "error" in told else OK
    return status, json.dumps({"status": "ill" if "error" in told else "ok", **told}).encode()


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
