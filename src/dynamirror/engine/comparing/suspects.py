"""Items that seemed to differ, looked at until each is the same, surely drift, or can't be told.

Two tables are never read at one moment, so a difference is only a suspicion. It counts once both
sides, read again and again with strong consistency, have stayed as they are and unlike each other
for longer than a change takes from one to the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

import msgspec

from dynamirror.core.drift import End, Kind, Sight
from dynamirror.core.expiry import is_expired
from dynamirror.core.values import Image, Key, Wire
from dynamirror.engine.comparing.sight import Showing
from dynamirror.engine.reads import Item, Reads
from dynamirror.ports import Clock

SUSPECTS_MAX = 20_000
"""Suspects at a time, a kilobyte each; while there are so many, no more of the tables is read."""

LOOK_KEYS = 200
"""Suspects read in one go: of the largest items, 80 MB a table."""

REREAD_S = 0.5
"""Time between two looks at the suspects."""

PATIENCE_MS = 60_000
"""An item that goes on changing for so long is told as in flight."""

WAIT_MS_MAX = 10 * 60 * 1_000
"""So is one for which the link's lag would have us wait longer than this."""


class Reason(StrEnum):
    """What is known of how an item came to differ."""

    UNTOLD = "untold"
    """Two-way: one side lacks it, and no replica's ledger tells of a delete."""
    UNVERSIONED = "unversioned"
    """Two-way: it was saved without raising its version, which the mirror only reports."""


class Drift(msgspec.Struct, frozen=True):
    """One item that differs."""

    kind: Kind
    """``missing`` at the target, ``extra`` there, or ``different``."""
    target: str
    """The target's short name."""
    key: Wire
    attributes: list[str]
    """In which attributes, if ``different``; the stamp's stands for the item's rank."""
    why: str | None = None
    """Why the target can't have the source's item, where its view can't be applied to it; ``key``
    is the source's if the item can't even have one there."""
    reason: Reason | None = None


class _Suspect(msgspec.Struct):
    item: Item
    first_ms: int
    since_ms: list[int]
    """Since when each side's item has not changed, as far as we saw."""
    seen: list[bytes | None]
    """Digests of both."""


class Suspects:
    """The suspects of one pair of tables.

    ``lag_ms`` tells how far the link is behind; ``settle_ms`` is what a change may take beyond
    that; ``expires_by`` is the attribute by which the target's items expire. ``on_drift`` is
    awaited with what was found, some at a time.
    """

    def __init__(
        self,
        sight: Sight,
        showing: Showing,
        reads: tuple[Reads, Reads],
        *,
        expires_by: str | None,
        lag_ms: Callable[[], Awaitable[int]],
        settle_ms: int,
        clock: Clock,
        on_drift: Callable[[Sequence[Drift]], Awaitable[None]],
    ) -> None:
        self.in_flight = 0
        """Items that could not be told."""
        self.expired = 0
        """Items that the target lacks, for there they have expired."""
        self._expires_by = expires_by
        self._sight = sight
        self._showing = showing
        self._reads = reads
        self._lag_ms = lag_ms
        self._settle_ms = settle_ms
        self._clock = clock
        self._on_drift = on_drift
        self._suspects: dict[Key, _Suspect] = {}
        self._closed = False
        self._some = asyncio.Event()
        self._room = asyncio.Event()

    async def add(self, items: Sequence[Item]) -> None:
        """Take items under suspicion, as soon as there is room."""
        for item in items:
            while len(self._suspects) >= SUSPECTS_MAX:
                self._room.clear()
                await self._room.wait()
            now_ms = self._clock()
            light = Item(item.key, item.keys, msgspec.Raw(), item.origin)
            suspect = _Suspect(light, now_ms, [now_ms, now_ms], [b"", b""])
            self._suspects.setdefault(item.key, suspect)
            self._some.set()

    def close(self) -> None:
        """Say that no more come; ``run`` ends once the last is settled."""
        self._closed = True
        self._some.set()

    async def run(self) -> None:
        """Look at suspects until the last of them is settled."""
        while True:
            if not self._suspects:
                if self._closed:
                    return
                self._some.clear()
                await self._some.wait()
                continue
            await self._look()
            self._room.set()
            if self._suspects:
                await asyncio.sleep(REREAD_S)

    async def _look(self) -> None:
        """Read each suspect again, once."""
        lag_ms = await self._lag_ms()
        suspects = list(self._suspects)
        for at in range(0, len(suspects), LOOK_KEYS):
            chunk = suspects[at : at + LOOK_KEYS]
            suspected = [self._suspects[key].item for key in chunk]
            both = await read_both(self._showing, self._reads, suspected)
            drifts = []
            for key in chunk:
                items = (both[End.SOURCE].get(key), both[End.TARGET].get(key))
                drift = self._judged(self._suspects[key], items, lag_ms)
                if drift is None:
                    continue
                del self._suspects[key]
                if isinstance(drift, Drift):
                    drifts.append(drift)
            if drifts:
                await self._on_drift(drifts)

    def _judged(
        self, suspect: _Suspect, items: tuple[Item | None, Item | None], lag_ms: int
    ) -> Drift | bool | None:
        """Return what it is: drift, or with a bool something else; None: look again."""
        one, other = (None if item is None else item.image for item in items)
        if self._sight.same(one, other):
            return True
        now_ms = self._clock()
        if other is None and one is not None and self._has_expired(one, now_ms):
            self.expired += 1
            return False
        for end, image in ((End.SOURCE, one), (End.TARGET, other)):
            digest = None if image is None else self._sight.digest(image, end)
            if digest != suspect.seen[end]:
                suspect.seen[end], suspect.since_ms[end] = digest, now_ms
        enough_ms = lag_ms + self._settle_ms
        impatient = now_ms - suspect.first_ms > min(lag_ms + PATIENCE_MS, WAIT_MS_MAX)
        # Somebody else may keep writing the target; a source at rest is judged in the end.
        must_rest = suspect.since_ms if not impatient or self._sight.marks else suspect.since_ms[:1]
        if now_ms - max(must_rest) > enough_ms:
            return drift_of(self._sight, suspect.item, items)
        if impatient:
            self.in_flight += 1
            return False
        return None

    def _has_expired(self, image: Image, now_ms: int) -> bool:
        return is_expired(image, self._expires_by, now_ms / 1_000)


def drift_of(sight: Sight, item: Item, items: tuple[Item | None, Item | None]) -> Drift:
    """Return how an item differs, read at both tables."""
    one, other = (None if each is None else each.image for each in items)
    unfit = next((each.unfit for each in items if each is not None and each.unfit), None)
    unlike = [] if unfit or one is None or other is None else sight.differing(one, other)
    keys = item.keys or item.origin or {}
    return Drift(sight.kind(one, other), sight.target, keys, unlike, unfit)


async def read_both(
    showing: Showing, reads: tuple[Reads, Reads], items: Sequence[Item]
) -> tuple[dict[Key, Item], dict[Key, Item]]:
    """Read items at both tables with strong consistency, the source's as the target is to have
    them; both by the target's keys.

    Whole, also where only keys are compared: an item tells by its attributes that it has expired,
    and the service charges for all of it anyway.
    """
    at_source = showing.all_at_source(items)
    mine, theirs = await asyncio.gather(
        reads[End.SOURCE].get(at_source),
        reads[End.TARGET].get(placed(items)),
    )
    shown = (showing.shown(End.SOURCE, item) for item in mine.values())
    return {item.key: item for item in shown if item is not None}, theirs


def placed(items: Sequence[Item]) -> list[Wire]:
    """Return the keys at the target of those items that can have one there."""
    return [item.keys for item in items if item.keys]
