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
from enum import StrEnum

import msgspec

from dynamirror.core.conflict import Loss, Reason, journal_rows
from dynamirror.core.ledger import Entry, Ledger, Mark, Tombstone
from dynamirror.core.rank import EXPIRY, Peers, Rank, fit, number
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Bounds, Marks, Seen, Stamp, View, merged
from dynamirror.core.values import Image, Wire, row_key, same


class Replica(msgspec.Struct, frozen=True):
    """One replica, and the tables of ours beside it."""

    name: str
    table: str
    ledger: str
    journal: str


class Mesh(msgspec.Struct, frozen=True):
    """What the rules need to know of a two-way mirror."""

    mirror: str
    replicas: tuple[Replica, ...]
    """The strongest first."""
    version_attribute: str = "version"
    stamp_attribute: str = "_mirror"
    bump: bool = True
    """Whether unversioned writes are raised; else they are only told of."""
    tombstone_days: int = 7
    journal_days: int = 90


class Ask(msgspec.Struct, frozen=True):
    """A request to the region of one replica."""

    replica: str
    operation: str
    request: Wire


class Answer(msgspec.Struct, frozen=True):
    """What came of it."""

    held: bool
    """Whether the condition did."""
    item: Wire | None = None
    """What was asked for: the item or row, old or new."""


class Skip(StrEnum):
    """Why a record is not forwarded."""

    ECHO = "echo"
    UNCHANGED = "unchanged"
    RAISED = "raised"
    """An unversioned write, made a proper one: what flows is the next record."""
    UNVERSIONED = "unversioned"
    """One that is only told of."""
    OUTRANKED = "outranked"


class Put(msgspec.Struct, frozen=True):
    """An image to put at every other replica."""

    rank: Rank
    keys: Wire
    row: str
    image: Image
    """With its stamp."""
    inserted: bool


class Delete(msgspec.Struct, frozen=True):
    """A delete to carry out at every other replica."""

    rank: Rank
    keys: Wire
    row: str
    tombstone: Tombstone
    record: StreamRecord
    old_rank: Rank | None
    """Of the image that it removed at its own replica; None: an unversioned write's."""


Steps = Generator[Ask, Answer, None]
Verdict = Put | Delete | Skip
Judgement = Generator[Ask, Answer, Verdict]

ATTEMPTS_MAX = 8
"""Looks at an item that goes on changing between two requests; its next record looks again."""


COUNTERS_BELOW = 10**11
"""Lower versions are not milliseconds: the application counts, and may start again at 1."""


def restarted(
    tombstone: Tombstone, lost: Rank, by: Rank, seen: Seen, record: StreamRecord | None = None
) -> bool:
    """Tell whether a version that seems to have been seen is of a counter that started again.

    It is, if it was made after a delete that outranks it: one earlier in the same stream, or one of
    which whoever overwrote it did not know, nor was it made later, knowing that overwriting.
    """
    mark = tombstone.mark
    if record is not None and mark is not None:
        if mark.number < record.sequence_number and lost.version <= mark.version:
            return True
    rank = tombstone.rank
    return (
        rank >= lost
        and seen.get(rank.origin, -1) < rank.version
        and tombstone.seen.get(by.origin, -1) < by.version
    )


class TwoWay:
    """The rules for the consumer of one replica's stream."""

    def __init__(self, mesh: Mesh, here: str) -> None:
        self.mesh = mesh
        self.here = here
        self.peers = Peers([replica.name for replica in mesh.replicas])
        self.marks = Marks(self.peers, mesh.version_attribute, mesh.stamp_attribute)
        self.bounds = Bounds(self.marks)
        self.ledger = Ledger(self.peers)
        self._replicas = {replica.name: replica for replica in mesh.replicas}
        self._mine = self._replicas[here]
        # Unversioned writes whose fate their key's next record tells: what is here now doesn't.
        # Lost with the process, so it decides nothing but what is journaled.
        self._hidden: dict[str, StreamRecord] = {}

    @property
    def others(self) -> list[str]:
        """The replicas that a verdict is for."""
        return [name for name in self.peers.names if name != self.here]

    def local(self, record: StreamRecord, now_ms: int) -> Judgement:
        """Judge a record and do what it asks for at its own replica.

        Raises UnfitError for images that can't be mirrored as they are.
        """
        old = None if record.old_image is None else self.marks.view(record.old_image, self.here)
        if record.new_image is None:
            if old is None:
                return Skip.UNCHANGED
            return (yield from self._removed(record, old, now_ms))
        new = self.marks.view(record.new_image, self.here)
        hidden = self._unhidden(record)
        if old is None:
            return (yield from self._inserted(record, new, now_ms))
        if not self.raises(old.rank, new.rank):
            if record.old_image is not None and same(record.old_image, record.new_image):
                return Skip.UNCHANGED
            return (yield from self._unversioned(record, old, new, now_ms))
        if new.mirrored:
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

    def remote(self, verdict: Put | Delete, there: str, now_ms: int) -> Steps:
        """Carry out at another replica what a record asks for."""
        if isinstance(verdict, Put):
            yield from self._put_at(verdict, self._replicas[there], now_ms)
        else:
            yield from self._delete_at(verdict, self._replicas[there], now_ms)

    def squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        """Return the one record that stands for two of a key in a row; None: each is needed.

        Only saves of this replica's own: their last image is all that others need to see.
        """
        if first.new_image is None or second.new_image is None or second.old_image is None:
            return None
        before = None if first.old_image is None else self.marks.view(first.old_image, self.here)
        middle = self.marks.view(first.new_image, self.here)
        after = self.marks.view(second.new_image, self.here)
        if middle.mirrored or after.mirrored or not middle.versioned:
            return None
        if before is not None and not self.raises(before.rank, middle.rank):
            return None
        if not self.raises(middle.rank, after.rank):
            return None
        return msgspec.structs.replace(second, old_image=first.old_image)

    def raises(self, old: Rank, new: Rank) -> bool:
        """Rule 0: tell whether a change raised the rank, as every versioned write does."""
        return new > old

    def _unhidden(self, record: StreamRecord) -> StreamRecord | None:
        if not self._hidden:
            return None
        before = self._hidden.pop(row_key(self.mesh.mirror, record.key), None)
        if before is None or before.new_image is None or record.old_image is None:
            return None
        return before if same(before.new_image, record.old_image) else None

    def _put(self, record: StreamRecord, seen: dict[str, int], new: View, inserted: bool) -> Put:  # noqa: FBT001
        image = record.new_image or {}
        stamp = Stamp(new.rank, merged(seen, new.known()))
        row = row_key(self.mesh.mirror, record.key)
        return Put(new.rank, record.keys, row, self.marks.stamped(image, stamp), inserted)

    # Rule 0

    def _unversioned(
        self, record: StreamRecord, old: View | None, new: View, now_ms: int
    ) -> Judgement:
        if not self.mesh.bump:
            return Skip.UNVERSIONED
        entry = yield from self._raise_floor(record, (old or new).rank, now_ms)
        floor = entry.floor or (old or new).rank
        above = [floor.version + 1, now_ms]
        seen = old.known() if old else {}
        if entry.tombstone is not None:
            above.append(entry.tombstone.rank.version + 1)
            seen = merged(seen, entry.tombstone.seen) if old is None else seen
        update, values = "SET #v = :n", {":n": number(fit(max(above)))}
        names = {}
        if seen:
            # A put that dropped the stamp still knew what it replaced.
            stamp = Stamp((old or new).rank, seen)
            update += ", #s = if_not_exists(#s, :s)"
            values[":s"] = self.marks.wire(stamp)
            names["#s"] = self.marks.stamp_attribute
        answer = yield from self._raise(record, update, values, names, floor)
        current = None if answer.item is None else self.marks.view(answer.item, self.here)
        if old is None:
            tombstone = entry.tombstone
            if current and not answer.held and tombstone and tombstone.rank >= current.rank:
                yield from self._reconcile(record, current, tombstone)
        elif current and answer.item and self._was_lost(old, new, current, floor):
            yield from self._lose(record, answer.item, current.rank)
        elif not answer.held or answer.item != record.new_image:
            self._hidden[row_key(self.mesh.mirror, record.key)] = record
        return Skip.RAISED

    def _raise_floor(
        self, record: StreamRecord, floor: Rank, now_ms: int
    ) -> Generator[Ask, Answer, Entry]:
        row = row_key(self.mesh.mirror, record.key)
        request = self.ledger.raise_floor(
            self._mine.ledger, row, floor, self._until(record), now_ms // 1_000
        )
        answer = yield Ask(self.here, "UpdateItem", request)
        return self.ledger.entry(answer.item, now_ms // 1_000)

    def _raise(
        self,
        record: StreamRecord,
        update: str,
        values: Wire,
        names: dict[str, str],
        ceiling: Rank,
    ) -> Generator[Ask, Answer, Answer]:
        """Give whatever item is here now, up to a rank, a version above it."""
        condition = self.bounds.not_above(self.here, ceiling)
        condition = condition.also("attribute_exists(#k)", k=min(record.keys))
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
        if not new.mirrored and new.rank != old.rank:
            return False
        if current.stamp is None or current.stamp.rank.origin == self.here:
            return False  # made anew, or raised by us: the mirror has put nothing since
        before = {old.rank, floor, new.stamp.rank if new.stamp else None}
        known = current.stamp.seen.get(self.here, -1) > floor.version
        return current.stamp.rank not in before and not known

    # Rule 1

    def _overwritten(self, record: StreamRecord, old: View, new: View, now_ms: int) -> Steps:
        """Journal what was made here and is overwritten by a save that had not seen it.

        Who saw it saw no later version made here. A higher one is from before a counter started
        again.
        """
        seen = new.stamp.seen if new.stamp else {}
        if old.mirrored:
            return
        if old.versioned and seen.get(self.here) == old.rank.version:
            if old.rank.version >= COUNTERS_BELOW:
                return
            entry = yield from self._read(record, now_ms)
            tombstone = entry.tombstone
            if tombstone is None or not restarted(tombstone, old.rank, new.rank, seen, record):
                return
        loser, winner = record.old_image or {}, record.new_image
        yield from self._journal(
            Loss(record, loser, old.rank, winner, new.rank, Reason.OVERWRITTEN)
        )

    def _journal(self, loss: Loss, there: Replica | None = None) -> Steps:
        there = there or self._mine
        for row in journal_rows(self.mesh.mirror, self.mesh.journal_days, loss):
            yield Ask(there.name, "PutItem", {"TableName": there.journal, "Item": row})

    # Rule 2

    def _put_at(self, put: Put, there: Replica, now_ms: int) -> Steps:
        below = self.bounds.below(there.name, put.rank)
        if self.mesh.bump:
            below = self.bounds.versioned(below)
        request = {"TableName": there.table, "Item": put.image}
        shown = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if not put.inserted:
            present = below.also("attribute_exists(#k)", k=min(put.keys)).request()
            answer = yield Ask(there.name, "PutItem", {**request, **present, **shown})
            if answer.held or answer.item:
                yield from self._spare(put, there, answer, now_ms)
                return
        answer = yield Ask(there.name, "GetItem", self.ledger.read(there.ledger, put.row))
        tombstone = self.ledger.entry(answer.item, now_ms // 1_000).tombstone
        if tombstone is None or tombstone.rank < put.rank:
            absent = below.otherwise("attribute_not_exists(#k)", k=min(put.keys)).request()
            answer = yield Ask(there.name, "PutItem", {**request, **absent, **shown})
            yield from self._spare(put, there, answer, now_ms)

    def _spare(self, put: Put, there: Replica, answer: Answer, now_ms: int) -> Steps:
        """Raise an item without a version, which may well have replaced what we put: not over it.

        Its own consumer would do so with the same outcome, were it as quick.
        """
        held = answer.item
        if answer.held or not held or not self.mesh.bump:
            return
        if self.marks.view(held, there.name).versioned:
            return
        version = fit(max(now_ms, put.rank.version + 1))
        condition = "attribute_exists(#k) AND attribute_not_exists(#v)"
        request = {
            "TableName": there.table,
            "Key": put.keys,
            "UpdateExpression": "SET #v = :n",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {
                "#k": min(put.keys),
                "#v": self.marks.version_attribute,
            },
            "ExpressionAttributeValues": {":n": number(version)},
        }
        answer = yield Ask(there.name, "UpdateItem", request)
        if not answer.held:  # somebody else was quicker, and perhaps raised it less
            yield from self._put_at(put, there, now_ms)

    # Rule 3

    def _removed(self, record: StreamRecord, old: View, now_ms: int) -> Judgement:
        self._unhidden(record)
        entry = yield from self._read(record, now_ms)
        tombstone, floor = entry.tombstone, entry.floor
        hidden = floor is not None and old.rank <= floor
        high = floor if floor is not None and hidden else old.rank
        rank = self.delete_rank(record, high)
        if tombstone is not None and self.outranks(tombstone, high, rank, record):
            if self._unseen(tombstone, old, high, hidden=hidden):
                loser = record.old_image or {}
                yield from self._journal(
                    Loss(record, loser, old.rank, None, tombstone.rank, Reason.DELETED)
                )
            return Skip.OUTRANKED
        seen = merged(old.known(), {high.origin: high.version}, {self.here: rank.version})
        if tombstone is not None:
            seen = merged(seen, tombstone.seen)
        mine = Tombstone(rank, seen, self._until(record), Mark(record.sequence_number, rank.version))
        row = row_key(self.mesh.mirror, record.key)
        bury = self.ledger.bury(self._mine.ledger, row, mine, now_ms // 1_000)
        yield Ask(self.here, "UpdateItem", bury)
        theirs = Tombstone(rank, seen, mine.until)
        return Delete(rank, record.keys, row, theirs, record, None if hidden else old.rank)

    def _unseen(self, tombstone: Tombstone, old: View, high: Rank, *, hidden: bool) -> bool:
        """Tell whether a delete removed what was made here and had not seen it."""
        known = tombstone.seen.get(self.here, -1)
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

    def outranks(
        self, tombstone: Tombstone, high: Rank, rank: Rank, record: StreamRecord
    ) -> bool:
        """Tell whether another delete outranked an image, so that its removal is none of ours."""
        mark = tombstone.mark
        this = mark is None or mark.number == record.sequence_number or record.by_ttl
        return tombstone.rank > high and not (tombstone.rank == rank and this)

    def _delete_at(self, delete: Delete, there: Replica, now_ms: int) -> Steps:
        # In this order: a crash between the two is healed by the retry.
        bury = self.ledger.bury(there.ledger, delete.row, delete.tombstone, now_ms // 1_000)
        answer = yield Ask(there.name, "UpdateItem", bury)
        before = self.ledger.entry(answer.item, now_ms // 1_000).tombstone
        below = self.bounds.below(there.name, delete.rank)
        request = {"TableName": there.table, "Key": delete.keys, **below.request()}
        request["ReturnValues"] = "ALL_OLD"
        answer = yield Ask(there.name, "DeleteItem", request)
        if not answer.held or answer.item is None:
            return
        # Its own consumer journals it too, but from what is known there by then: this is exact.
        gone = self.marks.view(answer.item, there.name)
        if gone.mirrored or self._knew(delete, before, gone, answer.item):
            return
        loss = Loss(delete.record, answer.item, gone.rank, None, delete.rank, Reason.DELETED)
        yield from self._journal(loss, there)

    def _knew(
        self, delete: Delete, before: Tombstone | None, gone: View, image: Image
    ) -> bool:
        """Tell whether a delete had seen the image that it removed elsewhere."""
        seen, rank = delete.tombstone.seen, gone.rank
        if not gone.versioned or seen.get(rank.origin) != rank.version:
            return False
        if delete.old_rank == rank:
            return not self.marks.differing(delete.record.old_image or {}, image)
        return before is None or not restarted(before, rank, delete.rank, seen)

    # Rule 4

    def _inserted(self, record: StreamRecord, new: View, now_ms: int) -> Judgement:
        if not new.versioned:
            return (yield from self._unversioned(record, None, new, now_ms))
        tombstone = (yield from self._read(record, now_ms)).tombstone
        if tombstone is not None and tombstone.rank >= new.rank:
            yield from self._reconcile(record, new, tombstone)
            return Skip.OUTRANKED
        if new.mirrored:
            return Skip.ECHO
        return self._put(record, dict(tombstone.seen) if tombstone else {}, new, inserted=True)

    def _reconcile(self, record: StreamRecord, new: View, tombstone: Tombstone) -> Steps:
        """Remove an item that a late put brought back; lift one that was made again."""
        view = new
        for _ in range(ATTEMPTS_MAX):
            if view.mirrored:
                answer = yield Ask(self.here, "DeleteItem", self._expel(record, tombstone.rank))
                yield from self._altered(record, new, answer)
            else:
                answer = yield from self._lift(record, tombstone)
            if answer.item is None:
                return
            view = self.marks.view(answer.item, self.here)
            if answer.held or view.rank > tombstone.rank:
                return

    def _altered(self, record: StreamRecord, new: View, answer: Answer) -> Steps:
        """Journal an unversioned change of what was brought back and is removed again."""
        if not answer.held or answer.item is None or record.new_image is None:
            return
        gone = self.marks.view(answer.item, self.here)
        if gone.rank == new.rank and not same(record.new_image, answer.item):
            loss = Loss(record, answer.item, gone.rank, None, gone.rank, Reason.UNVERSIONED)
            yield from self._journal(loss)

    def _expel(self, record: StreamRecord, ceiling: Rank) -> Wire:
        condition = self.bounds.not_above(self.here, ceiling)
        names = {"s": self.marks.stamp_attribute, "w": "version"}
        return {
            "TableName": self._mine.table,
            "Key": record.keys,
            **condition.also("#s.#w = #v", **names).request(),
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _lift(
        self, record: StreamRecord, tombstone: Tombstone
    ) -> Generator[Ask, Answer, Answer]:
        update = "SET #v = :n"
        values = {":n": number(fit(tombstone.rank.version + 1)), ":here": {"S": self.here}}
        condition = self.bounds.not_above(self.here, tombstone.rank)
        local = (
            "attribute_exists(#k) AND (attribute_not_exists(#v) OR attribute_not_exists(#s.#w)"
            " OR #s.#w < #v OR #s.#w > #v OR #s.#o = :here)"
        )
        names = {"k": min(record.keys), "s": self.marks.stamp_attribute, "w": "version"}
        names["o"] = "origin"
        condition = condition.also(local, **names)
        request = {
            "TableName": self._mine.table,
            "Key": record.keys,
            "UpdateExpression": update,
            **condition.request(),
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        request["ExpressionAttributeValues"] = {**condition.values, **values}
        return (yield Ask(self.here, "UpdateItem", request))

    def _read(self, record: StreamRecord, now_ms: int) -> Generator[Ask, Answer, Entry]:
        row = row_key(self.mesh.mirror, record.key)
        answer = yield Ask(self.here, "GetItem", self.ledger.read(self._mine.ledger, row))
        return self.ledger.entry(answer.item, now_ms // 1_000)

    def _until(self, record: StreamRecord) -> int:
        return int(record.created_at) + self.mesh.tombstone_days * 86_400
