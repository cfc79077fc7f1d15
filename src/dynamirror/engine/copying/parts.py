"""What a backfill is made of: parts that are read a page at a time, each from where it was left.

A page comes with the position after it, which may be noted once the page is at every target.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from dynamirror.config.model import Side
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, decode, encode, key_of, keys_of_row, raw
from dynamirror.engine.copying.positions import Done
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.source import Table
from dynamirror.ports import Clock, DynamoDB

CHUNK = 1_000
"""Items that are handed over together."""

Pages = AsyncIterator[tuple[list[StreamRecord], Done]]


class Part(Protocol):
    """One part of what is copied."""

    @property
    def name(self) -> str:
        """What tells it from the backfill's other parts."""
        ...

    def pages(self, done: Done) -> Pages:
        """Yield what comes after a position, each page with the position after it."""
        ...


class Segment:
    """A segment of the source, scanned."""

    def __init__(self, reads: Reads, segment: tuple[int, int], number: int = 0) -> None:
        """Take the sequence ``number`` that its records get."""
        self.name = "segment {}/{}".format(*segment)
        self._reads = reads
        self._segment = segment
        self._number = number

    async def pages(self, done: Done) -> Pages:
        """See Part."""
        async for page in self._reads.pages(*self._segment, after=done.after):
            # An item's key is where a scan limited to it would have ended.
            for at in range(0, max(1, len(page.items)), CHUNK):
                items = page.items[at : at + CHUNK]
                end = at + CHUNK >= len(page.items)
                done = Done(
                    page.last if end else items[-1].keys,
                    end and page.last is None,
                    done.items + len(items),
                    done.bytes + sum(len(item.image) for item in items),
                )
                yield [record_of(item, self._number) for item in items], done


class Tombstones:
    """The deletes that a two-way replica's ledger still knows: what they removed here may be at
    another replica yet, and must not come back from there.
    """

    def __init__(
        self, side: Side, table: Table, api: DynamoDB, clock: Clock, backoff: Backoff
    ) -> None:
        self.name = "tombstones"
        self.unreadable = 0
        """Rows that have but a hash of their key."""
        self._side = side
        self._names = table.key_names
        self._api = api
        self._clock = clock
        self._backoff = backoff

    async def pages(self, done: Done) -> Pages:
        """See Part."""
        request: Wire = {
            "TableName": self._side.ledger_of(self._side.source),
            "ConsistentRead": True,
            "FilterExpression": "begins_with(#k, :m) AND #u > :now",
            "ExpressionAttributeNames": {"#k": "k", "#u": "until"},
            "ExpressionAttributeValues": {
                ":m": {"S": f"{self._side.name}#"},
                ":now": {"N": str(self._clock() // 1_000)},
            },
        }
        while True:
            if done.after is not None:
                request["ExclusiveStartKey"] = done.after
            body = encode(request)
            answer = decode(await persist(lambda: self._api.call("Scan", body), self._backoff))  # noqa: B023
            records = []
            for row in answer.get("Items", ()):
                keys = keys_of_row(row["k"]["S"], self._side.name, self._names)
                if keys is None:
                    self.unreadable += 1
                else:
                    records.append(_removal(keys))
            last = answer.get("LastEvaluatedKey")
            done = Done(last, last is None)
            yield records, done
            if last is None:
                return


def record_of(item: Item, number: int) -> StreamRecord:
    """Return a copied item as the change that puts it."""
    return StreamRecord(number, "INSERT", item.key, item.keys, item.image, None, 0.0, by_ttl=False)


def size_of(record: StreamRecord) -> int:
    """Return the length of a record's image as JSON."""
    return 0 if record.new_image is None else len(raw(record.new_image))


def _removal(keys: Wire) -> StreamRecord:
    return StreamRecord(0, "REMOVE", key_of(keys), keys, None, None, 0.0, by_ttl=False)
