"""Break the rules one by one, and see that the checkers notice.

``python -m tests.simulation.mutants`` writes the table of docs/correctness.md: each mutant, the
first history that a checker complains about, and what it says. ``killers.json`` keeps those
histories, so that the test suite needs one each. With names of mutants, it looks for theirs only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dynamirror.core import two_way
from dynamirror.core.ledger import Entry, Tombstone
from dynamirror.core.mesh import Answer, Ask, Delete, Judgement, Put, Replica, Skip, Steps, Verdict
from dynamirror.core.rank import Rank
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Stamp, View
from dynamirror.core.values import Image, Wire, opened
from dynamirror.simulation import histories
from dynamirror.simulation.replicas import LEDGER, TABLE

TwoWay = two_way.TwoWay
HISTORIES_MAX = 12_000
PROFILES = (
    *("hybrid-many", "hybrid-one", "unaware-quiet", "mixed-quiet", "add-quiet"),
    *("mixed-many", "unaware-many", "add-many"),
)

HEAD = ("| what is broken | histories until noticed | noticed as |", "| --- | --- | --- |")

Change = Callable[[Ask], Ask | None]


def intercepted(steps: Generator[Ask, Answer, Any], change: Change) -> Generator[Ask, Answer, Any]:
    """Carry out steps with some requests changed, or, where the change is None, left out."""
    answer: Answer | None = None
    try:
        while True:
            ask = next(steps) if answer is None else steps.send(answer)
            changed = change(ask)
            answer = Answer(held=True) if changed is None else (yield changed)
    except StopIteration as end:
        return end.value


def without(operation: str, table: str) -> Change:
    return lambda ask: (
        None if (ask.operation, ask.request["TableName"]) == (operation, table) else ask
    )


def unconditional(operation: str) -> Change:
    members = ("ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues")

    def change(ask: Ask) -> Ask:
        if ask.operation != operation or ask.request["TableName"] != TABLE:
            return ask
        request = {name: ask.request[name] for name in ask.request if name not in members}
        return Ask(ask.replica, ask.operation, request)

    return change


class NoTombstoneHere(TwoWay):
    """no tombstone at the replica of the delete"""

    def local(self, record: StreamRecord, now_ms: int) -> Judgement:
        def change(ask: Ask) -> Ask | None:
            buries = ask.operation == "UpdateItem" and ask.request["TableName"] == LEDGER
            return None if buries and "#n" in ask.request["ExpressionAttributeNames"] else ask

        return intercepted(super().local(record, now_ms), change)


class NoTombstoneThere(TwoWay):
    """no tombstone at the other replicas"""

    def remote(self, verdict: Put | Delete, there: str, now_ms: int) -> Steps:
        return intercepted(super().remote(verdict, there, now_ms), without("UpdateItem", LEDGER))


class DeleteFirst(TwoWay):
    """elsewhere, the item is removed before the tombstone is there"""

    def _delete_at(self, delete: Delete, there: Replica, now_ms: int) -> Steps:
        steps = super()._delete_at(delete, there, now_ms)
        bury = next(steps)
        remove = steps.send(Answer(held=True))
        gone = yield remove
        yield bury
        try:
            ask = steps.send(gone)
            while True:
                ask = steps.send((yield ask))
        except StopIteration:
            return


class DeleteAnything(TwoWay):
    """deletes without a condition"""

    def remote(self, verdict: Put | Delete, there: str, now_ms: int) -> Steps:
        return intercepted(super().remote(verdict, there, now_ms), unconditional("DeleteItem"))


class PutAnything(TwoWay):
    """puts without a condition"""

    def remote(self, verdict: Put | Delete, there: str, now_ms: int) -> Steps:
        return intercepted(super().remote(verdict, there, now_ms), unconditional("PutItem"))


class PutEqual(TwoWay):
    """a put's ``<`` made ``<=``"""

    def _put_at(self, put: Put, there: Replica, now_ms: int) -> Steps:
        below = self.bounds.below
        self.bounds.below = self.bounds.not_above  # type: ignore[method-assign]
        try:
            yield from super()._put_at(put, there, now_ms)
        finally:
            self.bounds.below = below  # type: ignore[method-assign]


class NoTies(TwoWay):
    """of equal versions, whichever is there first stays"""

    def _put_at(self, put: Put, there: Replica, now_ms: int) -> Steps:
        rank = Rank(put.rank.version, -99, put.rank.origin)
        return super()._put_at(msgspec.structs.replace(put, rank=rank), there, now_ms)


class NoReconcile(TwoWay):
    """no reconcile (rule 4)"""

    def _reconcile(
        self,
        record: StreamRecord,
        new: View,
        tombstone: Tombstone,
        current: Image | None = None,
    ) -> Steps:
        del record, new, tombstone, current
        yield from ()


class NoLift(TwoWay):
    """an item made again is removed instead of lifted"""

    def _reconcile(
        self,
        record: StreamRecord,
        new: View,
        tombstone: Tombstone,
        current: Image | None = None,
    ) -> Steps:
        placed = msgspec.structs.replace(new, stamp=Stamp(new.rank))
        return super()._reconcile(record, placed, tombstone, current)

    def _expel(self, record: StreamRecord, tombstone: Tombstone, view: View) -> Wire:
        del view
        condition = self.bounds.not_above(self.here, tombstone.rank)
        return {"TableName": TABLE, "Key": record.keys, **condition.request()}


class LiftAnything(TwoWay):
    """what a late put brought back is lifted instead of removed"""

    def _reconcile(
        self,
        record: StreamRecord,
        new: View,
        tombstone: Tombstone,
        current: Image | None = None,
    ) -> Steps:
        del new, current
        values = {":n": {"N": str(tombstone.rank.version + 1)}}
        yield from self._raise(record, "SET #v = :n", values, tombstone.rank)


class NoEcho(TwoWay):
    """the stamp is not looked at: what the mirror wrote is forwarded again"""

    def _changed(self, record: StreamRecord, old: View, new: View, now_ms: int) -> Judgement:
        rank = Rank(new.rank.version + 1, new.rank.strength, self.here)
        local = msgspec.structs.replace(new, mirrored=False, rank=rank)
        return super()._changed(record, old, local, now_ms)


class EveryRemovalIsOurs(TwoWay):
    """the mirror's own removals count as deletes (rule 3)"""

    def outranks(self, tombstone: Tombstone, high: Rank, rank: Rank, record: StreamRecord) -> bool:
        del tombstone, high, rank, record
        return False


class RemovalByVersion(TwoWay):
    """rule 3 by "the tombstone's version is at least the old one's + 1\""""

    def outranks(self, tombstone: Tombstone, high: Rank, rank: Rank, record: StreamRecord) -> bool:
        del record
        return tombstone.rank.version >= high.version + 1 and tombstone.rank != rank


class NoResume(TwoWay):
    """a delete whose tombstone is there already is taken for done"""

    def outranks(self, tombstone: Tombstone, high: Rank, rank: Rank, record: StreamRecord) -> bool:
        del rank, record
        return tombstone.rank > high


class NoFloor(TwoWay):
    """rule 0 without the floor: only the record's own image is raised"""

    def _raise_floor(
        self, record: StreamRecord, floor: Rank, now_ms: int
    ) -> Generator[Ask, Answer, Entry]:
        entry = yield from self._read(record, now_ms)
        image = record.new_image or {}
        own = self.marks.view(image, self.here).rank
        return msgspec.structs.replace(entry, floor=min(own, floor))


class NoRaise(TwoWay):
    """rule 0 left out: an unversioned write is left as it is"""

    def _unversioned(
        self, record: StreamRecord, old: View | None, new: View, now_ms: int
    ) -> Judgement:
        del record, old, new, now_ms
        yield from ()
        return Skip.UNVERSIONED


class RaiseBelowTombstone(TwoWay):
    """an unversioned insert is not raised above the tombstone"""

    def _raise_floor(
        self, record: StreamRecord, floor: Rank, now_ms: int
    ) -> Generator[Ask, Answer, Entry]:
        entry = yield from super()._raise_floor(record, floor, now_ms)
        return msgspec.structs.replace(entry, tombstone=None)

    def _reconcile(
        self,
        record: StreamRecord,
        new: View,
        tombstone: Tombstone,
        current: Image | None = None,
    ) -> Steps:
        if new.versioned:
            yield from super()._reconcile(record, new, tombstone, current)


class DeleteKeepsVersion(TwoWay):
    """a delete has the version of the image, not one more"""

    def delete_rank(self, record: StreamRecord, high: Rank) -> Rank:
        rank = super().delete_rank(record, high)
        return self.peers.rank(rank.version - 1, rank.origin)


class ExpiryIsDelete(TwoWay):
    """what TTL deletes counts as deleted by an application: one version more"""

    def delete_rank(self, record: StreamRecord, high: Rank) -> Rank:
        return super().delete_rank(msgspec.structs.replace(record, by_ttl=False), high)


class SquashAnything(TwoWay):
    """only the last record of a key in a batch is applied"""

    def squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        del first
        return second


class PutOverUnversioned(TwoWay):
    """puts go over items without a version"""

    def _put_at(self, put: Put, there: Replica, now_ms: int) -> Steps:
        versioned = self.bounds.versioned
        self.bounds.versioned = lambda condition: condition  # type: ignore[method-assign]
        try:
            yield from super()._put_at(put, there, now_ms)
        finally:
            self.bounds.versioned = versioned  # type: ignore[method-assign]


class NoStamp(TwoWay):
    """puts without a stamp"""

    def _put(self, record: StreamRecord, seen: dict[str, int], new: View) -> Put:
        put = super()._put(record, seen, new)
        image = dict(opened(put.image))
        del image[self.mesh.stamp_attribute]
        return msgspec.structs.replace(put, image=image)


class NoSeen(TwoWay):
    """``seen`` is not carried: every image that is replaced looks like a conflict"""

    def _put(self, record: StreamRecord, seen: dict[str, int], new: View) -> Put:
        put = super()._put(record, seen, new)
        image = self.marks.stamped(put.image, Stamp(put.rank, {put.rank.origin: put.rank.version}))
        return msgspec.structs.replace(put, image=image)


class NoJournalOfPuts(TwoWay):
    """saves that are overwritten are not journaled"""

    def _overwritten(self, record: StreamRecord, old: View, new: View, now_ms: int) -> Steps:
        del record, old, new, now_ms
        yield from ()


class NoJournalOfDeletes(TwoWay):
    """saves that are deleted are not journaled"""

    def _unseen(self, *_: object, outranked: bool) -> bool:
        del outranked
        return False

    def _knew(self, *_: object) -> bool:
        return True


class DeleteNothing(TwoWay):
    """deletes are not carried to the others"""

    def remote(self, verdict: Put | Delete, there: str, now_ms: int) -> Steps:
        if isinstance(verdict, Put):
            yield from super().remote(verdict, there, now_ms)


class OtherOrder(TwoWay):
    """each replica holds itself the strongest"""

    def local(self, record: StreamRecord, now_ms: int) -> Generator[Ask, Answer, Verdict]:
        verdict = yield from super().local(record, now_ms)
        if isinstance(verdict, Put):
            rank = Rank(verdict.rank.version, 0, verdict.rank.origin)
            return msgspec.structs.replace(verdict, rank=rank)
        return verdict

    def _put_at(self, put: Put, there: Replica, now_ms: int) -> Steps:
        def change(ask: Ask) -> Ask:
            text = ask.request.get("ConditionExpression", "").replace("#v < :v", "#v <= :v")
            return Ask(ask.replica, ask.operation, {**ask.request, "ConditionExpression": text})

        steps = super()._put_at(put, there, now_ms)
        return intercepted(steps, lambda ask: change(ask) if ask.operation == "PutItem" else ask)


class ForgottenSoon(TwoWay):
    """tombstones expire while records of before are still to come"""

    def _until(self, record: StreamRecord) -> int:
        return int(record.created_at) + 86_400


class JoinAnything(TwoWay):
    """of what waits for a replica only the last is carried there"""

    def joined(self, first: Put | Delete, second: Put | Delete) -> Put | None:
        del first
        return second if isinstance(second, Put) else None


class RedriveItems(TwoWay):
    """a replica that was away gets items, and no tombstones"""

    def redriven(self, record: StreamRecord, now_ms: int) -> Judgement:
        verdict = yield from super().redriven(record, now_ms)
        return Skip.UNCHANGED if isinstance(verdict, Delete) else verdict


MUTANTS: dict[str, type[TwoWay]] = {
    kind.__name__: kind for kind in TwoWay.__subclasses__() if kind.__module__ == __name__
}

RARE: dict[str, tuple[str, ...]] = {
    "ExpiryIsDelete": ("expiring-many",),
    "JoinAnything": ("hybrid-one", "hybrid-many", "add-quiet", "away-one"),
    "RedriveItems": ("away-one", "away-many"),
    "ForgottenSoon": ("ageing-many",),
    "RemovalByVersion": ("hybrid-many",),
    "PutOverUnversioned": ("unaware-replayed",),
}
"""Where to look for what few histories show."""

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "correctness.md"
FOUND = HERE / "killers.json"

KILLERS: dict[str, tuple[str, int]] = {
    name: (profile, seed) for name, (profile, seed) in json.loads(FOUND.read_text()).items()
}
"""A history that kills each mutant, as this script found it."""


def killer(name: str, mutant: type[TwoWay]) -> tuple[str, int, int, str] | None:
    """Return profile, seed, how many histories it took, and the complaint."""
    tried = 0
    profiles = RARE.get(name, PROFILES)
    for seed in range(HISTORIES_MAX // len(profiles)):
        for profile in profiles:
            tried += 1
            failure = histories.run(seed, profile=profile, rules=mutant)
            if failure is not None and histories.run(seed, profile=profile) is None:
                return profile, seed, tried, failure.complaints[0]
    return None


def main(only: Sequence[str] = ()) -> int:
    """Look for all killers, or for those of some mutants; return how many mutants live.

    What is found of all is written to the document and to the file of killers.
    """
    table, killers, living = [*HEAD], {}, 0
    for name, mutant in MUTANTS.items():
        if only and name not in only:
            continue
        started_s = time.perf_counter()
        found = killer(name, mutant)
        if found is None:
            living += 1
            table.append(f"| {mutant.__doc__} | **not within {HISTORIES_MAX}** | |")
        else:
            profile, seed, tried, complaint = found
            killers[name] = (profile, seed)
            table.append(f"| {mutant.__doc__} | {tried} | {complaint.partition(':')[0]} |")
        sys.stdout.write(f"{table[-1]} {time.perf_counter() - started_s:.0f} s\n")
        sys.stdout.flush()
    if not only:
        text = DOCUMENT.read_text()
        before, _, rest = text.partition(HEAD[0])
        after = rest[rest.index("\n\n") :]
        DOCUMENT.write_text(before + "\n".join(table) + after)
    known = {**KILLERS, **killers}
    lines = (f'  "{name}": {json.dumps(known[name])}' for name in MUTANTS if name in known)
    FOUND.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return living


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
