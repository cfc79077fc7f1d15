"""A table's stream as the service keeps it: shards by parent, each a list of records.

Made to be awkward in every way that the API allows. Sequence numbers have 21 to 40 digits, are not
consecutive, soon outgrow the order of their text, and mean nothing across shards that are not of
one lineage. A closed shard's ending number belongs to no record. A key's hash
decides its shard; children divide their parent's range, so that a key's changes are one lineage.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter
from random import Random
from typing import Any

from dynamirror.core.values import Wire, encode
from dynamirror.memory.items import item_bytes
from dynamirror.ports import Clock

HASHES = 2**32
"""Number of hash values; the open shards of a stream divide them among them."""

_DIGITS_MAX = 40
_UNIT = 10**20  # the last 20 digits grow by what looks like chance, as in AWS's own examples

VIEW_TYPES = ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES")

TTL_IDENTITY = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
"""What marks the removal of an expired item in its stream record."""


@dataclass(slots=True)
class Record:
    """A stream record. ``written`` is its wire form, made when first asked for."""

    number: int
    at_ms: int
    keys: Wire
    old: Wire | None
    new: Wire | None
    identity: Wire | None = None
    written: bytes = b""

    @property
    def name(self) -> str:
        if self.old is None:
            return "INSERT"
        return "MODIFY" if self.new is not None else "REMOVE"


@dataclass(slots=True, eq=False)
class Shard:
    """A shard: open until ``end`` is set. A position counts all records it ever had."""

    id: str
    parent: str | None
    low: int
    high: int
    start: int
    last: int
    end: int | None = None
    closed_ms: int = 0
    trimmed: int = 0
    horizon: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def newest(self) -> int:
        """The position after its last record."""
        return self.trimmed + len(self.records)

    def position_of(self, number: int) -> int:
        """Return the position of the first record whose number is at least this one."""
        return self.trimmed + bisect_left(self.records, number, key=attrgetter("number"))

    def described(self) -> Wire:
        numbers = {"StartingSequenceNumber": str(self.start)}
        if self.end is not None:
            numbers["EndingSequenceNumber"] = str(self.end)
        shard: Wire = {"ShardId": self.id, "SequenceNumberRange": numbers}
        return shard if self.parent is None else shard | {"ParentShardId": self.parent}


class Stream:
    """One stream of a table: from being enabled until 24 hours after being disabled."""

    def __init__(
        self,
        *,
        table: str,
        region: str,
        arn: str,
        label: str,
        view_type: str,
        key_schema: list[Wire],
        clock: Clock,
        chance: Random,
        shards: int = 1,
    ) -> None:
        self.table = table
        self.region = region
        self.arn = arn
        self.label = label
        self.view_type = view_type
        self.key_schema = key_schema
        self.at_ms = clock()
        self.enabled = True
        self.shards: dict[str, Shard] = {}
        self.vanished: dict[str, Shard] = {}
        self._clock = clock
        self._chance = chance
        self._open: list[Shard] = []
        for place in range(shards):
            low, high = place * HASHES // shards, (place + 1) * HASHES // shards
            self._open_shard(None, low, high, chance.randrange(1, 5) * _UNIT)

    def __repr__(self) -> str:
        state = "enabled" if self.enabled else "disabled"
        return f"<Stream {self.arn} {state}, {len(self._open)} of {len(self.shards)} shards open>"

    @property
    def open_shards(self) -> list[Shard]:
        """The shards that take records, in the order of their ranges."""
        return list(self._open)

    def append(
        self,
        place: int,
        keys: Wire,
        old: Wire | None,
        new: Wire | None,
        identity: Wire | None = None,
    ) -> None:
        """Add the record of a change of the item whose key has the hash ``place``."""
        shard = self._shard_for(place)
        shard.last = self._number_after(shard.last)
        shard.records.append(Record(shard.last, self._clock(), keys, old, new, identity))

    def push(self, record: Wire, shard_id: str | None = None) -> str:
        """Add a record written by hand, in wire form, and return its sequence number.

        What it says stays as it is, right or wrong; what it lacks of the usual is filled in.
        """
        shard = self._open[0] if shard_id is None else self.shards[shard_id]
        shard.last = self._number_after(shard.last)
        at_ms = self._clock()
        change = {
            "SequenceNumber": str(shard.last),
            "ApproximateCreationDateTime": at_ms // 1000,
            "StreamViewType": self.view_type,
        } | record.get("dynamodb", {})
        whole = self._envelope(shard.last, "MODIFY") | record | {"dynamodb": change}
        shard.last = max(shard.last, int(change["SequenceNumber"]))
        entry = Record(shard.last, at_ms, {}, None, None, None, encode(whole))
        shard.records.append(entry)
        return str(change["SequenceNumber"])

    def split(self, shard_id: str) -> list[Shard]:
        """Close a shard and open two children, each with half of its range."""
        parent = self._close(self.shards[shard_id])
        middle = (parent.low + parent.high) // 2
        return [
            self._open_shard(parent, parent.low, middle, parent.last),
            self._open_shard(parent, middle, parent.high, parent.last),
        ]

    def roll_over(self, shard_id: str) -> Shard:
        """Close a shard and open one child with its range, as the service does every few hours."""
        parent = self._close(self.shards[shard_id])
        return self._open_shard(parent, parent.low, parent.high, parent.last)

    def disable(self) -> None:
        """Close every shard; what was written stays readable."""
        self.enabled = False
        for shard in self.open_shards:
            self._close(shard)

    def trim(self, before_ms: int) -> None:
        """Drop what was written before then, and closed shards that have nothing left."""
        for shard in list(self.shards.values()):
            count = 0
            for record in shard.records:
                if record.at_ms >= before_ms:
                    break
                count += 1
            if count:
                shard.horizon = shard.records[count - 1].number + 1
                shard.trimmed += count
                del shard.records[:count]
            if shard.end is not None and not shard.records and shard.closed_ms < before_ms:
                self.vanished[shard.id] = self.shards.pop(shard.id)

    def written(self, record: Record) -> bytes:
        """Return a record in wire form, as GetRecords shows it."""
        if not record.written:
            record.written = encode(self._spelled(record))
        return record.written

    def _spelled(self, record: Record) -> Wire:
        change: Wire = {
            "ApproximateCreationDateTime": record.at_ms // 1000,
            "Keys": record.keys,
            "SequenceNumber": str(record.number),
            "StreamViewType": self.view_type,
        }
        if record.new is not None and self.view_type in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES"):
            change["NewImage"] = record.new
        if record.old is not None and self.view_type in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES"):
            change["OldImage"] = record.old
        change["SizeBytes"] = sum(
            item_bytes(change[part]) for part in ("Keys", "NewImage", "OldImage") if part in change
        )
        whole = self._envelope(record.number, record.name) | {"dynamodb": change}
        return whole if record.identity is None else whole | {"userIdentity": record.identity}

    def _envelope(self, number: int, name: str) -> dict[str, Any]:
        return {
            "eventID": blake2b(f"{self.arn}{number}".encode(), digest_size=16).hexdigest(),
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": self.region,
        }

    def _shard_for(self, place: int) -> Shard:
        if len(self._open) == 1:
            return self._open[0]
        return next(shard for shard in self._open if shard.low <= place < shard.high)

    def _open_shard(self, parent: Shard | None, low: int, high: int, after: int) -> Shard:
        start = self._number_after(after)
        shard = Shard(
            id=f"shardId-{self._clock():020d}-{self._chance.getrandbits(32):08x}",
            parent=None if parent is None else parent.id,
            low=low,
            high=high,
            start=start,
            last=start,
            horizon=start,
        )
        self.shards[shard.id] = shard
        self._open.append(shard)
        self._open.sort(key=attrgetter("low"))
        return shard

    def _close(self, shard: Shard) -> Shard:
        if shard.end is not None:
            raise ValueError(f"{shard.id} is closed already")
        shard.end = shard.last = self._number_after(shard.last)
        shard.closed_ms = self._clock()
        self._open.remove(shard)
        return shard

    def _number_after(self, number: int) -> int:
        """Return the next number of a lineage: a step of chance, now and then a digit more.

        The first number of many digits comes soon, each further digit later than the one before.
        """
        digits = len(str(number))
        leap = digits < _DIGITS_MAX and self._chance.random() * 4 * (digits - 20) ** 2 < 1
        if leap:
            number *= self._chance.randrange(2, 10)
        return number + self._chance.randrange(1, 3) * _UNIT + self._chance.randrange(1, 10**9)
