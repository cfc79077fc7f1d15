"""Rule 3: a removal leaves a tombstone, here and there, and then removes what it outranks.

A removal that another delete explains, since its tombstone outranks the image, is no new delete: it
is the mirror's own, coming back.
"""

from __future__ import annotations

from dynamirror.core.conflict import Loss, Reason
from dynamirror.core.ledger import Mark, Tombstone
from dynamirror.core.mesh import Ask, Delete, Judgement, Skip
from dynamirror.core.rank import EXPIRY, Rank
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import View, merged
from dynamirror.core.unversioned import Raising
from dynamirror.core.values import row_key


class Removing(Raising):
    """Rule 3, at the replica of the removal."""

    def _removed(self, record: StreamRecord, old: View, now_ms: int) -> Judgement:
        self._unhidden(record)
        entry = yield from self._read(record, now_ms)
        tombstone, floor = entry.tombstone, entry.floor_before(record.sequence_number)
        row = row_key(self.mesh.mirror, record.key)
        again = row in self._again
        self._again.pop(row, None)
        hidden = floor is not None and old.rank <= floor
        high = floor if floor is not None and hidden else old.rank
        rank = self.delete_rank(record, high)
        if tombstone is not None and self.outranks(tombstone, high, rank, record):
            # Of what was made again below a tombstone, ``_delete_at`` alone can tell.
            if not again and self._unseen(tombstone, old, high, hidden=hidden):
                loser = record.old_image or {}
                yield from self._journal(
                    Loss(record, loser, old.rank, None, tombstone.rank, Reason.DELETED)
                )
            return Skip.OUTRANKED
        seen = merged(old.known(), {high.origin: high.version}, {self.here: rank.version})
        if tombstone is not None:
            seen = merged(seen, tombstone.seen)
        mine = Tombstone(
            rank, seen, self._until(record), Mark(record.sequence_number, rank.version)
        )
        bury = self.ledger.bury(self._mine.ledger, row, mine, now_ms // 1_000)
        yield Ask(self.here, "UpdateItem", bury)
        theirs = Tombstone(rank, seen, mine.until)
        return Delete(rank, record.keys, row, theirs, record, None if hidden else old.rank)

    def _unseen(self, tombstone: Tombstone, old: View, high: Rank, *, hidden: bool) -> bool:
        """Tell whether a delete removed what was made here and had not seen it."""
        known = tombstone.seen.get(self.here, -1)
        if not old.versioned and self.mesh.bump:
            return False  # the mirror removes nothing without a version: its application did
        if tombstone.rank.origin == self.here:
            return False  # whoever removed it, ours came before; ``_delete_at`` tells
        if hidden:
            return known <= high.version
        return not old.mirrored and known < old.rank.version

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
