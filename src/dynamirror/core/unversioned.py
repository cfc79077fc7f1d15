"""Rule 0: a write that does not raise its item's rank is made one that does.

The application forgot the version, kept it, or put back an older one. Left alone it would differ
for ever. The old image's rank becomes the key's *floor*, and whatever item is there now, up to that
rank, is raised above it. The raised image flows as the next record.
"""

from __future__ import annotations

from collections.abc import Generator

from dynamirror.core.conflict import Loss, Reason
from dynamirror.core.ledger import Entry, Tombstone
from dynamirror.core.mesh import Again, Answer, Ask, Hidden, Judgement, Skip, Steps, remember
from dynamirror.core.rank import Rank, fit, number
from dynamirror.core.reconcile import Reconciling
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Stamp, View, merged
from dynamirror.core.values import Image, Wire, row_key, same


class Raising(Reconciling):
    """Rule 0."""

    def _unversioned(
        self, record: StreamRecord, old: View | None, new: View, now_ms: int
    ) -> Judgement:
        if not self.mesh.bump:
            return Skip.UNVERSIONED
        highest = max(old.rank, new.rank) if old else new.rank
        entry = yield from self._raise_floor(record, highest, now_ms)
        floor = entry.floor or highest
        above = [floor.version + 1, now_ms]
        seen = old.known() if old else {}
        if entry.tombstone is not None:
            above.append(entry.tombstone.rank.version + 1)
            if old is None:
                seen = merged(seen, entry.tombstone.seen)
                self._note_again(record, new, entry.tombstone)
        update, values = "SET #v = :n", {":n": number(fit(max(above)))}
        if seen:
            # A put that dropped the stamp still knew what it replaced.
            stamp = Stamp((old or new).rank, seen)
            update += ", #s = if_not_exists(#s, :s)"
            values[":s"] = self.marks.wire(stamp)
        answer = yield from self._raise(record, update, values, floor)
        current = None if answer.item is None else self.marks.view(answer.item, self.here)
        if (
            current
            and not answer.held
            and (old is None or self._is_late(record, current, answer.item))
        ):
            tombstone = entry.tombstone
            if tombstone and tombstone.rank >= current.rank:
                yield from self._reconcile(record, current, tombstone, answer.item)
        if old is not None and not (
            answer.held and same(answer.item or {}, record.new_image or {})
        ):
            self._hide(record, floor)
            if current and answer.item and self._was_lost(old, new, current, floor):
                yield from self._lose(record, answer.item, current.rank)
        return Skip.RAISED

    def _raise_floor(
        self, record: StreamRecord, floor: Rank, now_ms: int
    ) -> Generator[Ask, Answer, Entry]:
        row = row_key(self.mesh.mirror, record.key)
        request = self.ledger.raise_floor(
            self._mine.ledger,
            row,
            floor,
            by=record.sequence_number,
            until=self._until(record),
            now_s=now_ms // 1_000,
        )
        answer = yield Ask(self.here, "UpdateItem", request)
        return self.ledger.entry(answer.item, now_ms // 1_000)

    def _raise(
        self,
        record: StreamRecord,
        update: str,
        values: Wire,
        ceiling: Rank,
    ) -> Generator[Ask, Answer, Answer]:
        """Give whatever item is here now, up to a rank, a version above it."""
        condition = self.bounds.not_above(self.here, ceiling)
        # Whatever it is: left below what was here before, it would differ from all others.
        condition = condition.also("attribute_exists(#k)", k=min(record.keys))
        names = {"#s": self.marks.stamp_attribute} if "#s" in update else {}
        request = {
            "TableName": self._mine.table,
            "Key": record.keys,
            "UpdateExpression": update,
            **condition.request(),
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        request["ExpressionAttributeNames"] = {**condition.names, **names}
        request["ExpressionAttributeValues"] = {**condition.values, **values}
        return (yield Ask(self.here, "UpdateItem", request))

    def _lose(self, record: StreamRecord, by: Image | None, rank: Rank) -> Steps:
        """Journal the unversioned image that a record made."""
        image = record.new_image or {}
        lost = self.marks.view(image, self.here).rank
        yield from self._journal(Loss(record, image, lost, by, rank, Reason.UNVERSIONED))

    def _was_lost(self, old: View, new: View, current: View, floor: Rank) -> bool:
        """Tell whether the mirror has overwritten an unversioned image that looks like another's.

        It could not be forwarded, so no later image knew it, unless that knew a version above the
        floor: the one that we made of it. Any stamp but those from before is of a later put.
        (An image that looks like what it is, rule 1 journals from the record of its loss.)
        """
        if not new.versioned or (not new.mirrored and new.rank != old.rank):
            return False
        if current.stamp is None or current.stamp.rank.origin == self.here:
            return False  # made anew, or raised by us: the mirror has put nothing since
        before = {old.rank, floor, new.stamp.rank if new.stamp else None}
        known = current.stamp.seen.get(self.here, -1) > floor.version
        # A put goes over what it outranks: a lower stamp was there before, or came of a replay.
        return current.stamp.rank > new.rank and current.stamp.rank not in before and not known

    def _note_again(self, record: StreamRecord, new: View, tombstone: Tombstone) -> None:
        """Remember an insert below a tombstone. If it is replayed, and the delete came later, what
        follows is journaled in vain.
        """
        again = Again(tombstone, new.versioned)
        remember(self._again, row_key(self.mesh.mirror, record.key), again)

    def _hide(self, record: StreamRecord, floor: Rank) -> None:
        remember(self._hidden, row_key(self.mesh.mirror, record.key), Hidden(record, floor))

    def _unhidden(self, record: StreamRecord) -> Hidden | None:
        if not self._hidden:
            return None
        hidden = self._hidden.pop(row_key(self.mesh.mirror, record.key), None)
        if hidden is None or record.old_image is None:
            return None
        return hidden if same(hidden.record.new_image or {}, record.old_image) else None
