"""What DynamoDB may hold, as hypothesis strategies: every type, every depth, any attribute name."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from hypothesis import strategies as st

from dynamirror.core.values import Wire

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Any text that UTF-8 can carry: quotes, backslashes, control characters, the empty one."""

NAMES = TEXTS.filter(bool) | st.sampled_from(
    ["_mirror", "_mirror_seq", 'a"b', "a\\", "\\u0041", "\x00", "é", "a/b", "#q", ":q", "k", "q"]
)

BINARIES = st.binary(max_size=12).map(lambda data: b64encode(data).decode())

DIGITS = st.integers(1, 10**38 - 1)

NUMBERS = st.builds(
    lambda sign, digits, exponent: f"{sign}{digits}E{exponent}",
    st.sampled_from(["", "-"]),
    DIGITS,
    st.integers(-130, 87),
) | DIGITS.map(str)
"""Any of 38 digits, not in their shortest spelling."""


def _set(members: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(members, min_size=1, max_size=4, unique=True)


LEAVES: st.SearchStrategy[Wire] = st.one_of(
    TEXTS.map(lambda text: {"S": text}),
    NUMBERS.map(lambda text: {"N": text}),
    BINARIES.map(lambda text: {"B": text}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    _set(TEXTS).map(lambda members: {"SS": members}),
    _set(DIGITS.map(str)).map(lambda members: {"NS": members}),
    _set(BINARIES).map(lambda members: {"BS": members}),
)

VALUES: st.SearchStrategy[Wire] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda members: {"L": members})
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda members: {"M": members})
    ),
    max_leaves=8,
)

ITEMS: st.SearchStrategy[Wire] = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)

KEY_PARTS: st.SearchStrategy[Wire] = st.one_of(
    TEXTS.filter(bool).map(lambda text: {"S": text}),
    NUMBERS.map(lambda text: {"N": text}),
    BINARIES.filter(bool).map(lambda text: {"B": text}),
)

KEYS: st.SearchStrategy[Wire] = st.dictionaries(NAMES, KEY_PARTS, min_size=1, max_size=2)

SEQUENCE_NUMBERS = st.integers(0, 10**40 - 1)


def nested(levels: int) -> Wire:
    """Return a value of so many levels: lists in maps in lists."""
    value: Wire = {"S": "the bottom"}
    for level in range(levels):
        value = {"L": [value]} if level % 2 else {"M": {"in": value}}
    return value


def wire_of(
    keys: Wire,
    new: Wire | None = None,
    old: Wire | None = None,
    *,
    number: int = 1,
    **envelope: Any,
) -> Wire:
    """Return a stream record as Lambda spells it."""
    body: Wire = {
        "ApproximateCreationDateTime": 1_700_000_000.0,
        "Keys": keys,
        "SequenceNumber": str(number),
        "SizeBytes": 1,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if new is not None:
        body["NewImage"] = new
    if old is not None:
        body["OldImage"] = old
    name = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
    return {"eventID": "e1", "eventName": name, "eventVersion": "1.1", "dynamodb": body, **envelope}
