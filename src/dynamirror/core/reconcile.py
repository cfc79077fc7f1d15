"""Rule 4: an inserted item that a tombstone outranks is removed again, or lifted above it.

A late put may bring a removed item back, since looking for a tombstone and putting are two
requests: the insert's own record heals that. An item that an application made again, with a counter
that started again, is lifted instead. The lifted image flows as the next record.
"""

from __future__ import annotations

from collections.abc import Generator

from dynamirror.core.conflict import Loss, Reason
from dynamirror.core.ledger import Tombstone
from dynamirror.core.mesh import Answer, Ask, Here, Steps
from dynamirror.core.rank import Rank, fit, number
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import View
from dynamirror.core.values import Wire, same

ATTEMPTS_MAX = 8
"""Looks at an item that goes on changing between two requests; its next record looks again."""


LOCAL = "attribute_not_exists(#v) OR attribute_not_exists(#s.#w) OR #s.#w < #v OR #s.#w > #v"
"""An item that applications made here; see ``View.placed``."""


COUNTERS_BELOW = 10**11
"""Lower versions are not milliseconds: the application counts, and may start again at 1."""


class Reconciling(Here):
    """Rule 4."""

    def _reconcile(self, record: StreamRecord, new: View, tombstone: Tombstone) -> Steps:
        """Remove an item that a late put brought back; lift one that was made again."""
        view = new
        # What the delete had seen is not made again: an old insert is replayed before the delete
        # has removed it. (A counter that starts again may well come to the same number.)
        seen = tombstone.seen.get(self.here, 0)
        spared = seen if seen >= COUNTERS_BELOW and tombstone.rank.origin != self.here else None
        for _ in range(ATTEMPTS_MAX):
            if not view.placed and view.rank.version == spared:
                return
            if view.placed:
                answer = yield Ask(self.here, "DeleteItem", self._expel(record, tombstone.rank))
                yield from self._altered(record, new, answer)
            else:
                answer = yield from self._lift(record, tombstone, spared)
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
        self, record: StreamRecord, tombstone: Tombstone, spared: int | None
    ) -> Generator[Ask, Answer, Answer]:
        update = "SET #v = :n"
        values = {":n": number(fit(tombstone.rank.version + 1))}
        condition = self.bounds.not_above(self.here, tombstone.rank)
        local = f"attribute_exists(#k) AND ({LOCAL})"
        if spared is not None:
            local += " AND (attribute_not_exists(#v) OR #v < :spared OR #v > :spared)"
            values[":spared"] = number(spared)
        names = {"k": min(record.keys), "s": self.marks.stamp_attribute, "w": "version"}
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
