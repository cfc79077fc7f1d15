"""The laws of ranks: every replica orders an item's writes alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.condition import parse_condition
from dynamirror.core.rank import EXPIRY, Peers, Rank, version_of
from dynamirror.core.stamp import Bounds, Marks, Stamp
from dynamirror.errors import UnfitError
from dynamirror.memory.items import checked

NAMES = ("A", "B", "C", "D")
PEERS = Peers(NAMES)
MARKS = Marks(PEERS, "version", "_mirror")

versions = st.integers(0, 5)
ranks = st.builds(PEERS.rank, versions, st.sampled_from([*NAMES, EXPIRY, "gone"]))


@given(ranks, ranks, ranks)
def test_ranks_are_totally_ordered(one: Rank, two: Rank, three: Rank) -> None:
    """Of two ranks one is higher, or they are one write's; and what is above is above for all."""
    assert (one < two) + (two < one) + (one == two) == 1
    assert not (one < two < three) or one < three


@given(ranks, ranks)
def test_the_version_decides_before_the_origin(one: Rank, two: Rank) -> None:
    """A replica's strength matters in a tie only."""
    assert one.version == two.version or (one < two) == (one.version < two.version)


@given(versions)
def test_expiry_removes_the_image_that_expired_and_no_later_save(version: int) -> None:
    """A delete by TTL is above every save of its version, and below every next one."""
    expiry = PEERS.rank(version, EXPIRY)

    for name in NAMES:
        assert PEERS.rank(version, name) < expiry < PEERS.rank(version + 1, name)


@given(st.lists(st.sampled_from("ABCD"), unique=True, min_size=1), versions, versions)
def test_appending_a_replica_changes_no_order(names: list[str], one: int, two: int) -> None:
    """Replicas may be appended while a mirror runs."""
    before, after = Peers(names), Peers([*names, "Z"])
    for left in names:
        for right in names:
            assert (before.rank(one, left) < before.rank(two, right)) == (
                after.rank(one, left) < after.rank(two, right)
            )


@given(st.sampled_from(NAMES), versions, st.sampled_from(["", *NAMES]), versions, ranks)
def test_conditions_say_what_ranks_say(
    at: str, version: int, origin: str, stamped: int, rank: Rank
) -> None:
    """What a server decides by a condition is what we decide by ranks."""
    item = {"id": {"S": "k"}, "version": {"N": str(version)}}
    if origin:
        item |= {"_mirror": MARKS.wire(Stamp(PEERS.rank(stamped, origin)))}
    item, _ = checked(item)
    held = MARKS.view(item, at).rank
    bounds = Bounds(MARKS)

    for condition, expected in (
        (bounds.below(at, rank), held < rank),
        (bounds.not_above(at, rank), held <= rank),
    ):
        parsed = parse_condition(condition.text)
        parsed.check(condition.names, condition.values)
        assert parsed.holds(item, condition.names, condition.values) == expected


@pytest.mark.parametrize("text", ["-1", "1.5", "1E37", "NaN", ""])
def test_what_is_no_version_is_unfit(text: str) -> None:
    """Whole numbers from 0 to below 10^37, however spelled; all else is refused."""
    with pytest.raises(UnfitError):
        version_of({"N": text})


def test_versions_compare_by_value() -> None:
    """10, 10.0 and 1E1 are one version."""
    assert {version_of({"N": text}) for text in ("10", "10.0", "1E1", "1e+1")} == {10}
    with pytest.raises(UnfitError):
        version_of({"S": "10"})
