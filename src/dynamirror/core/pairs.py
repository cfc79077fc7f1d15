"""Two records that are one write: ScyllaDB Alternator may tell of a put as REMOVE and MODIFY.

It replaces an item by a tombstone at ts - 1 and the new image at ts, in microseconds, and older
versions' streams tell of both (scylladb/scylladb, issue 6930). Left as they are, the first would
be a delete that nobody made: in a two-way mirror it would leave a tombstone, which could outrank
the very write that it was part of.

A sequence number there is ``timestamp << 64 | rest``, in units of 100 ns (alternator/streams.cc),
so a pair gives itself away: nobody writes an item twice within a microsecond. A delete after which
the item was made again is two records, and stays two: it may be a delete made here and a put of the
mirror's that came just after it, and the delete must not get lost.

As both are told in order of time, a REMOVE at the end of an answer may have its second half in the
next one: it is held back until then.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key

PAIR_TICKS = 10
"""A microsecond, in the units of a sequence number's time."""


class Pairs:
    """Joins the records of one shard, answer by answer."""

    def __init__(self) -> None:
        self._held: list[StreamRecord] = []

    @property
    def holds(self) -> bool:
        """Whether records are held back, which come with the next answer."""
        return bool(self._held)

    def whole(self, answer: Sequence[StreamRecord]) -> list[StreamRecord]:
        """Return the records that can be judged now, in their order.

        With an empty answer these are all: the second half of a pair would have been in it.
        """
        records = joined([*self._held, *answer])
        end = _end_of_whole(records) if answer else len(records)
        self._held = records[end:]
        return records[:end]


def joined(records: Sequence[StreamRecord]) -> list[StreamRecord]:
    """Return records with each pair as the one that stands for both, where its second was."""
    removals: dict[Key, int] = {}
    """Where the last record of a key is, if that is a removal."""
    found: list[StreamRecord | None] = []
    for record in records:
        place = removals.pop(record.key, None)
        first = None if place is None else found[place]
        if record.new_image is None:
            removals[record.key] = len(found)
        if place is not None and first is not None and is_pair(first, record):
            found[place] = None
            found.append(one_of(first, record))
        else:
            found.append(record)
    return [record for record in found if record is not None]


def is_pair(first: StreamRecord, second: StreamRecord) -> bool:
    """Tell whether two records of a key, one right after the other, are one put."""
    if first.new_image is not None or second.new_image is None:
        return False
    return 0 <= _ticks(second) - _ticks(first) <= PAIR_TICKS


def one_of(first: StreamRecord, second: StreamRecord) -> StreamRecord:
    """Return the record that stands for a pair: from what the first removed to the second's."""
    old = first.old_image if first.old_image is not None else second.old_image
    name = "INSERT" if old is None else "MODIFY"
    return msgspec.structs.replace(second, event_name=name, old_image=old)


def _ticks(record: StreamRecord) -> int:
    return record.sequence_number >> 64


def _end_of_whole(records: Sequence[StreamRecord]) -> int:
    """Return where those begin that may be first halves of pairs whose second is to come."""
    latest = _ticks(records[-1])
    for place, record in enumerate(records):
        if record.new_image is None and latest - _ticks(record) <= PAIR_TICKS:
            return place
    return len(records)
