"""Rules 2 and 3 at the other replicas: puts and deletes that are refused where they are outranked.

A put of a changed item is one conditional request and no read. Only where there is no item the
ledger is read first, for a tombstone; the race between the two, rule 4 heals.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from dynamirror.core.conflict import Loss, Reason
from dynamirror.core.ledger import Tombstone
from dynamirror.core.mesh import Answer, Ask, Delete, Here, Put, Replica, Steps
from dynamirror.core.rank import Rank, fit, number
from dynamirror.core.reconcile import COUNTERS_BELOW
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Condition, Seen, View
from dynamirror.core.values import Image, key_of


def restarted(
    tombstone: Tombstone, lost: Rank, by: Rank, seen: Seen, record: StreamRecord | None = None
) -> bool:
    """Tell whether a version that seems to have been seen is of a counter that started again.

    It is, if it was made after a delete that outranks it: one earlier in the same stream, or one of
    which whoever overwrote it did not know, nor was it made later, knowing that overwriting.
    """
    mark = tombstone.mark
    again = record is not None and mark is not None and mark.number < record.sequence_number
    if again and mark is not None and lost.version <= mark.version:
        return True
    rank = tombstone.rank
    return (
        rank >= lost
        and seen.get(rank.origin, -1) < rank.version
        and tombstone.seen.get(by.origin, -1) < by.version
    )


class Carrying(Here):
    """What is done at the other replicas."""

    def remote(self, verdict: Put | Delete, there: str, now_ms: int) -> Steps:
        """Carry out at another replica what a record asks for."""
        if isinstance(verdict, Put):
            yield from self._put_at(verdict, self._replicas[there], now_ms)
        else:
            yield from self._delete_at(verdict, self._replicas[there], now_ms)

    def _put_at(self, put: Put, there: Replica, now_ms: int) -> Steps:
        below = self._below(there, put.rank)
        request = {"TableName": there.table, "Item": put.image}
        shown = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if not put.inserted:
            present = below.also("attribute_exists(#k)", k=min(put.keys)).request()
            answer = yield Ask(there.name, "PutItem", {**request, **present, **shown})
            if answer.held or answer.item:
                if (yield from self._spared(put, there, answer, now_ms)):
                    yield from self._put_at(put, there, now_ms)
                return
        answer = yield Ask(there.name, "GetItem", self.ledger.read(there.ledger, put.row))
        tombstone = self.ledger.entry(answer.item, now_ms // 1_000).tombstone
        if tombstone is not None and tombstone.rank >= put.rank:
            yield from self._spread(put, tombstone, there, now_ms)
            return
        absent = below.otherwise("attribute_not_exists(#k)", k=min(put.keys)).request()
        answer = yield Ask(there.name, "PutItem", {**request, **absent, **shown})
        if (yield from self._spared(put, there, answer, now_ms)):
            yield from self._put_at(put, there, now_ms)

    def _spread(self, put: Put, tombstone: Tombstone, known: Replica, now_ms: int) -> Steps:
        """Bring a tombstone that refused a put to whoever does not know it, this replica first.

        Mostly it is on its way there. But one that a consumer's last request wrote, landing after
        the consumer's death, nobody else would ever hear of; what it refuses would differ for ever.
        """
        theirs = msgspec.structs.replace(tombstone, mark=None)
        keys, now_s = put.keys, now_ms / 1_000
        record = StreamRecord(0, "REMOVE", key_of(keys), keys, None, None, now_s, by_ttl=False)
        delete = Delete(theirs.rank, keys, put.row, theirs, record, None)
        others = [one for one in self.mesh.replicas if one not in (self._mine, known)]
        for one in (self._mine, *others):
            answer = yield from self._bury(delete, one, now_ms)
            if answer.held:
                yield from self._remove(delete, one, answer, now_ms)
            elif one == self._mine:
                return  # known here, so it came as it should

    def _below(self, there: Replica, rank: Rank) -> Condition:
        below = self.bounds.below(there.name, rank)
        return self.bounds.versioned(below) if self.mesh.bump else below

    def _spared(
        self, change: Put | Delete, there: Replica, answer: Answer, now_ms: int
    ) -> Generator[Ask, Answer, bool]:
        """Raise an item without a version, which may well have replaced what we bring.

        Its own consumer would do so with the same outcome, were it as quick. Returns whether to
        try again, since somebody was quicker indeed, and perhaps raised it less.
        """
        held = answer.item
        if answer.held or not held or not self.mesh.bump:
            return False
        if self.marks.view(held, there.name).versioned:
            return False
        answer = yield Ask(there.name, "GetItem", self.ledger.read(there.ledger, change.row))
        tombstone = self.ledger.entry(answer.item, now_ms // 1_000).tombstone
        buried = tombstone.rank.version if tombstone else 0
        version = fit(max(now_ms, change.rank.version + 1, buried + 1))
        request = {
            "TableName": there.table,
            "Key": change.keys,
            "UpdateExpression": "SET #v = :n",
            "ConditionExpression": "attribute_exists(#k) AND attribute_not_exists(#v)",
            "ExpressionAttributeNames": {
                "#k": min(change.keys),
                "#v": self.marks.version_attribute,
            },
            "ExpressionAttributeValues": {":n": number(version)},
        }
        answer = yield Ask(there.name, "UpdateItem", request)
        return not answer.held

    def _delete_at(self, delete: Delete, there: Replica, now_ms: int) -> Steps:
        # In this order: a crash between the two is healed by the retry.
        answer = yield from self._bury(delete, there, now_ms)
        yield from self._remove(delete, there, answer, now_ms)

    def _bury(self, delete: Delete, there: Replica, now_ms: int) -> Generator[Ask, Answer, Answer]:
        bury = self.ledger.bury(there.ledger, delete.row, delete.tombstone, now_ms // 1_000)
        return (yield Ask(there.name, "UpdateItem", bury))

    def _remove(self, delete: Delete, there: Replica, buried: Answer, now_ms: int) -> Steps:
        before = self.ledger.entry(buried.item, now_ms // 1_000).tombstone
        below = self._below(there, delete.rank)
        request = {"TableName": there.table, "Key": delete.keys, **below.request()}
        request["ReturnValues"] = request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        answer = yield Ask(there.name, "DeleteItem", request)
        if (yield from self._spared(delete, there, answer, now_ms)):
            yield from self._delete_at(delete, there, now_ms)
        if not answer.held or answer.item is None:
            return
        # Its own consumer journals it too, but from what is known there by then: this is exact.
        gone = self.marks.view(answer.item, there.name)
        if self._knew(delete, before, gone, answer.item):
            return
        loss = Loss(delete.record, answer.item, gone.rank, None, delete.rank, Reason.DELETED)
        yield from self._journal(loss, there)

    def _knew(self, delete: Delete, before: Tombstone | None, gone: View, image: Image) -> bool:
        """Tell whether a delete had seen the image that it removed elsewhere."""
        seen, rank = delete.tombstone.seen, gone.rank
        if delete.old_rank == rank:
            return not self.marks.differing(delete.record.old_image or {}, image)
        if gone.mirrored:
            return True  # or not: where it was made, that is known
        if rank.version < COUNTERS_BELOW:
            # What its region had seen of ours was put there before: this was made since, by a
            # counter that started again. (Or a third region's save is late: one too many.)
            return False
        if not gone.versioned or seen.get(rank.origin) != rank.version:
            return False
        return before is None or not restarted(before, rank, delete.rank, seen)
