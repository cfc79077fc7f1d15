"""Keep a link's stream from being applied for a while: take its lease, or have the holder pause.

A copied page is older than what the stream brings next, so under the guards that can't tell old
from new nothing may be applied while a segment is copied. Afterwards the stream goes on from where
it stood, which is before all that was copied.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from types import TracebackType
from typing import Self

from dynamirror.core.values import decode
from dynamirror.engine.stream.checkpoints import PAUSE_ROWS, Checkpoints
from dynamirror.engine.stream.lease import RENEW_S, Lease
from dynamirror.errors import HeldError, ServiceError
from dynamirror.ports import Clock

PAUSE_S = 60.0
"""A pause that isn't renewed ends after so long: whoever asked for it has died."""

LANDING_MS = 25_000
"""We stop writing so long before a pause could end: what is on its way must land by then. That may
be two requests of 10 s, for a batch too large is sent in parts; the rest is for clocks."""

ANSWER_S = 45.0
"""How long a running engine may take to say that it has paused: it finishes what it has read."""

LOOK_S = 1.0
"""Time between two looks whether the pause still holds."""

LEAVE_S = 5.0
"""How long we try to take a pause back; one that we can't ends by itself."""

CATCH_UP_LAG_MS = 10_000
"""Between two pauses the running engine must come this near to the stream's end."""

JOIN_LAG_MS = 60 * 60 * 1_000
"""Of an engine that is paused for another machine already, so much may be waiting."""

FRESH_MS = 1_000
"""A report made so long after the link was resumed tells of what came in meanwhile."""

_numbers = count(1)


class Hold:
    """``async with hold:`` nobody applies the link's stream within it.

    A pause that may once have ended is over for good: the stream may have moved on since.
    """

    def __init__(self, checkpoints: Checkpoints, lease: Lease, clock: Clock) -> None:
        # A name of its own, lest the answer to one pause be taken for the answer to the next.
        self.name = f"{lease.owner} pause {next(_numbers)}"
        self._checkpoints = checkpoints
        self._lease = lease
        self._clock = clock
        self._until_ms: int | None = None
        """Before the first question: None."""
        self._lapsed = False
        self._keeping: asyncio.Task[None] | None = None

    def is_held(self) -> bool:
        """Tell whether a request that is sent now lands before the pause could end."""
        if self._until_ms is None or self._clock() > self._until_ms - LANDING_MS:
            self._lapsed = True
        return not self._lapsed

    def require(self) -> None:
        """Raise HeldError if the pause may have ended: nothing may be written any more."""
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()
        self._require_unbroken()

    async def watch(self) -> None:
        """Wait until the pause may have ended; then raise HeldError."""
        while True:
            self.require()
            await asyncio.sleep(LOOK_S)

    async def __aenter__(self) -> Self:
        # Both at once: the pause binds an engine that runs or starts meanwhile, and where none
        # runs there is nobody who need answer.
        await self._ask()
        self._keeping = asyncio.create_task(self._keep())
        try:
            await asyncio.wait_for(self._quiet(), ANSWER_S)
        except TimeoutError:
            await self._leave()
            raise HeldError(
                f"the engine that reads {self._checkpoints.link} has not paused in {ANSWER_S:.0f} s"
            ) from None
        except BaseException:
            await asyncio.shield(self._leave())
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(self._leave(landing=error is not None))

    async def _leave(self, *, landing: bool = False) -> None:
        """Take the pause back, or, with requests given up that may still land, have it end soon."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        with contextlib.suppress(TimeoutError, ServiceError):
            async with asyncio.timeout(LEAVE_S):
                if not landing:
                    await self._checkpoints.delete(self._row)
                elif self.is_held():
                    await self._checkpoints.put(self._row, until_ms=self._clock() + LANDING_MS)

    @property
    def _row(self) -> str:
        return PAUSE_ROWS + self.name

    def _require_unbroken(self) -> None:
        if not self.is_held():
            raise HeldError(
                f"{self._checkpoints.link} could not be kept paused: this process was stopped "
                "or cut off for too long"
            )

    async def _ask(self) -> None:
        """Pause for another while; raise HeldError if the pause may have ended meanwhile."""
        until_ms = self._clock() + int(PAUSE_S * 1_000)
        if self._until_ms is None:
            self._until_ms = until_ms
        self._require_unbroken()
        await self._checkpoints.put(self._row, until_ms=until_ms)
        self._require_unbroken()
        self._until_ms = until_ms

    async def _quiet(self) -> None:
        """Wait until the engine has paused for us, or until it is sure that none runs."""
        while True:
            self.require()
            known = await self._checkpoints.load()
            if self._lease.is_free(known.lease) or self.name in known.paused:
                return
            await asyncio.sleep(0.2)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._ask()


async def caught_up(
    checkpoints: Checkpoints, lease: Lease, clock: Clock, resumed_ms: int
) -> int | None:
    """Before a pause: wait until a running engine is near the stream's end.

    ``resumed_ms``: when our last pause ended. Returns since when changes may be waiting in the
    stream, milliseconds since the epoch; None where no engine runs.
    """
    asked_ms = max(resumed_ms, clock() - int(2 * RENEW_S * 1_000))
    while True:
        held = (await checkpoints.load(positions=False)).lease
        if held is None or lease.is_free(held):
            return None
        report = decode(held["report"].encode()) if held["report"] else {}
        if report.get("at_ms", 0) > asked_ms + FRESH_MS:
            most_ms = JOIN_LAG_MS if report["state"] == "paused" else CATCH_UP_LAG_MS
            if report["lag_ms"] <= most_ms:
                return int(report["at_ms"] - report["lag_ms"])
        await asyncio.sleep(LOOK_S)
