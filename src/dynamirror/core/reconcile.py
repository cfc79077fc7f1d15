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
from dynamirror.core.rank import EXPIRY, fit, number
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import View
from dynamirror.core.values import Image, Wire, differing, same

ATTEMPTS_MAX = 8
"""Looks at an item that goes on changing between two requests; its next record looks again."""


LOCAL = "attribute_not_exists(#s.#w) OR #s.#w < #v OR #s.#w > #v"
"""An item that applications made here; see ``View.placed``."""


COUNTERS_BELOW = 10**11
"""Lower versions are not milliseconds: the application counts, and may start again at 1."""


class Reconciling(Here):
    """Rule 4."""

    def _reconcile(
        self,
        record: StreamRecord,
        new: View,
        tombstone: Tombstone,
        current: Image | None = None,
    ) -> Steps:
        """Remove an item that a late put brought back; lift one that was made again.

        ``current``: what is here, if it is not the record's new image, and what ``new`` shows.
        """
        view, item = new, current
        for _ in range(ATTEMPTS_MAX):
            late = self._is_late(record, view, item)
            if view.placed and view.rank == tombstone.rank:
                return  # numbered twice: what its own replica does with it comes here, too
            if view.placed or (late and new.placed):
                answer = yield Ask(self.here, "DeleteItem", self._expel(record, tombstone, view))
                yield from self._altered(record, new, answer)
            elif not view.versioned:
                return  # it is raised by its own record
            elif not late and self._is_older(new, view, tombstone):
                return
            else:
                answer = yield from self._lift(record, tombstone, view)
            if answer.item is None:
                return
            item = answer.item
            view = self.marks.view(item, self.here)
            if answer.held or view.rank > tombstone.rank:
                return

    def _is_late(self, record: StreamRecord, view: View, item: Image | None) -> bool:
        """Tell whether an item was given its version by a raise that was meant for an image before
        it, and landed late: neither version nor stamp tell anything of this one.
        """
        made = record.new_image
        if made is None or item is None or view.stamp is None:
            return False
        before = self.marks.view(made, self.here)
        ours = {self.marks.version_attribute, self.marks.stamp_attribute}
        raised = before.stamp in (None, view.stamp) and before.rank != view.rank
        return raised and set(differing(made, item)) <= ours

    def _is_older(self, new: View, view: View, tombstone: Tombstone) -> bool:
        """Tell whether an item was not made again, but is older than the delete, whose removal of
        it is still to come: an old insert is replayed.

        It is what the delete had seen, or was saved on top of that. Of the latter, what a late put
        brought back looks the same: but then that put is the insert. And a counter that starts
        again may well come to the same number.
        """
        rank, mark = tombstone.rank, tombstone.mark
        ours = rank.origin == EXPIRY and mark is not None and mark.version == rank.version
        if ours or rank.origin == self.here:
            return False
        seen = tombstone.seen
        if view.rank.version >= COUNTERS_BELOW and seen.get(self.here) == view.rank.version:
            return True
        stamp = view.stamp
        if stamp is None or stamp == new.stamp or stamp.rank.version < COUNTERS_BELOW:
            return False
        return seen.get(stamp.rank.origin, 0) >= stamp.rank.version

    def _altered(self, record: StreamRecord, new: View, answer: Answer) -> Steps:
        """Journal an unversioned change of what was brought back and is removed again."""
        if not answer.held or answer.item is None or record.new_image is None:
            return
        gone = self.marks.view(answer.item, self.here)
        if gone.rank == new.rank and not same(record.new_image, answer.item):
            loss = Loss(record, answer.item, gone.rank, None, gone.rank, Reason.UNVERSIONED)
            yield from self._journal(loss)

    def _expel(self, record: StreamRecord, tombstone: Tombstone, view: View) -> Wire:
        """Remove an item, if its version is still the one that was looked at."""
        condition = self.bounds.below(self.here, tombstone.rank)
        text = "#v = :was AND #s.#w = #v" if view.placed else "#v = :was"
        names = {"s": self.marks.stamp_attribute, "w": "version"} if view.placed else {}
        condition = condition.also(text, **names)
        was = number(view.rank.version)
        return {
            "TableName": self._mine.table,
            "Key": record.keys,
            **condition.request(),
            "ExpressionAttributeValues": {**condition.values, ":was": was},
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _lift(
        self, record: StreamRecord, tombstone: Tombstone, view: View
    ) -> Generator[Ask, Answer, Answer]:
        """Raise an item of ours above a tombstone, if it is still the one that was looked at."""
        condition = self.bounds.not_above(self.here, tombstone.rank)
        names = {"k": min(record.keys), "s": self.marks.stamp_attribute, "w": "version"}
        local = f"attribute_exists(#k) AND #v = :was AND ({LOCAL})"
        condition = condition.also(local, **names)
        request = {
            "TableName": self._mine.table,
            "Key": record.keys,
            "UpdateExpression": "SET #v = :n",
            **condition.request(),
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        raised, was = number(fit(tombstone.rank.version + 1)), number(view.rank.version)
        request["ExpressionAttributeValues"] = {**condition.values, ":n": raised, ":was": was}
        return (yield Ask(self.here, "UpdateItem", request))
