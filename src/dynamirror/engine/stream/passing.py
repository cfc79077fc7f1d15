"""Whether a shard's position has passed everything that was in the shard at a time."""

from __future__ import annotations

from dynamirror.core.limits import GET_RECORDS_MAX
from dynamirror.core.progress import Position
from dynamirror.core.record import Page, page_of
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.stream.shard import Reading
from dynamirror.errors import ExpiredIteratorError, NotFoundError, TrimmedError
from dynamirror.ports import DynamoDB

EMPTY_ANSWERS = Reading().drained_after
"""So many empty answers in a row are believed; the last of them was asked for after the wait."""


class Passing:
    """One shard; ``passed`` tells whether all that it held when the wait began is applied."""

    def __init__(self, api: DynamoDB, stream: str, shard_id: str, backoff: Backoff) -> None:
        self.passed = False
        self._api = api
        self._ids: Wire = {"StreamArn": stream, "ShardId": shard_id}
        self._backoff = backoff
        self._mark: int | None = None
        """A number that was given out after the wait: what came before it has a lower one."""
        self._newest: str | None = None
        """An iterator that was at LATEST after the wait."""
        self._after: int | None = -1
        """The position that ``_rest`` reads on from; -1: from none yet."""
        self._rest: str | None = None
        self._empty = 0
        """Empty answers in a row."""
        self._left = False
        """Whether something is left to read after the position."""

    async def look(self, position: Position, *, closed: bool, settled: bool) -> None:
        """See whether the shard is passed now."""
        number = position.sequence_number
        self.passed = self.passed or (
            position.done or (self._mark is not None and (number or 0) >= self._mark)
        )
        if self.passed or self._mark is not None:
            return
        try:
            if number != self._after:
                self._after, self._empty, self._left = number, 0, False
                self._rest = await self._behind(position)
            if not self._left:
                await self._read_rest(settled=settled)
            if self._left and settled and not closed:
                await self._read_newest()
        except (ExpiredIteratorError, TrimmedError):
            self._after, self._newest = -1, None  # begin anew with the next look
        except NotFoundError:
            self._after = -1  # trimmed, or not listed everywhere yet: whoever reads it finds out

    async def _read_rest(self, *, settled: bool) -> None:
        """See whether anything is left after the position."""
        page = await self._get(self._rest) if self._rest is not None else None
        if page is not None and page.records:
            self._left = True
            return
        self._empty += 1
        self._rest = None if page is None else page.next_iterator
        ended = self._rest is None  # of a closed shard all has been read
        self.passed = ended or (settled and self._empty >= EMPTY_ANSWERS)

    async def _read_newest(self) -> None:
        """Learn a number given out after the wait, if one has been."""
        if self._newest is None:
            self._newest = await self._iterator("LATEST")
        page = await self._get(self._newest)
        if page.records:
            self._mark = page.records[0].sequence_number
        self._newest = page.next_iterator

    async def _behind(self, position: Position) -> str:
        """Return an iterator after a position."""
        if position.sequence_number is None:
            return await self._iterator("TRIM_HORIZON")
        number = f"{position.sequence_number:0{position.digits}d}"
        try:
            return await self._iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=number)
        except TrimmedError:  # nothing came for a day, or an engine is about to learn its loss
            return await self._iterator("TRIM_HORIZON")

    async def _iterator(self, kind: str, **more: str) -> str:
        body = encode({**self._ids, "ShardIteratorType": kind, **more})
        answer = await persist(lambda: self._api.call("GetShardIterator", body), self._backoff)
        iterator: str = decode(answer)["ShardIterator"]
        return iterator

    async def _get(self, iterator: str) -> Page:
        body = encode({"ShardIterator": iterator, "Limit": GET_RECORDS_MAX})
        return page_of(await persist(lambda: self._api.call("GetRecords", body), self._backoff))
