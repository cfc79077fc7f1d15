"""How long to wait before trying again, and trying again until it works.

Full jitter: each delay is drawn evenly between nothing and a ceiling that doubles (AWS
Architecture Blog, 'Exponential backoff and jitter'); it spreads those who failed together.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from dynamirror.errors import ServiceError

T = TypeVar("T")

log = logging.getLogger("dynamirror")

Draw = Callable[[], float]
"""Draws evenly from [0, 1)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow with each failed attempt."""

    base_s: float = 0.05
    cap_s: float = 20.0
    """The cap of botocore's standard mode."""
    draw: Draw = random.random

    def delay_s(self, attempt: int) -> float:
        """Return the delay after the given failed attempt, counted from 1."""
        ceiling_s: float = min(self.cap_s, self.base_s * 2 ** min(attempt, 16))
        return self.draw() * ceiling_s

    async def wait(self, attempt: int) -> None:
        """Wait that long."""
        await asyncio.sleep(self.delay_s(attempt))


TOLD_EVERY = 8
"""Of so many failed attempts in a row one is logged: the first after some seconds, then one every
minute or two. Single failures are the network's daily life, and counted."""


def tell(what: str, attempt: int, error: ServiceError) -> None:
    """Log that something doesn't get on, now and then."""
    if attempt % TOLD_EVERY == 0:
        log.warning(
            "%s: %d attempts failed, still trying: %s. %s", what, attempt, error, error.hint
        )


async def persist(
    call: Callable[[], Awaitable[T]],
    backoff: Backoff,
    attempts_max: int | None = None,
    on_retry: Callable[[ServiceError], None] = lambda _: None,
) -> T:
    """Call until it succeeds or fails for good.

    For requests that are safe to repeat: reads, and writes that are conditional or idempotent.
    ``on_retry`` hears each failure that is tried again. Raises the first error that trying again
    can't help, or the last one after ``attempts_max``.
    """
    attempt = 0
    while True:
        try:
            return await call()
        except ServiceError as error:
            attempt += 1
            if not error.retryable or attempt == attempts_max:
                raise
            tell("a request", attempt, error)
            on_retry(error)
        await backoff.wait(attempt)
