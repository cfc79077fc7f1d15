"""How far each part of a backfill has come: a row per part, so that a killed one goes on there.

The rows stand in a partition of their own, ``<link>#backfill``: whoever looks at a link's state
every second must not read thousands of them. A position is written once all that comes before it
is at every target, so it is true whoever wrote it; those of another begin are passed over, and a
process that a later one has taken over from is told so by its next write.
"""

from __future__ import annotations

import msgspec

from dynamirror.core.rows import plain
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.errors import ConditionFailedError, HeldError

KEEP_DAYS = 30
"""How long the row of a backfill that nobody goes on with is kept."""


class Done(msgspec.Struct, frozen=True):
    """How much of a part is copied."""

    after: Wire | None = None
    """The last key up to which all is; None: from the part's start."""
    whole: bool = False
    items: int = 0
    bytes: int = 0


class Positions:
    """The positions of one share of a backfill, since it was begun."""

    def __init__(self, checkpoints: Checkpoints, begun: int, attempt: int) -> None:
        """``begun`` tells this begin of the share from any other, ``attempt`` this process."""
        self._rows = checkpoints.beside("backfill")
        self._begun = begun
        self._attempt = attempt

    async def load(self) -> dict[str, Done]:
        """Return the parts of which something is copied."""
        found = {}
        for part, wire in (await self._rows.rows()).items():
            values = plain(wire)
            if values["begun"] == self._begun:
                after = decode(values["after"].encode()) if "after" in values else None
                found[part] = Done(after, values["whole"], values["items"], values["bytes"])
        return found

    async def save(self, part: str, done: Done, now_ms: int) -> None:
        """Write a part's position.

        Raises HeldError if a later process copies this part, or began it anew.
        """
        try:
            await self._rows.put(
                part,
                condition={
                    "ConditionExpression": "attribute_not_exists(#a) OR #a <= :a",
                    "ExpressionAttributeNames": {"#a": "attempt"},
                    "ExpressionAttributeValues": {":a": {"N": str(self._attempt)}},
                },
                begun=self._begun,
                attempt=self._attempt,
                after=None if done.after is None else encode(done.after).decode(),
                whole=done.whole,
                items=done.items,
                bytes=done.bytes,
                saved_at=now_ms,
                expires_at=now_ms // 1_000 + KEEP_DAYS * 86_400,
            )
        except ConditionFailedError:
            raise HeldError(
                f"{part} of {self._rows.link} is copied by a process that was started later"
            ) from None
