"""Stamps: read and written without a look at the rest of an image."""

from __future__ import annotations

import msgspec
import pytest

from dynamirror.core.rank import Peers
from dynamirror.core.stamp import Marks, Stamp
from dynamirror.core.values import encode, opened
from dynamirror.errors import UnfitError

PEERS = Peers(("A", "B"))
MARKS = Marks(PEERS, "rev", "_m")
STAMP = Stamp(PEERS.rank(7, "B"), {"A": 3, "B": 7})
ITEM = {"id": {"S": 'a"_m"'}, "rev": {"N": "7"}, "tags": {"SS": ["x"]}}


@pytest.mark.parametrize("raw", [False, True])
def test_a_stamp_is_read_as_it_was_written(*, raw: bool) -> None:
    """Whether an image comes parsed or as bytes makes no difference."""
    image = msgspec.Raw(encode(ITEM)) if raw else ITEM
    stamped = MARKS.stamped(MARKS.stamped(image, Stamp(PEERS.rank(1, "A"))), STAMP)
    sent = opened(msgspec.Raw(encode(stamped)))

    assert sent == {**ITEM, "_m": MARKS.wire(STAMP)}
    view = MARKS.view(msgspec.Raw(encode(stamped)), "A")
    assert (view.rank, view.mirrored, view.stamp) == (STAMP.rank, True, STAMP)


def test_a_saved_item_is_local_again() -> None:
    """Once its version passes the stamp's, an item is of the replica that holds it."""
    item = {**ITEM, "rev": {"N": "8"}, "_m": MARKS.wire(STAMP)}
    view = MARKS.view(item, "A")

    assert (view.rank, view.mirrored) == (PEERS.rank(8, "A"), False)
    assert view.known() == {"A": 8, "B": 7}


def test_an_attribute_that_only_looks_like_ours_is_unfit() -> None:
    """A user's attribute of the stamp's name is never overwritten."""
    with pytest.raises(UnfitError, match="stamp_attribute"):
        MARKS.view({**ITEM, "_m": {"S": "mine"}}, "A")
