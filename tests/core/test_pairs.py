"""One put that a stream tells of as two records is one change again, and nothing else is joined."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.pairs import Pairs, joined
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Image, Wire, key_of, opened

TICKS = 139_885_000_000_000_000
"""Of a version 1 UUID, in 2026."""

SECOND = 10_000_000


def record(ticks: int, key: str, old: str | None, new: str | None, rest: int = 7) -> StreamRecord:
    keys: Wire = {"id": {"S": key}}

    def image(value: str | None) -> Wire | None:
        return None if value is None else {**keys, "v": {"S": value}}

    name = "REMOVE" if new is None else "MODIFY"
    number = (TICKS + ticks) << 64 | rest
    return StreamRecord(number, name, key_of(keys), keys, image(new), image(old), 0.0, by_ttl=False)


def put(ticks: int, key: str, old: str | None, new: str) -> list[StreamRecord]:
    """Return the pair by which Alternator tells of a put."""
    return [record(ticks, key, old, None), record(ticks + 10, key, None, new)]


def told(records: list[StreamRecord]) -> list[tuple[str, Image | None, Image | None]]:
    return [(one.event_name, one.old_image, one.new_image) for one in records]


def test_a_put_is_one_change() -> None:
    """From the image that it replaced to its own, with the later one's number."""
    first, second = put(0, "a", "old", "new")

    (one,) = joined([first, second])

    assert (one.event_name, one.old_image, one.new_image) == (
        "MODIFY",
        first.old_image,
        second.new_image,
    )
    assert one.sequence_number == second.sequence_number


def test_a_put_where_nothing_was_is_an_insert() -> None:
    """Its first record removes nothing."""
    (one,) = joined(put(0, "a", None, "new"))

    assert (one.event_name, one.old_image) == ("INSERT", None)


def test_an_item_deleted_and_made_again_stays_two_changes() -> None:
    """Also when it comes back at once: the delete may be somebody's, and the put another's."""
    records = [record(0, "a", "old", None), record(11, "a", None, "new")]

    assert joined(records) == records


def test_a_delete_is_not_joined_with_another_key() -> None:
    """What comes between two of one key has its own fate."""
    records = [record(0, "a", "x", None), record(5, "b", None, "y"), record(10, "a", None, "z")]

    assert told(joined(records)) == [
        ("MODIFY", None, records[1].new_image),
        ("MODIFY", records[0].old_image, records[2].new_image),
    ]


def test_a_removal_a_microsecond_before_the_end_waits_for_its_second_half() -> None:
    """Another key's record may be told between the two, at the very time of the second."""
    (first, second), pairs = put(0, "a", "old", "new"), Pairs()
    between = record(10, "b", None, "x")

    assert pairs.whole([first, between]) == []
    assert pairs.holds
    assert told(pairs.whole([second])) == [
        ("MODIFY", None, between.new_image),
        ("MODIFY", first.old_image, second.new_image),
    ]


def test_a_put_that_is_told_before_the_removal_by_its_time_is_none_of_its_pair() -> None:
    """The halves of a pair come in the order of their time."""
    records = [record(10, "a", "old", None), record(9, "a", None, "new")]

    assert joined(records) == records


WRITES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["put", "update", "delete"]),
        st.integers(11, 3 * SECOND),
    ),
    max_size=30,
)


@given(WRITES, st.lists(st.integers(0, 60), max_size=8))
def test_however_answers_are_cut_each_write_is_one_change(
    writes: list[tuple[str, str, int]], cuts: list[int]
) -> None:
    """Random histories of three keys, cut into answers anywhere, also within a pair."""
    items: dict[str, str] = {}
    records: list[StreamRecord] = []
    expected = []
    now = 0
    for number, (key, kind, gap) in enumerate(writes):
        now += gap + 10
        old, new = items.get(key), f"{key}{number}"
        if kind == "delete":
            records.append(record(now, key, old, None))
            items.pop(key, None)
        elif kind == "put":
            records += put(now, key, old, new)
            items[key] = new
        else:
            records.append(record(now, key, old, new))
            items[key] = new
        expected.append((key, old, items.get(key)))

    pairs, found = Pairs(), []
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for start, end in pairwise(edges):
        found += pairs.whole(records[start:end])
    found += pairs.whole([])

    assert not pairs.holds
    assert [one.sequence_number for one in found] == sorted(one.sequence_number for one in found)
    values = [
        (
            one.key[1],
            None if one.old_image is None else opened(one.old_image)["v"]["S"],
            None if one.new_image is None else opened(one.new_image)["v"]["S"],
        )
        for one in found
    ]
    assert values == expected
