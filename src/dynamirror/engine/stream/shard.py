"""Read one shard from its position to its end, ahead of what is applied as far as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynamirror.core.limits import GET_RECORDS_MAX
from dynamirror.core.pairs import Pairs
from dynamirror.core.progress import Position, Progress
from dynamirror.core.record import Page, StreamRecord, page_of
from dynamirror.core.servers import Kind, habits_of
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.stream.room import Room, weight_of
from dynamirror.errors import (
    ExpiredIteratorError,
    HistoryLostError,
    NotFoundError,
    ServiceError,
    TrimmedError,
)
from dynamirror.ports import Clock, DynamoDB

HandOver = Callable[[Sequence[StreamRecord], Callable[[], None]], None]
"""Takes records, and calls back when every target has applied them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How eagerly streams are read. Lambda's own poller asks each shard four times a second."""

    poll_s: float = 0.25
    idle_poll_s: float = 1.0
    """Asked of a shard that has been empty for a while."""
    idle_after: int = 40
    """Empty answers that make a shard idle."""
    drained_after: int = 8
    """Empty answers after which an open shard counts as drained (an answer may be empty although
    records follow: API reference, GetRecords)."""
    quiet_s: float = 60.0
    """After so long with nothing but empty answers we believe that there was nothing to read."""
    backlog_bytes: int = 64 * 1024 * 1024
    """Memory for what is read of all shards together and not yet applied at every target."""
    discover_s: float = 10.0
    """Time between two looks for new shards, but for those that follow a shard's end at once."""
    visible_after_s: float = 0.0
    """How long the stream holds a change back."""
    pairs: bool = False
    """Whether a put may come as two records."""


def reading_of(server: Kind) -> Reading:
    """Return how a server's streams are read.

    What a stream holds back for seconds need not be asked for four times in each; and of hundreds
    of shards most are silent.
    """
    habits, usual = habits_of(server), Reading()
    if not habits.shards_many:
        return usual
    poll_s, delay_s = 4 * usual.poll_s, habits.visible_after_s
    return Reading(
        poll_s=poll_s,
        idle_poll_s=4 * usual.idle_poll_s,
        idle_after=usual.idle_after // 4,
        drained_after=usual.drained_after + int(delay_s / poll_s),
        visible_after_s=delay_s,
        pairs=habits.puts_in_pairs,
    )


UNREAD_MS = 5_000
"""A shard that was read so recently and was empty is not behind; nor one whose last records were
so young when they were read."""

BEHIND_MS = 15 * 60 * 1_000
"""A position that is older than this was not just quiet: those that only age are saved every ten
minutes. Until the shard is read, all since then may be waiting."""


class ShardReader:
    """Reads one shard; ``progress`` tells how far it is applied."""

    def __init__(
        self,
        api: DynamoDB,
        stream: str,
        shard_id: str,
        position: Position,
        hand_over: HandOver,
        *,
        clock: Clock,
        gate: asyncio.Event,
        room: Room,
        reading: Reading,
        backoff: Backoff,
    ) -> None:
        self.shard_id = shard_id
        self.progress = Progress(position)
        self.drained = False
        self.records = 0
        self.applied = 0
        self.trouble = ""
        """Why reading is tried again just now; empty: it isn't."""
        self._api = api
        self._stream = stream
        self._hand_over = hand_over
        self._clock = clock
        self._gate = gate
        self._room = room
        self._reading = reading
        self._backoff = backoff
        self._read_to = position.sequence_number
        self._digits = position.digits
        self._read_at_ms = clock()
        self._catching_up = self._read_at_ms - position.read_until_ms > BEHIND_MS
        self._unread_ms = UNREAD_MS + int(reading.visible_after_s * 1_000)
        self._pairs = Pairs() if reading.pairs else None
        self._empty = 0
        self._empty_since_ms = 0
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Read until the shard's end and until all of it is applied; cancel to stop earlier.

        Raises HistoryLostError where changes were trimmed before they were read.
        """
        iterator: str | None = await self._iterator()
        while iterator is not None:
            await self._gate.wait()
            try:
                page = await self._get(iterator)
            except ExpiredIteratorError:
                iterator = await self._iterator()
                continue
            except TrimmedError as error:
                iterator = await self._from_horizon(error)
                await self._backoff.wait(1)
                continue
            except NotFoundError as error:
                self._check_gone(error)
                break
            await self._take(page)
            if not page.records:
                self._note_empty()
            iterator = page.next_iterator
            if iterator is not None and len(page.records) < GET_RECORDS_MAX:
                await asyncio.sleep(self._pause_s())
        await self._take(Page([], None, self._digits))
        await self.settled()
        self.progress.finish()
        self.drained = True

    def lag_ms(self, now_ms: int) -> int:
        """Return the age of the oldest change not applied; 0: there is none, as far as we know.

        While the shard can't be read, it is the time for which we haven't known.
        """
        if self.progress.position.done:
            return 0
        oldest_ms = self.progress.oldest_ms
        if oldest_ms is not None:
            return max(0, now_ms - oldest_ms)
        if self._catching_up:
            return max(0, now_ms - self.progress.position.read_until_ms)
        unread_ms = self.unread_ms(now_ms)
        return unread_ms if unread_ms > self._unread_ms else 0

    def unread_ms(self, now_ms: int) -> int:
        """Return for how long the stream has told nothing of the shard."""
        return max(0, now_ms - self._read_at_ms)

    async def settled(self) -> None:
        """Wait until everything that was read is applied."""
        while not self.progress.idle:
            self._settled.clear()
            await self._settled.wait()

    async def _take(self, answer: Page) -> None:
        """Hand over what an answer has, and what was held back of the one before."""
        if answer.records:
            self._read_to, self._digits = answer.records[-1].sequence_number, answer.digits
            self._empty = 0
            self.drained = False
        records = answer.records
        if self._pairs is not None:
            records = self._pairs.whole(records)
        if not records:
            return
        weight = weight_of(answer)
        await self._room.take(weight)
        await self._gate.wait()  # a pause that came while we asked holds for the answer
        last = records[-1]
        self.records += len(records)
        created_at_ms = int(last.created_at * 1_000)
        self._catching_up = self._read_at_ms - created_at_ms > self._unread_ms
        since_ms = int(records[0].created_at * 1_000)
        number = last.sequence_number
        page = self.progress.hand_in(number, created_at_ms, self._digits, since_ms)

        def done() -> None:
            self._room.give(weight)
            self.applied += len(records)
            self.progress.settle(page)
            self._settled.set()

        self._hand_over(records, done)

    def _note_empty(self) -> None:
        now_ms = self._clock()
        if self._empty == 0:
            self._empty_since_ms = now_ms
        self._empty += 1
        if self._empty >= self._reading.drained_after:
            self._catching_up = False
        if self.progress.idle:
            self.drained = self._empty >= self._reading.drained_after
            quiet_ms = now_ms - int(self._reading.quiet_s * 1_000)
            if quiet_ms >= self._empty_since_ms:
                self.progress.quiet_since(quiet_ms)

    def _pause_s(self) -> float:
        idle = self._empty > self._reading.idle_after
        return self._reading.idle_poll_s if idle else self._reading.poll_s

    async def _get(self, iterator: str) -> Page:
        request = encode({"ShardIterator": iterator, "Limit": GET_RECORDS_MAX})
        answer = await persist(
            lambda: self._api.call("GetRecords", request),
            self._backoff,
            on_retry=self._note_trouble,
        )
        self.trouble = ""
        now_ms = self._clock()
        if now_ms - self._read_at_ms > self._reading.quiet_s * 1_000:
            self._empty = 0  # nobody looked for a while: what was quiet before may not be any more
        self._read_at_ms = now_ms
        return page_of(answer)

    def _note_trouble(self, error: ServiceError) -> None:
        self.trouble = str(error)

    async def _iterator(self) -> str | None:
        """Return an iterator at the first record not read yet; None if the shard is gone."""
        if self._read_to is None:
            if self.progress.position.gap_possible(self._clock()):
                raise self._lost("it was not read in time")
            return await self._ask("TRIM_HORIZON")
        try:
            return await self._ask("AFTER_SEQUENCE_NUMBER")
        except TrimmedError as error:
            return await self._from_horizon(error)

    async def _from_horizon(self, error: Exception) -> str | None:
        # A position ages while nobody writes. If all changes up to a time that is still within
        # the retention were read, everything after it is still there, and nothing was lost.
        if self.progress.position.gap_possible(self._clock()):
            raise self._lost(str(error))
        self._read_to = None
        return await self._ask("TRIM_HORIZON")

    async def _ask(self, kind: str) -> str | None:
        request: Wire = {
            "StreamArn": self._stream,
            "ShardId": self.shard_id,
            "ShardIteratorType": kind,
        }
        if self._read_to is not None:
            request["SequenceNumber"] = f"{self._read_to:0{self._digits}d}"
        body = encode(request)
        try:
            answer = await persist(lambda: self._api.call("GetShardIterator", body), self._backoff)
        except NotFoundError as error:
            self._check_gone(error)
            return None
        iterator: str = decode(answer)["ShardIterator"]
        return iterator

    def _check_gone(self, error: Exception) -> None:
        """Raise HistoryLostError unless the shard, now gone, was read to its end before it went."""
        if self.progress.position.gap_possible(self._clock()):
            raise self._lost(str(error)) from error

    def _lost(self, why: str) -> HistoryLostError:
        return HistoryLostError(
            f"changes of shard {self.shard_id} were trimmed before they were applied: {why}"
        )
