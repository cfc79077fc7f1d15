"""Our rows come back as they were written, and a newer version's are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.rows import FORMAT, plain, row
from dynamirror.errors import NewerFormatError

VALUES = st.recursive(
    st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name != "format"), VALUES))
def test_a_row_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    assert plain(row(**values)) == values


def test_what_is_none_is_left_out_and_wire_forms_stay() -> None:
    keys = {"id": {"S": "a"}}

    assert row(a=None, keys=keys) == {"keys": {"M": keys}, "format": {"N": "1"}}
    assert plain(row(a=None, keys=keys)) == {"keys": keys}


def test_a_row_without_a_format_is_of_the_first() -> None:
    assert plain({"a": {"S": "x"}}) == {"a": "x"}


def test_a_newer_versions_row_is_refused() -> None:
    """Reading it as if it were ours could lose what the newer version keeps in it."""
    with pytest.raises(NewerFormatError, match=f"format {FORMAT + 1}, this version knows {FORMAT}"):
        plain({"a": {"S": "x"}, "format": {"N": str(FORMAT + 1)}})
