"""Into what a table is cut to be copied, and how much of it is copied.

A row beside the checkpoints has a backfill's attempts, its begun and its finished shares, so that
the last of several machines knows that it is the last, and one that was killed goes on.

Shares belong together as long as they make up for the same loss, at the same targets, from the same
source. All of them cut the table alike: into as many segments as the first to begin counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from dynamirror.core.values import Wire
from dynamirror.engine.copying.positions import Positions
from dynamirror.engine.stream.checkpoints import BACKFILL_ROW, Checkpoints
from dynamirror.errors import ConditionFailedError, HeldError

T = TypeVar("T")

SEGMENT_BYTES = 256 * 1024 * 1024
"""A segment's size: at 1,000 items of 1 KB a second it is copied in a few minutes."""

SEGMENTS_AT_ONCE = 4
"""Segments scanned at the same time, within one pause."""

SEGMENTS_MAX = 1_000_000
"""The most that a scan takes (API: Scan)."""


class Share:
    """One of N shares of a backfill; the only one of 1 is the whole table."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        share: tuple[int, int],
        epoch: int,
        targets: Sequence[str],
        export: str = "",
    ) -> None:
        """``epoch``: the one that the backfill begins, or, without a loss, the one there is;
        ``export``: what it copies in the place of the table.
        """
        self.attempt = 0
        """Greater than that of any attempt before: the time, or, where clocks differ, a later."""
        self.began_ms = 0
        """When the share was begun, be it by an earlier attempt that this one goes on with."""
        self.resumed = False
        self.segments: list[tuple[int, int]] = []
        """The (segment, of how many) to scan."""
        self._begun = 0
        self._checkpoints = checkpoints
        self._number, self._of = share
        self._belongs = {"epoch": epoch, "targets": list(targets), "export": export}

    @property
    def positions(self) -> Positions:
        """How far its parts have come."""
        return Positions(self._checkpoints, self._begun, self.attempt)

    async def begin(
        self, now_ms: int, size: int, *, restart: bool = False, since_ms: int = 0
    ) -> None:
        """Note an attempt: one that goes on where an earlier one ended, if it may.

        ``size``: the table's, in bytes; ``since_ms``: what was begun before that is old by now;
        ``restart``: begin anew in any case.
        """
        while True:
            row = await self._row()
            going_on = self._is_ours(row) and "finished_ms" not in row
            self.attempt = max(now_ms, row.get("attempt", 0) + 1)
            begun, shares = (
                {
                    name: text
                    for name, _, text in (entry.partition("@") for entry in row.get(kind, ()))
                    if going_on and int(text.partition("@")[0]) >= since_ms
                }
                for kind in ("begun", "shares")
            )
            cut = dict(entry.split("@") for entry in row.get("cut", ()) if going_on)
            if restart:
                begun.pop(self._name, None)
                shares.pop(self._name, None)
            self.resumed = self._name in begun
            entry = begun.setdefault(self._name, f"{now_ms}@{self.attempt}")
            self.began_ms, self._begun = map(int, entry.split("@"))
            total = int(cut.setdefault(str(self._of), str(segments_for(size, self._of))))
            self.segments = [(number, total) for number in range(self._number - 1, total, self._of)]
            if await self._put(row, begun=_listed(begun), shares=_listed(shares), cut=_listed(cut)):
                return

    async def copied(self) -> int | None:
        """Note the share as copied; return when the earliest began, if by now all are copied.

        Raises HeldError if what it belongs to is over.
        """
        while True:
            row = await self._row()
            if not self._is_ours(row):
                raise HeldError(
                    f"history of {self._checkpoints.link} was lost, or its targets were changed, "
                    "while this was copied: copy it again"
                )
            if "finished_ms" in row:
                return None
            shares = dict(entry.split("@") for entry in row["shares"])
            shares[self._name] = str(self.began_ms)
            if await self._put(row, **_kept(row), shares=_listed(shares)):
                all_ms = [shares.get(f"{number}/{self._of}") for number in range(1, self._of + 1)]
                return None if None in all_ms else min(int(text) for text in all_ms if text)

    async def finish(self, now_ms: int, items: int) -> None:
        """Note that the whole table is copied."""
        while True:
            row = await self._row()
            if not self._is_ours(row) or await self._put(
                row, **_kept(row), shares=row["shares"], finished_ms=now_ms, items=items
            ):
                return

    @property
    def _name(self) -> str:
        return f"{self._number}/{self._of}"

    def _is_ours(self, row: dict[str, Any]) -> bool:
        return {name: row.get(name, "") for name in self._belongs} == self._belongs

    async def _row(self) -> dict[str, Any]:
        return (await self._checkpoints.load(positions=False)).backfill or {}

    async def _put(self, row: dict[str, Any], **values: Any) -> bool:
        """Replace the row; False if another has done so first."""
        revision = row.get("revision", 0)
        condition: Wire = {
            "ConditionExpression": "attribute_not_exists(#r)",
            "ExpressionAttributeNames": {"#r": "revision"},
        }
        if revision:
            condition["ConditionExpression"] = "#r = :r"
            condition["ExpressionAttributeValues"] = {":r": {"N": str(revision)}}
        values = {"attempt": self.attempt, "revision": revision + 1, **self._belongs, **values}
        try:
            await self._checkpoints.put(BACKFILL_ROW, condition=condition, **values)
        except ConditionFailedError:
            return False
        return True


def _listed(entries: dict[str, str]) -> list[str]:
    return [f"{name}@{text}" for name, text in entries.items()]


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("attempt", "begun", "cut")}


def segments_for(size: int, shares: int) -> int:
    """Return into how many segments to cut a table of so many bytes for so many shares."""
    total = min(SEGMENTS_MAX, max(SEGMENTS_AT_ONCE, -(-size // SEGMENT_BYTES)))
    return min(SEGMENTS_MAX // shares, -(-total // shares)) * shares


def groups(parts: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield what to copy at the same time."""
    for at in range(0, len(parts), SEGMENTS_AT_ONCE):
        yield parts[at : at + SEGMENTS_AT_ONCE]
