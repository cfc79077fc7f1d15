"""Rule 3: a removal leaves a tombstone, here and there, and then removes what it outranks.

A removal that another delete explains, since its tombstone outranks the image, is no new delete: it
is the mirror's own, coming back.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from dynamirror.core.conflict import Loss, Reason
from dynamirror.core.ledger import Entry, Mark, Tombstone
from dynamirror.core.mesh import Again, Answer, Ask, Delete, Judgement, Skip
from dynamirror.core.rank import EXPIRY, Rank
from dynamirror.core.reconcile import COUNTERS_BELOW
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import View, merged
from dynamirror.core.unversioned import Raising
from dynamirror.core.values import row_key


class Removed(msgspec.Struct, frozen=True):
    """An image that was removed, and what is known of it."""

    record: StreamRecord
    old: View
    high: Rank
    """Its rank, or the floor's, if it is a write without a version of its own."""
    hidden: bool
    """Whether it is that."""
    unforwarded: bool
    """Whether the mirror had no chance to make it a proper write."""
    again: Again | None


class Removing(Raising):
    """Rule 3, at the replica of the removal."""

    def _removed(self, record: StreamRecord, old: View, now_ms: int) -> Judgement:
        entry, removed = yield from self._looked_up(record, old, now_ms)
        tombstone, high = entry.tombstone, removed.high
        rank = self.delete_rank(record, high)
        if tombstone is not None:
            outranked = self.outranks(tombstone, high, rank, record)
            if self._unseen(tombstone, removed, outranked=outranked):
                loser = record.old_image or {}
                yield from self._journal(
                    Loss(record, loser, old.rank, None, tombstone.rank, Reason.DELETED)
                )
            if outranked:
                return Skip.OUTRANKED
        seen = merged(old.known(), {high.origin: high.version}, {self.here: rank.version})
        if tombstone is not None:
            seen = merged(seen, tombstone.seen)
        mark = Mark(record.sequence_number, rank.version)
        row = row_key(self.mesh.mirror, record.key)
        mine = Tombstone(rank, seen, self._until(record), mark)
        bury = self.ledger.bury(self._mine.ledger, row, mine, now_ms // 1_000)
        answer = yield Ask(self.here, "UpdateItem", bury)
        if not answer.held and not (tombstone and _replayed(tombstone, record)):
            # Another's delete was quicker; that ours was here too tells a counter's next start.
            yield Ask(self.here, "UpdateItem", self.ledger.note(self._mine.ledger, row, mark))
        theirs = Tombstone(rank, seen, mine.until)
        return Delete(rank, record.keys, row, theirs, record, None if removed.hidden else old.rank)

    def _looked_up(
        self, record: StreamRecord, old: View, now_ms: int
    ) -> Generator[Ask, Answer, tuple[Entry, Removed]]:
        unforwarded = self._unhidden(record) is not None
        again = self._again.pop(row_key(self.mesh.mirror, record.key), None)
        if again is not None and old.rank > again.tombstone.rank:
            again = None  # raised or lifted above it
        entry = yield from self._read(record, now_ms)
        floor = entry.floor_before(record.sequence_number)
        hidden = floor is not None and old.rank <= floor
        high = floor if floor is not None and hidden else old.rank
        return entry, Removed(record, old, high, hidden, unforwarded, again)

    def _unseen(self, tombstone: Tombstone, removed: Removed, *, outranked: bool) -> bool:
        """Tell whether a delete removed what was made here and had not seen it.

        Where that can't be told, one too many is journaled: of a write without a version that no
        other replica has seen, or a save on top of what a late put had brought back, it may be the
        application that removed it. But a counter that started again looks like the latter, and is
        far more usual: of that, ``_delete_at`` alone can tell.
        """
        old, again = removed.old, removed.again
        if not old.versioned and self.mesh.bump:
            return False  # the mirror removes nothing without a version: its application did
        known = tombstone.seen.get(self.here, -1)
        elsewhere = tombstone.rank.origin != self.here
        if tombstone.rank >= old.rank and not _replayed(tombstone, removed.record):
            if removed.unforwarded and (old.placed or elsewhere):
                return True
            exact = old.rank.version >= COUNTERS_BELOW
            if again and again.versioned and not old.placed and exact:
                # A delete has seen it, or one before it, with a delete's version, that was ours.
                before = again.tombstone.seen.get(self.here, -1)
                if old.rank.version != known or known == before:
                    return True
        if not outranked or not elsewhere:
            return False  # whoever removed it, ours came before; ``_delete_at`` tells
        if removed.hidden:
            return known <= removed.high.version
        return again is None and not old.mirrored and known < old.rank.version

    def delete_rank(self, record: StreamRecord, high: Rank) -> Rank:
        """Return the rank of a removal of what had rank ``high``: one more version of it.

        A removal by TTL takes the image that expired, and no later save.
        """
        if record.by_ttl:
            return self.peers.rank(high.version, EXPIRY)
        return self.peers.rank(high.version + 1, self.here)

    def outranks(self, tombstone: Tombstone, high: Rank, rank: Rank, record: StreamRecord) -> bool:
        """Tell whether another delete outranked an image, so that its removal is none of ours."""
        mark = tombstone.mark
        this = mark is None or mark.number == record.sequence_number or record.by_ttl
        return tombstone.rank > high and not (tombstone.rank == rank and this)


def _replayed(tombstone: Tombstone, record: StreamRecord) -> bool:
    """Tell whether a delete of ours is known that is the record's, or came after it."""
    return tombstone.mark is not None and tombstone.mark.number >= record.sequence_number
