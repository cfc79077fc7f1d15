"""Two-way mirroring: what the consumer of one replica does for each record of its stream.

Each rule is a generator: it yields requests and is sent their answers, so the same code runs in the
engine, in a Lambda function and in the simulator, where every request is a point at which anything
else may happen. ``local`` is carried out once per record, at the record's own replica, and returns
what every other replica must do; ``remote`` carries that out at one of them. Every request is
conditional and safe to repeat, so a record can be replayed from any point.

Rules, in this order (docs/two-way.md says why each is needed):

0. A changed image whose rank is not above the old one's is an unversioned write: it is raised.
1. A mirrored image is our own write coming back: not forwarded.
2. A local image is put, with its rank, wherever the item's rank is lower.
3. A removal leaves a tombstone, here and there, and then removes what it outranks.
4. An inserted item that a tombstone outranks is removed again, or lifted above it.
5. Runs of local puts may be squashed into one, see ``squashed``.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from dynamirror.core.carry import Carrying, restarted
from dynamirror.core.conflict import Loss, Reason
from dynamirror.core.mesh import Answer, Ask, Delete, Judgement, Put, Skip, Steps
from dynamirror.core.rank import Rank
from dynamirror.core.reconcile import COUNTERS_BELOW
from dynamirror.core.record import StreamRecord
from dynamirror.core.removal import Removing
from dynamirror.core.stamp import Stamp, View, merged
from dynamirror.core.values import row_key, same

AGAIN_MAX = 10_000
"""Keys remembered as made again: more than are ever so at a time, and a bound."""


class TwoWay(Removing, Carrying):
    """The rules for the consumer of one replica's stream."""

    @property
    def others(self) -> list[str]:
        """The replicas that a verdict is for."""
        return [name for name in self.peers.names if name != self.here]

    def local(self, record: StreamRecord, now_ms: int) -> Judgement:
        """Judge a record and do what it asks for at its own replica.

        Raises UnfitError for images that can't be mirrored as they are.
        """
        old = None if record.old_image is None else self.marks.view(record.old_image, self.here)
        if record.new_image is not None:
            new = self.marks.view(record.new_image, self.here)
            if old is None:
                self._unhidden(record)
                return (yield from self._inserted(record, new, now_ms))
            return (yield from self._changed(record, old, new, now_ms))
        if old is None:
            return Skip.UNCHANGED
        return (yield from self._removed(record, old, now_ms))

    def _changed(self, record: StreamRecord, old: View, new: View, now_ms: int) -> Judgement:
        hidden = self._unhidden(record)
        if not self.raises(old.rank, new.rank):
            if same(record.old_image or {}, record.new_image or {}):
                return Skip.UNCHANGED
            return (yield from self._unversioned(record, old, new, now_ms))
        if new.placed and old.stamp is not None and new.stamp == old.stamp:
            # Not our write, which always brings a stamp of its own: a version that came to be the
            # stamp's, after it was lowered.
            return (yield from self._unversioned(record, old, new, now_ms))
        if new.placed:
            if hidden is not None:
                yield from self._lose(hidden, record.new_image, new.rank)
            else:
                yield from self._overwritten(record, old, new, now_ms)
            return Skip.ECHO
        seen = old.known()
        if not old.versioned and new.stamp is None:
            # A raised image: what the put that dropped version and stamp had replaced.
            floor = (yield from self._read(record, now_ms)).floor
            seen = merged(seen, {floor.origin: floor.version} if floor else {})
        return self._put(record, seen, new, inserted=False)

    def _inserted(self, record: StreamRecord, new: View, now_ms: int) -> Judgement:
        if not new.versioned:
            return (yield from self._unversioned(record, None, new, now_ms))
        tombstone = (yield from self._read(record, now_ms)).tombstone
        if tombstone is not None and tombstone.rank >= new.rank:
            while len(self._again) >= AGAIN_MAX:
                del self._again[next(iter(self._again))]
            row = row_key(self.mesh.mirror, record.key)
            self._again[row] = tombstone.seen.get(self.here, -1)
            yield from self._reconcile(record, new, tombstone)
            return Skip.OUTRANKED
        if new.mirrored:
            return Skip.ECHO
        return self._put(record, dict(tombstone.seen) if tombstone else {}, new, inserted=True)

    def resync(self, record: StreamRecord, now_ms: int) -> Judgement:
        """Return what carries the present state of an item to the others: of ``record`` only the
        key counts, and the new image, which is what its replica holds.
        """
        if record.new_image is None:
            tombstone = (yield from self._read(record, now_ms)).tombstone
            if tombstone is None:
                return Skip.UNCHANGED
            row = row_key(self.mesh.mirror, record.key)
            theirs = msgspec.structs.replace(tombstone, mark=None)
            return Delete(tombstone.rank, record.keys, row, theirs, record, None)
        new = self.marks.view(record.new_image, self.here)
        if not new.versioned:
            return (yield from self._unversioned(record, None, new, now_ms))
        return self._put(record, {}, new, inserted=True)

    def squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        """Return the one record that stands for two of a key in a row; None: each is needed.

        Only saves of this replica's own: their last image is all that others need to see.
        """
        if first.new_image is None or second.new_image is None or second.old_image is None:
            return None
        before = None if first.old_image is None else self.marks.view(first.old_image, self.here)
        middle = self.marks.view(first.new_image, self.here)
        after = self.marks.view(second.new_image, self.here)
        if middle.placed or after.placed or not middle.versioned:
            return None
        if before is not None and not self.raises(before.rank, middle.rank):
            return None
        if not self.raises(middle.rank, after.rank):
            return None
        return msgspec.structs.replace(second, old_image=first.old_image)

    def raises(self, old: Rank, new: Rank) -> bool:
        """Rule 0: tell whether a change raised the rank, as every versioned write does."""
        return new > old

    def _put(self, record: StreamRecord, seen: dict[str, int], new: View, inserted: bool) -> Put:  # noqa: FBT001
        image = record.new_image or {}
        stamp = Stamp(new.rank, merged(seen, new.known()))
        row = row_key(self.mesh.mirror, record.key)
        return Put(new.rank, record.keys, row, self.marks.stamped(image, stamp), inserted)

    def _overwritten(self, record: StreamRecord, old: View, new: View, now_ms: int) -> Steps:
        """Journal what was made here and is overwritten by a save that had not seen it.

        Who saw it saw no later version made here. A higher one is from before a counter started
        again.
        """
        seen = new.stamp.seen if new.stamp else {}
        if old.mirrored:
            return
        if old.versioned and seen.get(self.here) == old.rank.version:
            row = row_key(self.mesh.mirror, record.key) if self._again else ""
            if not (
                yield from self._numbered_twice(record, old, new, self._again.get(row), now_ms)
            ):
                return
        loser, winner = record.old_image or {}, record.new_image
        yield from self._journal(
            Loss(record, loser, old.rank, winner, new.rank, Reason.OVERWRITTEN)
        )

    def _numbered_twice(
        self, record: StreamRecord, old: View, new: View, again: int | None, now_ms: int
    ) -> Generator[Ask, Answer, bool]:
        """Tell whether a version that seems to have been seen was another image's.

        ``again``: what a delete had seen, below which the item was brought back or made again.
        """
        if old.rank.version >= COUNTERS_BELOW:
            if again is None:
                return False
            if old.rank.version <= again:
                return True  # saved on top of what a late put had brought back
        tombstone = (yield from self._read(record, now_ms)).tombstone
        seen = new.stamp.seen if new.stamp else {}
        return tombstone is not None and restarted(tombstone, old.rank, new.rank, seen, record)
