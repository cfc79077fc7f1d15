"""Into what a table is cut to be copied, and how much of it is copied.

A row beside the checkpoints has a backfill's attempts and its finished shares, so that the last of
several machines knows that it is the last.

Shares belong together as long as they make up for the same loss, at the same targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dynamirror.core.values import Wire
from dynamirror.engine.checkpoints import BACKFILL_ROW, Checkpoints
from dynamirror.errors import ConditionFailedError, HeldError

SEGMENT_BYTES = 256 * 1024 * 1024
"""A segment's size: at 1,000 items of 1 KB a second it is copied in a few minutes."""

SEGMENTS_AT_ONCE = 4
"""Segments scanned at the same time, within one pause."""


class Share:
    """One of N shares of a backfill; the only one of 1 is the whole table."""

    def __init__(
        self, checkpoints: Checkpoints, share: tuple[int, int], epoch: int, targets: Sequence[str]
    ) -> None:
        """``epoch``: the one that the backfill begins, or, without a loss, the one there is."""
        self.attempt = 0
        """Greater than that of any attempt before: the time, or, where clocks differ, a later."""
        self._began_ms = 0
        self._checkpoints = checkpoints
        self._number, self._of = share
        self._belongs = {"epoch": epoch, "targets": list(targets)}

    async def begin(self, now_ms: int) -> None:
        """Note an attempt."""
        while True:
            row = await self._row()
            self._began_ms, self.attempt = now_ms, max(now_ms, row.get("attempt", 0) + 1)
            shares = row["shares"] if self._is_ours(row) and "finished_ms" not in row else []
            if await self._put(row, attempt=self.attempt, shares=shares):
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
            name = f"{self._number}/{self._of}@"
            others = [entry for entry in row["shares"] if not entry.startswith(name)]
            shares = [*others, f"{name}{self._began_ms}"]
            if await self._put(row, attempt=row["attempt"], shares=shares):
                began = dict(entry.split("@") for entry in shares)
                all_ms = [began.get(f"{number}/{self._of}") for number in self._numbers]
                return None if None in all_ms else min(int(text) for text in all_ms if text)

    async def finish(self, now_ms: int, items: int) -> None:
        """Note that the whole table is copied."""
        while True:
            row = await self._row()
            if not self._is_ours(row) or await self._put(
                row,
                attempt=row["attempt"],
                shares=row["shares"],
                finished_ms=now_ms,
                items=items,
            ):
                return

    @property
    def _numbers(self) -> range:
        return range(1, self._of + 1)

    def _is_ours(self, row: dict[str, Any]) -> bool:
        return {name: row.get(name) for name in self._belongs} == self._belongs

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
        try:
            await self._checkpoints.put(
                BACKFILL_ROW, condition=condition, revision=revision + 1, **self._belongs, **values
            )
        except ConditionFailedError:
            return False
        return True


def segments_of(size: int, share: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (segment, of how many) to scan for one share of a table of so many bytes."""
    mine, shares = share
    total = max(SEGMENTS_AT_ONCE, -(-size // SEGMENT_BYTES))
    total = -(-total // shares) * shares
    return [(number, total) for number in range(mine - 1, total, shares)]


def groups(segments: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    """Yield the segments to copy at the same time."""
    for at in range(0, len(segments), SEGMENTS_AT_ONCE):
        yield segments[at : at + SEGMENTS_AT_ONCE]
