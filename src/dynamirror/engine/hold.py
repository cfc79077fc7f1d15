"""Keep a link's stream from being applied for a while: take its lease, or have the holder pause.

A copied page is older than what the stream brings next, so under the guards that can't tell old
from new nothing may be applied while a segment is copied. Afterwards the stream goes on from where
it stood, which is before all that was copied.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from dynamirror.engine.checkpoints import PAUSE_ROWS, Checkpoints
from dynamirror.engine.lease import RENEW_S, Lease
from dynamirror.errors import HeldError
from dynamirror.ports import Clock

PAUSE_S = 60.0
"""A pause that isn't renewed ends after so long: whoever asked for it has died."""

MARGIN_MS = 15_000
"""We stop writing so long before a pause could end: requests in flight must land by then, and a
request's deadline is 10 s."""

ANSWER_S = 45.0
"""How long a running engine may take to say that it has paused: it finishes what it has read."""


class Hold:
    """``async with hold:`` nobody applies the link's stream within it."""

    def __init__(self, checkpoints: Checkpoints, lease: Lease, clock: Clock) -> None:
        self._checkpoints = checkpoints
        self._lease = lease
        self._clock = clock
        self._until_ms = 0
        self._keeping: asyncio.Task[None] | None = None

    def require(self) -> None:
        """Raise HeldError if the pause may have ended: nothing may be written any more."""
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()
        if self._clock() > self._until_ms - MARGIN_MS:
            raise HeldError(
                f"{self._checkpoints.link} could not be kept paused: this process was stopped "
                "or cut off for too long"
            )

    async def __aenter__(self) -> Self:
        # Both at once: the pause binds an engine that runs or starts meanwhile, and where none
        # runs there is nobody who need answer.
        await self._ask()
        try:
            await asyncio.wait_for(self._quiet(), ANSWER_S)
        except TimeoutError:
            await self._checkpoints.delete(self._row)
            raise HeldError(
                f"the engine that reads {self._checkpoints.link} has not paused in {ANSWER_S:.0f} s"
            ) from None
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        await self._checkpoints.delete(self._row)

    @property
    def _row(self) -> str:
        return PAUSE_ROWS + self._lease.owner

    async def _ask(self) -> None:
        until_ms = self._clock() + int(PAUSE_S * 1_000)
        await self._checkpoints.put(self._row, until_ms=until_ms)
        self._until_ms = until_ms

    async def _quiet(self) -> None:
        """Wait until the engine has paused for us, or until it is sure that none runs."""
        while True:
            known = await self._checkpoints.load()
            if self._lease.is_free(known.lease) or self._lease.owner in known.paused:
                return
            await asyncio.sleep(0.2)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._ask()
