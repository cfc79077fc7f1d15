"""Changes that can't be applied, kept whole in a table beside the source until they are redriven.

While a key has a parked change, its later changes are parked behind it. A parked row is the hold:
whoever finds none any more may apply again.

A key is listed before a change counts as parked, and unlisted after its last row is gone; one that
is listed in vain costs a question.

What is parked only because its target was away is *shelved*: of a key the last few changes are
enough, for nobody need mend anything, and the engine itself redrives it. The list tells which.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from operator import itemgetter
from typing import Any

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key, Wire, key_of, row_key
from dynamirror.engine.held.parked import Parked
from dynamirror.engine.item_log import log_item
from dynamirror.engine.retry import Backoff
from dynamirror.errors import (
    ConditionFailedError,
    DynamirrorError,
    PoisonError,
    ServiceError,
    TransientError,
)
from dynamirror.ports import Clock, DynamoDB

NEWEST_MAX = 10_000
"""Keys of which the row to replace is known: the busiest, for those come back."""

PAUSED = "Paused"
"""The code under which changes are shelved whose target is not away: its link is paused."""

HELD_BACK = TransientError(PAUSED, "its link was paused")

OnLeft = Callable[[StreamRecord, str, DynamirrorError], None]
"""Told of a copied item, the target's short name, and why it can't be there."""


class Parking(Parked):
    """The parked changes of one mirror, and which keys they hold back."""

    def __init__(
        self,
        api: DynamoDB,
        table: str,
        mirror: str,
        epoch: int,
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        super().__init__(api, table, mirror, epoch, clock=clock, backoff=backoff)
        self.parked = 0
        """Changes parked since."""
        self._held: defaultdict[str, dict[Key, int]] = defaultdict(dict)
        self._poison: defaultdict[str, set[Key]] = defaultdict(set)
        self._shelved: defaultdict[str, dict[Key, int]] = defaultdict(dict)
        self._parks = count(1)
        self._parking: Counter[tuple[str, Key]] = Counter()
        self._newest: dict[tuple[str, Key], list[Wire]] = {}
        self._finishing: dict[tuple[str, Key], asyncio.Event] = {}

    async def load(self) -> None:
        """Learn which keys are parked; needed before the first change is applied."""
        async for listed in self.listed():
            self._held[listed.target][key_of(listed.keys)] = 0
            if not listed.shelved:
                self._poison[listed.target].add(key_of(listed.keys))
                continue
            self._shelved[listed.target][key_of(listed.keys)] = listed.parked_at
        for target, since_ms in self._shelved.items():
            self._shelved[target] = dict(sorted(since_ms.items(), key=itemgetter(1)))

    def held_at(self, target: str) -> Mapping[Key, int]:
        """Return the keys of which changes are parked for a target, as far as we know: always
        those of now.
        """
        return self._held[target]

    def holds(self, target: str, key: Key) -> bool:
        """Tell whether changes of a key are parked for a target, as far as we know."""
        return key in self._held[target]

    @property
    def held(self) -> int:
        """How many keys are parked, as far as we know; a key counts once for each target."""
        return sum(map(len, self._held.values()))

    def shelved(self, target: str) -> int:
        """How many keys are parked only because their target was away, as far as we know."""
        return len(self._held[target]) - len(self._poison[target])

    def shelved_since_ms(self, target: str) -> int | None:
        """When the first change was made of those that are, or, where the process before this one
        parked it, when it was parked; None: there is none.
        """
        return next(iter(self._shelved[target].values()), None)

    async def released(self, target: str, key: Key) -> bool:
        """Tell, from the table itself, whether a key's changes may be applied there again."""
        async for entry in self.rows_of(key):
            if entry.get("target") == target:
                return False
        self._forget(target, key)
        return True

    async def recheck(self, target: str) -> None:
        """Forget shelved keys of which nothing is parked any more, for another redrove them."""
        shelved = [key for key in self._held[target] if key not in self._poison[target]]
        for key in shelved:
            pledge = self.pledge(target, key)
            rows = [row async for row in self.rows_of(key) if row.get("target") == target]
            if not rows:
                self.free(target, key, pledge)

    @contextlib.contextmanager
    def finishing(self, target: str, key: Key) -> Iterator[None]:
        """Within it a key is about to be released: whoever has a change of it does well to wait."""
        end = self._finishing[target, key] = asyncio.Event()
        try:
            yield
        finally:
            del self._finishing[target, key]
            end.set()

    async def finished(self, target: str, key: Key) -> None:
        """Wait until nobody is about to release a key."""
        while (end := self._finishing.get((target, key))) is not None:
            await end.wait()

    def pledge(self, target: str, key: Key) -> int | None:
        """Return what ``free`` wants to be told: the last change parked of a key. None while one
        is being parked.
        """
        return None if self._parking[target, key] else self._held[target].get(key)

    def free(self, target: str, key: Key, pledge: int | None) -> None:
        """Forget a key that was found to have no rows, if none was parked since the pledge."""
        if pledge is not None and pledge == self.pledge(target, key):
            self._forget(target, key)

    async def park(self, record: StreamRecord, target: str, error: Exception | None) -> None:
        """Keep a change whole; ``error`` is None for one that waits behind another."""
        if error is not None:
            self._poison[target].add(record.key)
            self._shelved[target].pop(record.key, None)
            self._tell(record, target, error)
        with self._noted([record], target):
            shelved = record.key not in self._poison[target]
            for entry in self._entries(record, target, *_told(error), shelved=shelved):
                await self._call("PutItem", {"TableName": self._table, "Item": entry})

    async def shelve(self, records: Sequence[StreamRecord], target: str, why: ServiceError) -> None:
        """Keep changes of distinct keys of a target that is away, in the place of older ones."""
        with self._noted(records, target):
            poison = self._poison[target]
            text = why.message if why.code == PAUSED else f"the target was away: {why}"
            for one in records:
                if one.key not in poison and one.key not in self._shelved[target]:
                    self._shelved[target][one.key] = int(one.created_at * 1_000)
                    self._tell(one, target, text)
            entries = [
                list(self._entries(one, target, why.code, text, shelved=one.key not in poison))
                for one in records
            ]
            # In the order of ``_entries``: what names a change must not stand for missing parts.
            await self._put([entry for each in entries for entry in each[:-2]])
            await self._put([entry for each in entries for entry in each[-2:]])
            older: list[Wire] = []
            for record, each in zip(records, entries, strict=True):
                rows = [{"k": entry["k"], "seq": entry["seq"]} for entry in each[:-1]]
                # The first stays: it tells what the target had.
                was = self._newest.pop((target, record.key), None)
                older += [key for key in was or [] if key not in rows]
                self._newest[target, record.key] = [] if was is None else rows
            await self._write([{"DeleteRequest": {"Key": key}} for key in older])
        while len(self._newest) > NEWEST_MAX:
            del self._newest[next(iter(self._newest))]

    async def condemn(self, target: str, keys: Wire) -> None:
        """Note of a shelved key that it can't be applied: somebody must mend the cause."""
        self._poison[target].add(key_of(keys))
        self._shelved[target].pop(key_of(keys), None)
        await self.unshelve(target, keys)

    async def release(
        self, target: str, key: Key, rows: Sequence[dict[str, Any]], listing: str | None
    ) -> None:
        """Delete rows of one key and target, and unlist it unless it was listed again since.

        ``rows`` are all there were, read after ``listing`` was.
        """
        for entry in rows:
            await self._delete({"k": {"S": entry["k"]}, "seq": {"S": entry["seq"]}})
        if listing is None:
            return
        condition = {
            "ConditionExpression": "#l = :l",
            "ExpressionAttributeNames": {"#l": "listing"},
            "ExpressionAttributeValues": {":l": {"S": listing}},
        }
        with contextlib.suppress(ConditionFailedError):
            await self._delete(self._listed(target, key), **condition)

    def _tell(self, record: StreamRecord, target: str, why: object) -> None:
        text = f"is parked for {target}: {why}"
        log_item("parked", record.keys, text, mirror=self._mirror, target=target)

    def _forget(self, target: str, key: Key) -> None:
        self._held[target].pop(key, None)
        self._poison[target].discard(key)
        self._shelved[target].pop(key, None)
        self._newest.pop((target, key), None)

    @contextlib.contextmanager
    def _noted(self, records: Sequence[StreamRecord], target: str) -> Iterator[None]:
        """Hold keys from before anything of them is written, and tell that they are at it."""
        for record in records:
            self.parked += 1
            self._held[target][record.key] = next(self._parks)
            self._parking[target, record.key] += 1
        try:
            yield
        finally:
            self._parking -= Counter((target, record.key) for record in records)


class LeftOut(Parking):
    """In the place of parking where items are copied: nothing waits behind one that can't be."""

    def __init__(self, on_left: OnLeft) -> None:
        self._on_left = on_left

    def held_at(self, target: str) -> Mapping[Key, int]:
        """Return nothing: every item may be copied, for redriving a key comes to the same."""
        del target
        return {}

    async def park(self, record: StreamRecord, target: str, error: Exception | None) -> None:
        """Tell of an item that can't be copied, and go on without it."""
        if isinstance(error, DynamirrorError):
            self._on_left(record, target, error)


def poison(target: str, record: StreamRecord, error: Exception) -> PoisonError:
    """Return why a mirror stops at a change. Logs need not know its key: they get a digest, of the
    key as our tables spell it, unless they were asked to.
    """
    log_item("refused", record.keys, f"is refused: {error}", target=target)
    digest = hashlib.sha256(row_key("", record.key).encode()).hexdigest()[:16]
    return PoisonError(
        f"{target}: the change with sequence number {record.sequence_number} can't be applied: "
        f"{error} (the key's digest is {digest})"
    )


def _told(error: Exception | None) -> tuple[str, str]:
    """Return an error's code and text; None: the change only waits behind another."""
    if error is None:
        return "NoneType", "waits behind a parked change of its key"
    return error.code if isinstance(error, ServiceError) else type(error).__name__, str(error)
