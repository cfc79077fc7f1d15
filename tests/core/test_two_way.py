"""What the two-way rules do where simulated histories seldom or never lead."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import repeat
from typing import Any

import pytest

from dynamirror.core.carry import restarted
from dynamirror.core.conflict import PART_BYTES, Loss, Reason, journal_rows
from dynamirror.core.ledger import Mark, Tombstone
from dynamirror.core.mesh import (
    REMEMBERED_MAX,
    Answer,
    Ask,
    Delete,
    Mesh,
    Put,
    Replica,
    Skip,
    remember,
)
from dynamirror.core.rank import fit
from dynamirror.core.reconcile import ATTEMPTS_MAX
from dynamirror.core.record import StreamRecord
from dynamirror.core.rows import FORMAT
from dynamirror.core.stamp import Stamp
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire
from dynamirror.errors import NewerFormatError, UnfitError

MESH = Mesh("m", tuple(Replica(name, "T", "L", "J") for name in "ABC"))
KEYS: Wire = {"id": {"S": "k"}}
NOW_MS = 1_700_000_000_000
HELD = Answer(held=True)


@pytest.fixture
def rules() -> TwoWay:
    """The rules of the consumer of B, the second strongest of three."""
    return TwoWay(MESH, "B")


def image(version: int | None, value: str = "x", stamp: Stamp | None = None) -> Wire:
    item = {**KEYS, "value": {"S": value}}
    if version is not None:
        item["version"] = {"N": str(version)}
    if stamp is not None:
        item["_mirror"] = TwoWay(MESH, "B").marks.wire(stamp)
    return item


def stamp(version: int, origin: str, **seen: int) -> Stamp:
    return Stamp(TwoWay(MESH, "B").peers.rank(version, origin), seen)


def record(
    old: Wire | None, new: Wire | None, number: int = 10, name: str = "MODIFY", key: str = "k"
) -> StreamRecord:
    return StreamRecord(
        number, name, ("S", key), {"id": {"S": key}}, new, old, NOW_MS / 1_000, by_ttl=False
    )


def carried_out(
    steps: Generator[Ask, Answer, Any], answers: Iterable[Answer] = repeat(HELD)
) -> tuple[Any, list[Ask]]:
    """Carry steps out with these answers; return what they return, and what they asked."""
    asked = []
    left = iter(answers)
    try:
        ask = next(steps)
        while True:
            asked.append(ask)
            ask = steps.send(next(left, HELD))
    except StopIteration as end:
        return end.value, asked


def buried(rules: TwoWay, version: int, origin: str, mark: Mark | None = None) -> Wire:
    """Return a ledger's row with a tombstone."""
    grave = Tombstone(rules.peers.rank(version, origin), {}, NOW_MS // 1_000 + 100, mark)
    values = rules.ledger.bury("L", "k", grave, 0)["ExpressionAttributeValues"]
    row = {"version": values[":v"], "origin": values[":o"], "seen": values[":n"]}
    return row | {"until": values[":u"]} | ({"mark": values[":m"]} if mark else {})


def test_a_record_that_changes_nothing_is_not_forwarded(rules: TwoWay) -> None:
    """Some servers write records for writes that change nothing, or show neither image."""
    same = image(5)

    assert carried_out(rules.local(record(same, dict(same)), NOW_MS)) == (Skip.UNCHANGED, [])
    assert carried_out(rules.local(record(None, None), NOW_MS)) == (Skip.UNCHANGED, [])


def test_nothing_is_carried_of_a_key_that_has_nothing(rules: TwoWay) -> None:
    """A copy or a redrive of a key without item and tombstone writes nothing anywhere."""
    for judge in (rules.resync, rules.redriven):
        verdict, asked = carried_out(judge(record(None, None), NOW_MS))
        assert verdict is Skip.UNCHANGED
        assert [ask.operation for ask in asked] == ["GetItem"]


def test_a_delete_of_which_no_tombstone_tells_is_unfit(rules: TwoWay) -> None:
    """It can't be told any more what the delete outranks: a person must look."""
    with pytest.raises(UnfitError, match="verify"):
        carried_out(rules.redriven(record(None, None, name="REMOVE"), NOW_MS))


def test_what_is_copied_without_a_version_is_raised(rules: TwoWay) -> None:
    """An item that has no version yet is made a proper write first; that flows as its own."""
    raised = ["UpdateItem", "UpdateItem"]
    for judge, asks in ((rules.resync, raised), (rules.redriven, ["GetItem", *raised])):
        verdict, asked = carried_out(judge(record(None, image(None)), NOW_MS))
        assert verdict is Skip.RAISED
        assert [ask.operation for ask in asked] == asks


def test_a_tombstone_that_outranks_the_item_is_redriven_in_its_place(rules: TwoWay) -> None:
    """The item is about to be removed again: others get the delete."""
    row = buried(rules, 9, "A", Mark(3, 9))
    verdict, _ = carried_out(
        rules.redriven(record(None, image(5)), NOW_MS), [Answer(held=True, item=row)]
    )

    assert isinstance(verdict, Delete)
    assert (verdict.rank.version, verdict.tombstone.mark) == (9, None)


def redriven(rules: TwoWay, old: Wire, new: Wire | None, name: str, row: Wire | None = None) -> Any:
    answers = repeat(Answer(held=True, item=row))
    verdict, _ = carried_out(rules.redriven(record(old, new, name=name), NOW_MS), answers)
    return verdict


def test_changes_that_nobody_judged_are_judged_as_one(rules: TwoWay) -> None:
    """Of parked changes the highest version counts as what was there before: what is here now is a
    delete of it, an unversioned write, or what outranks it anyway.
    """
    deleted = redriven(rules, image(9), None, "REMOVE")
    assert isinstance(deleted, Delete)
    assert deleted.rank.version == 10

    outranked = redriven(rules, image(9), None, "REMOVE", buried(rules, 20, "A"))
    assert isinstance(outranked, Delete)
    assert outranked.rank.version == 20

    saved = redriven(rules, image(9), image(12, "new"), "MODIFY")
    assert (type(saved), saved.rank.version) == (Put, 12)
    as_before = redriven(rules, image(9), image(9), "MODIFY")
    assert (type(as_before), as_before.rank.version) == (Put, 9)
    assert redriven(rules, image(9), image(3, "lowered"), "MODIFY") is Skip.RAISED


def test_what_the_stream_is_still_to_tell_of_is_not_guessed_at(rules: TwoWay) -> None:
    """An item that is gone, though no parked change removed it: its delete is on its way."""
    with pytest.raises(UnfitError, match="still to tell"):
        redriven(rules, image(9), None, "MODIFY")


def test_versions_end_where_numbers_do(rules: TwoWay) -> None:
    """Above 38 digits nothing can be ordered: it is parked, and nothing is rounded."""
    assert fit(10**37 - 1) == 10**37 - 1
    with pytest.raises(UnfitError, match="no version is left"):
        fit(10**37)
    highest = image(10**37 - 1, "old")
    with pytest.raises(UnfitError):
        carried_out(rules.local(record(highest, image(10**37 - 1, "new")), NOW_MS))


def test_a_newer_ledger_is_not_guessed_at(rules: TwoWay) -> None:
    with pytest.raises(NewerFormatError):
        rules.ledger.entry({"format": {"N": str(FORMAT + 1)}}, 0)


def test_a_stamp_without_a_version_is_not_ours(rules: TwoWay) -> None:
    """Whoever else uses the attribute is told so, and nothing of his is lost."""
    strange = image(1) | {"_mirror": {"M": {"version": None, "origin": {"S": "A"}}}}
    with pytest.raises(UnfitError, match="not ours"):
        rules.marks.view(strange, "B")


def test_large_losers_are_kept_in_parts(rules: TwoWay) -> None:
    """Two images may have 800 KB, a row 400 KB: the first part is written last, and tells."""
    loser = image(5, "l" * PART_BYTES)
    rank = rules.peers.rank(5, "B")
    loss = Loss(record(None, loser), loser, rank, image(6), rank, Reason.OVERWRITTEN)
    rows = list(journal_rows("m", 90, loss))

    assert ["reason" in row for row in rows] == [False, True]
    assert rows[-1]["parts"] == {"N": "2"}
    text = "".join(row["images"]["S"] for row in reversed(rows))
    assert loser["value"]["S"] in text


def test_what_is_remembered_has_a_bound() -> None:
    """A hot table can't fill memory; what was noted first is forgotten first."""
    memory: dict[str, int] = {}
    for number in range(REMEMBERED_MAX + 5):
        remember(memory, str(number), number)

    assert len(memory) == REMEMBERED_MAX
    assert "4" not in memory


def test_what_is_hidden_of_one_key_says_nothing_of_another(rules: TwoWay) -> None:
    """A change of another key is judged by itself, and costs no request."""
    other = image(7, "another's")
    carried_out(
        rules.local(record(image(5), image(5, "kept")), NOW_MS),
        [HELD, Answer(held=False, item=other)],
    )

    _, asked = carried_out(rules.local(record(image(1), image(2), key="k2"), NOW_MS))
    assert asked == []


def test_an_item_that_goes_on_changing_is_left_to_its_next_record(rules: TwoWay) -> None:
    """Between two looks it may always have changed; its own records end that."""
    back = image(5, stamp=stamp(5, "A"))
    row = Answer(held=True, item=buried(rules, 9, "A"))
    answers = [row, *[Answer(held=False, item=back)] * ATTEMPTS_MAX]
    verdict, asked = carried_out(rules.local(record(None, back), NOW_MS), answers)

    assert verdict is Skip.OUTRANKED
    assert [ask.operation for ask in asked] == ["GetItem", *["DeleteItem"] * ATTEMPTS_MAX]


def test_an_unversioned_write_that_another_delete_removed_is_journaled(rules: TwoWay) -> None:
    """The floor, which outlives the process, tells that the image was never forwarded."""
    floor = rules.ledger.raise_floor(
        "L", "k", rules.peers.rank(5, "B"), by=8, until=NOW_MS // 1_000 + 100, now_s=0
    )["ExpressionAttributeValues"]
    row = buried(rules, 9, "A") | {"floor": floor[":f"], "floor_until": floor[":u"]}
    verdict, asked = carried_out(
        rules.local(record(image(4, "kept"), None), NOW_MS), [Answer(held=True, item=row), HELD]
    )

    assert verdict is Skip.OUTRANKED
    assert [ask.request["TableName"] for ask in asked] == ["L", "J"]


def test_a_counter_that_started_again_after_a_delete_here_was_not_seen(rules: TwoWay) -> None:
    """The mark of our own delete tells: what was made after it, with a version up to its, is new,
    whatever version the save that went over it had seen before.
    """
    rank = rules.peers.rank
    grave = Tombstone(rank(6, "B"), {"A": 7, "B": 6}, 0, Mark(9, 6))

    made_again = record(image(2), image(8, stamp=stamp(8, "A", B=2)), number=10)
    assert restarted(grave, rank(2, "B"), rank(8, "A"), {"B": 6}, made_again)
    before = record(image(2), image(8, stamp=stamp(8, "A", B=2)), number=8)
    assert not restarted(grave, rank(2, "B"), rank(7, "A"), {"B": 6}, before)


def test_a_put_that_lands_twice_is_told_from_an_application_that_counts() -> None:
    """Over a lowered version, the mirror's own image comes back as a whole: what it went over is
    journaled. Another process, which did not see it placed, goes by the step that a counter takes.
    """
    placed = image(40, "placed", stamp(40, "A"))
    lowered = image(38, "lowered", stamp(40, "A"))
    counted = image(39, "lowered", stamp(40, "A"))

    def journaled(rules: TwoWay, old: Wire, new: Wire) -> bool:
        _, asked = carried_out(rules.local(record(old, new), NOW_MS))
        return any(ask.request["TableName"] == "J" for ask in asked)

    there = TwoWay(MESH, "B")
    carried_out(there.local(record(placed, lowered), NOW_MS))
    assert journaled(there, counted, placed)
    assert not journaled(there, counted, {**placed, "value": {"S": "counted"}})

    another = TwoWay(MESH, "B")
    assert journaled(another, lowered, placed)
    assert not journaled(another, counted, placed)


def test_a_mesh_names_its_tables(rules: TwoWay) -> None:
    assert {rules.table_of(name) for name in "ABC"} == {"T"}


def test_a_tombstone_that_refused_a_put_is_brought_to_whoever_lacks_it(rules: TwoWay) -> None:
    """A delete that only one replica was told of before its consumer died reaches all by this."""
    put = rules.local(record(image(5), image(7)), NOW_MS)
    verdict, _ = carried_out(put)
    assert isinstance(verdict, Put)
    refused = Answer(held=False)
    grave = Answer(held=True, item=buried(rules, 9, "C"))

    known_here = carried_out(rules.remote(verdict, "A", NOW_MS), [refused, grave, refused])[1]
    assert [(ask.replica, ask.operation) for ask in known_here] == [
        ("A", "PutItem"),
        ("A", "GetItem"),
        ("B", "UpdateItem"),
    ]

    unknown = carried_out(rules.remote(verdict, "A", NOW_MS), [refused, grave, HELD, HELD])[1]
    assert [(ask.replica, ask.operation) for ask in unknown[2:]] == [
        ("B", "UpdateItem"),
        ("B", "DeleteItem"),
        ("C", "UpdateItem"),
        ("C", "DeleteItem"),
    ]
    assert all(ask.request["TableName"] == "L" for ask in unknown[2::2])

    gone = Answer(held=True, item=image(3, "made again"))
    lost = carried_out(rules.remote(verdict, "A", NOW_MS), [refused, grave, HELD, HELD, HELD, gone])
    assert (lost[1][-1].replica, lost[1][-1].request["TableName"]) == ("C", "J")


def test_a_tombstone_goes_on_past_a_replica_that_knows_it(rules: TwoWay) -> None:
    """Whether one replica knows of a delete says nothing about the next."""
    mesh = Mesh("m", tuple(Replica(name, "T", "L", "J") for name in "ABCD"))
    rules = TwoWay(mesh, "B")
    verdict, _ = carried_out(rules.local(record(image(5), image(7)), NOW_MS))
    refused = Answer(held=False)
    grave = Answer(held=True, item=buried(rules, 9, "C"))

    answers = [refused, grave, HELD, HELD, refused]
    asked = carried_out(rules.remote(verdict, "A", NOW_MS), answers)[1]

    assert [(ask.replica, ask.operation) for ask in asked[4:]] == [
        ("C", "UpdateItem"),
        ("D", "UpdateItem"),
        ("D", "DeleteItem"),
    ]


def test_what_a_late_raise_landed_on_is_lifted(rules: TwoWay) -> None:
    """A raise meant for an earlier image gave an item made again a version that a delete had seen:
    left as it is, it would be refused everywhere else for ever.
    """
    clock = NOW_MS
    grave = buried(rules, clock + 9, "A") | {"seen": {"M": {"B": {"N": str(clock + 5)}}}}
    row = Answer(held=False, item=grave)
    made, older = image(None, "again"), stamp(clock, "B")
    raised = image(clock + 5, "again", older)
    refused = Answer(held=False, item=raised)

    for before in (None, image(1, "first")):
        verdict, asked = carried_out(
            rules.local(record(before, made), NOW_MS), [row, refused, Answer(held=True)]
        )
        assert verdict is Skip.RAISED
        lift = asked[-1]
        assert (lift.operation, len(asked)) == ("UpdateItem", 3)
        assert lift.request["ExpressionAttributeValues"][":n"] == {"N": str(clock + 10)}

    other = Answer(held=False, item=image(clock + 5, "another's", older))
    assert len(carried_out(rules.local(record(None, made), NOW_MS), [row, other])[1]) == 2


def test_what_is_numbered_as_a_delete_is_left_to_its_own_replica(rules: TwoWay) -> None:
    """A removal that no tombstone outranks would look like an application's own delete."""
    placed = image(9, "x", stamp(9, "A"))
    row = Answer(held=True, item=buried(rules, 9, "A"))

    verdict, asked = carried_out(rules.local(record(None, placed), NOW_MS), [row])

    assert verdict is Skip.OUTRANKED
    assert [ask.operation for ask in asked] == ["GetItem"]


def test_a_save_with_the_number_of_a_delete_before_it_is_journaled(rules: TwoWay) -> None:
    """A delete gave itself the next version; so did a save on top of what a late put had brought
    back. Whoever knew of that number knew of the delete.
    """
    number = NOW_MS + 1
    seen = {"seen": {"M": {"B": {"N": str(number)}}}}
    theirs = Answer(held=True, item=buried(rules, number + 99, "A") | seen)
    older = stamp(NOW_MS, "A")
    inserted = record(None, image(NOW_MS, "x", older))
    removed = record(image(number, "lost", older), None, name="REMOVE")
    mine = buried(rules, number, "B")
    for before, journaled in ((mine | seen, ["J"]), (mine, [])):
        carried_out(rules.local(inserted, NOW_MS), [Answer(held=True, item=before), HELD])

        verdict, asked = carried_out(rules.local(removed, NOW_MS), [theirs])

        assert verdict is Skip.OUTRANKED
        assert [ask.request["TableName"] for ask in asked[1:]] == journaled


def test_what_is_raised_for_another_replica_is_raised_above_its_tombstone(rules: TwoWay) -> None:
    """An item without a version that was put there after a delete would else stay below that."""
    verdict, _ = carried_out(rules.local(record(image(5), image(7)), NOW_MS))
    refused = Answer(held=False, item=image(None))
    grave = Answer(held=True, item=buried(rules, NOW_MS + 9, "A"))

    asked = carried_out(rules.remote(verdict, "A", NOW_MS), [refused, grave])[1]

    assert [ask.operation for ask in asked] == ["PutItem", "GetItem", "UpdateItem"]
    raised = asked[-1].request["ExpressionAttributeValues"][":n"]
    assert raised == {"N": str(NOW_MS + 10)}
