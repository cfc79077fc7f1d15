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
from dynamirror.core.conflict import Loss, Reason, digest
from dynamirror.core.ledger import Tombstone
from dynamirror.core.mesh import (
    Again,
    Answer,
    Ask,
    Delete,
    Judgement,
    Put,
    Skip,
    Steps,
    Verdict,
    remember,
)
from dynamirror.core.rank import Rank
from dynamirror.core.reconcile import COUNTERS_BELOW
from dynamirror.core.record import StreamRecord
from dynamirror.core.removal import Removing
from dynamirror.core.stamp import Stamp, View, merged
from dynamirror.core.values import row_key, same
from dynamirror.errors import UnfitError


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
        stamp_kept = old.stamp is not None and new.stamp == old.stamp
        if stamp_kept and old.placed:
            self._note_placed(record, old.rank)
        if not self.raises(old.rank, new.rank):
            if same(record.old_image or {}, record.new_image or {}):
                return Skip.UNCHANGED
            return (yield from self._unversioned(record, old, new, now_ms))
        if new.placed and stamp_kept:
            # Not our write, which always brings a stamp of its own: a version that came to be the
            # stamp's, after it was lowered. Or ours once more, over a lowered one.
            if self._put_again(record, old, new):
                yield from self._journal_loss(record, old, new, Reason.UNVERSIONED)
            return (yield from self._unversioned(record, old, new, now_ms))
        if new.placed:
            if hidden is not None:
                yield from self._lose(hidden.record, record.new_image, new.rank)
            else:
                yield from self._overwritten(record, old, new, now_ms)
            return Skip.ECHO
        if hidden is not None and new.rank <= hidden.floor:
            self._hide(record, hidden.floor)
        return self._put(record, (yield from self._known(record, old, new, now_ms)), new)

    def _known(
        self, record: StreamRecord, old: View, new: View, now_ms: int
    ) -> Generator[Ask, Answer, dict[str, int]]:
        """Return what whoever saved an image had seen."""
        if old.versioned or new.stamp is not None:
            return old.known()
        # A raised image: what the put that dropped version and stamp had replaced.
        floor = (yield from self._read(record, now_ms)).floor
        return merged(old.known(), {floor.origin: floor.version} if floor else {})

    def _inserted(self, record: StreamRecord, new: View, now_ms: int) -> Judgement:
        if not new.versioned:
            return (yield from self._unversioned(record, None, new, now_ms))
        tombstone = (yield from self._read(record, now_ms)).tombstone
        if tombstone is not None and tombstone.rank >= new.rank:
            self._note_again(record, new, tombstone)
            yield from self._reconcile(record, new, tombstone)
            return Skip.OUTRANKED
        if new.mirrored:
            return Skip.ECHO
        return self._put(record, dict(tombstone.seen) if tombstone else {}, new)

    def resync(self, record: StreamRecord, now_ms: int) -> Judgement:
        """Return what carries the present state of an item to the others: of ``record`` only the
        key counts, and the new image, which is what its replica holds.
        """
        if record.new_image is None:
            tombstone = (yield from self._read(record, now_ms)).tombstone
            if tombstone is None:
                return Skip.UNCHANGED
            return self._buried(record, tombstone)
        new = self.marks.view(record.new_image, self.here)
        if not new.versioned:
            return (yield from self._unversioned(record, None, new, now_ms))
        return self._put(record, {}, new)

    def redriven(self, record: StreamRecord, now_ms: int) -> Judgement:
        """Return what makes up for changes that other replicas lack: as ``resync``, and they may
        lack the tombstone too, by which an item that is here is about to be removed again.

        The record's old image is None unless nobody judged those changes: then it is the highest
        that they tell of. Raises UnfitError for what can't be told of any more, or not yet.
        """
        image = record.new_image
        new = None if image is None else self.marks.view(image, self.here)
        if record.old_image is not None:
            old = self.marks.view(record.old_image, self.here)
            verdict = yield from self._unjudged(record, old, new, now_ms)
            if verdict is not None:
                return verdict
        tombstone = (yield from self._read(record, now_ms)).tombstone
        if tombstone is not None and (new is None or tombstone.rank >= new.rank):
            return self._buried(record, tombstone)
        if new is None and record.event_name == "REMOVE":
            raise UnfitError(
                "it was deleted, and nothing tells any more which version of it: compare with "
                "`dynamirror verify`"
            )
        if new is None:
            return Skip.UNCHANGED
        if not new.versioned:
            return (yield from self._unversioned(record, None, new, now_ms))
        return self._put(record, dict(tombstone.seen) if tombstone else {}, new)

    def _unjudged(
        self, record: StreamRecord, old: View, new: View | None, now_ms: int
    ) -> Generator[Ask, Answer, Verdict | None]:
        """Judge what is here now as one change of the highest version that was here before.

        None: it is to be carried as it is, or the tombstone that outranks it.
        """
        if new is None and record.event_name != "REMOVE":
            raise UnfitError("it was deleted, and the stream is still to tell of that: try again")
        if new is None:
            verdict = yield from self._removed(record, old, now_ms)
            return verdict if isinstance(verdict, Delete) else None
        if new.placed or self.raises(old.rank, new.rank):
            return None
        if same(record.old_image or {}, record.new_image or {}):
            return None
        return (yield from self._unversioned(record, old, new, now_ms))

    def _buried(self, record: StreamRecord, tombstone: Tombstone) -> Delete:
        row = row_key(self.mesh.mirror, record.key)
        theirs = msgspec.structs.replace(tombstone, mark=None)
        return Delete(tombstone.rank, record.keys, row, theirs, record, None)

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

    def joined(self, first: Put | Delete, second: Put | Delete) -> Put | None:
        """Return the one put that stands for two of a key that another replica has still to get;
        None: each is needed. Whoever made the second had what the first replaced.
        """
        if isinstance(first, Delete) or isinstance(second, Delete) or first.rank >= second.rank:
            return None
        seen = merged(first.seen, second.seen)
        image = self.marks.stamped(second.image, Stamp(second.rank, seen))
        inserted = first.inserted or second.inserted
        return msgspec.structs.replace(second, image=image, inserted=inserted, seen=seen)

    def raises(self, old: Rank, new: Rank) -> bool:
        """Rule 0: tell whether a change raised the rank, as every versioned write does."""
        return new > old

    def _put(self, record: StreamRecord, seen: dict[str, int], new: View) -> Put:
        image = record.new_image or {}
        stamp = Stamp(new.rank, merged(seen, new.known()))
        row = row_key(self.mesh.mirror, record.key)
        placed = self.marks.stamped(image, stamp)
        inserted = record.old_image is None
        return Put(new.rank, record.keys, row, placed, inserted, stamp.seen)

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
        yield from self._journal_loss(record, old, new, Reason.OVERWRITTEN)

    def _journal_loss(self, record: StreamRecord, old: View, new: View, reason: Reason) -> Steps:
        loser = record.old_image or {}
        yield from self._journal(Loss(record, loser, old.rank, record.new_image, new.rank, reason))

    def _note_placed(self, record: StreamRecord, rank: Rank) -> None:
        row = row_key(self.mesh.mirror, record.key)
        if self._placed.get(row, (None,))[0] != rank:
            remember(self._placed, row, (rank, digest(record.old_image or {})))

    def _put_again(self, record: StreamRecord, old: View, new: View) -> bool:
        """Tell whether a lowered image was replaced by the one that our mirror had put before."""
        row = row_key(self.mesh.mirror, record.key)
        rank, placed = self._placed.get(row, (None, ""))
        if rank != new.rank:  # another process saw it: an application that counts takes one step
            return new.rank.version != old.rank.version + 1
        return placed == digest(record.new_image or {})

    def _numbered_twice(
        self, record: StreamRecord, old: View, new: View, again: Again | None, now_ms: int
    ) -> Generator[Ask, Answer, bool]:
        """Tell whether a version that seems to have been seen was another image's.

        ``again``: the delete below which the item was brought back or made again.
        """
        if again is not None:
            most = again.tombstone.seen.get(self.here, -1)
            if old.rank < again.tombstone.rank or old.rank.version <= most:
                return True  # on top of what a late put had brought back, or not lifted yet
        stepped = old.stamp is not None and old.rank.version == old.stamp.rank.version + 1
        if old.rank.version >= COUNTERS_BELOW and again is None and not stepped:
            return False  # by the clock, no two are the same but those a step after another
        tombstone = (yield from self._read(record, now_ms)).tombstone
        seen = new.stamp.seen if new.stamp else {}
        return tombstone is not None and restarted(tombstone, old.rank, new.rank, seen, record)
