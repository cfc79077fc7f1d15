"""What a repair says it did, or would do, item by item."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from dynamirror.core.drift import Kind
from dynamirror.core.values import Key, Wire
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.held.parking import Parking
from dynamirror.errors import NotFoundError

ATTEMPTS_MAX = 5
"""Looks at an item that changes between our read and our write."""

AT_ONCE = 16
"""Items repaired at the same time."""

PARKED = "it has parked changes: run `dynamirror redrive`"


class Outcome(StrEnum):
    """What became of an item."""

    PLANNED = "planned"
    """Nothing was written: this is what would be."""
    REPAIRED = "repaired"
    EQUAL = "equal"
    """It was the same already when it was read again."""
    LEFT = "left"
    """It still differs; ``why`` says why."""


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about one item, or would be."""

    kind: Kind
    """How it differed."""
    target: str
    """The target's short name."""
    key: Wire
    outcome: Outcome
    action: str | None = None
    """``put`` or ``delete`` there, or ``raise``, which gives an item a version of its own."""
    origin: str | None = None
    """Whose state was applied: the place's short name."""
    why: str | None = None
    """Why it is left; or what is to be known of what is done."""


OnMended = Callable[[Mended], None]


class Repairer(Protocol):
    """Repairs what a comparison found."""

    async def run(self, drifts: Sequence[Drift], on_mended: OnMended, *, dry: bool = False) -> None:
        """Repair these items, telling of each; ``dry``: only tell what would be done.

        Raises HeldError if the link can't be paused where that is needed.
        """
        ...


class Mendable(Protocol):
    """One item that can be repaired."""

    async def mend(self, *, dry: bool) -> Mended:
        """Repair it, or say what would be done."""
        ...


async def within(
    limit: asyncio.Semaphore, item: Mendable, on_mended: OnMended, *, dry: bool
) -> None:
    async with limit:
        on_mended(await item.mend(dry=dry))


async def is_parked(parking: Parking, targets: Sequence[str], key: Key) -> bool:
    """Tell whether a key has changes parked for one of these targets."""
    try:
        async for row in parking.rows_of(key):
            if row.get("target") in targets:
                return True
    except NotFoundError:
        pass  # no such table: nothing was ever parked
    return False
