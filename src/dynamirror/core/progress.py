"""How far a shard is durable: records are handed in by page and settle in any order."""

from __future__ import annotations

from collections import deque

import msgspec

from dynamirror.core.limits import STREAM_RETENTION_S

SAFE_AGE_MS = (STREAM_RETENTION_S - 60 * 60) * 1_000
"""What is younger is still in the stream for certain: its retention, less an hour for clocks."""


class Position(msgspec.Struct, frozen=True):
    """How far one shard was applied."""

    sequence_number: int | None = None
    """The last record applied; None: nothing yet."""
    done: bool = False
    """Whether the shard was read to its end."""
    read_until_ms: int = 0
    """Every change made by this time is applied, as far as it went through this shard."""
    digits: int = 0
    """To how many digits the server pads sequence numbers, if it does. DynamoDB doesn't; local
    servers do, and find a number only as they spell it."""
    parent: str | None = None
    """The shard that must be read to its end first; kept, for a listing may leave this one out."""

    def gap_possible(self, now_ms: int) -> bool:
        """Tell whether changes that we never read may have been trimmed by now."""
        return now_ms - self.read_until_ms > SAFE_AGE_MS


class _Page(msgspec.Struct):
    sequence_number: int
    created_at_ms: int
    digits: int
    since_ms: int
    settled: bool = False


class Progress:
    """The pages of one shard that are on their way, in the shard's order."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self._pages: deque[_Page] = deque()

    @property
    def idle(self) -> bool:
        """Whether everything handed in is durable."""
        return not self._pages

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest page that isn't durable yet began to be written; None: there is none."""
        return self._pages[0].since_ms if self._pages else None

    def hand_in(
        self,
        sequence_number: int,
        created_at_ms: int,
        digits: int = 0,
        since_ms: int | None = None,
    ) -> _Page:
        """Note a page by its last record, and when its first was written, if that was another.

        Give the token back to ``settle``.
        """
        since_ms = created_at_ms if since_ms is None else since_ms
        page = _Page(sequence_number, created_at_ms, digits, since_ms)
        self._pages.append(page)
        return page

    def settle(self, page: _Page) -> None:
        """Note that a page is durable, and move the position over all that are, without a gap.

        It never moves back: a shard read from its trim horizon again repeats what was applied.
        """
        page.settled = True
        while self._pages and self._pages[0].settled:
            first = self._pages.popleft()
            until_ms = max(self.position.read_until_ms, first.created_at_ms)
            number = max(self.position.sequence_number or 0, first.sequence_number)
            self.position = msgspec.structs.replace(
                self.position,
                sequence_number=number,
                read_until_ms=until_ms,
                digits=first.digits,
            )

    def quiet_since(self, at_ms: int) -> None:
        """Note that there was nothing left to read at a time."""
        if at_ms > self.position.read_until_ms:
            self.position = msgspec.structs.replace(self.position, read_until_ms=at_ms)

    def finish(self) -> None:
        """Note that the shard's end was reached and everything is durable."""
        self.position = msgspec.structs.replace(self.position, done=True)
