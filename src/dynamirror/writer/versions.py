"""Versions: what is one, how a request spells it, and which this client has seen.

Two spellings meet here. A low-level client speaks DynamoDB JSON, ``{"N": "5"}``; a Table resource
speaks Python, ``Decimal(5)``. An item tells which: in DynamoDB JSON every attribute is a dict,
while a Python item's key is always a plain value.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from dynamirror.core.values import SHOWN_MAX, Wire, canonical_number
from dynamirror.writer.refusals import VersionError

VERSION_END = 10**37
"""The first number that is no version: one more digit and a sum would be rounded (DynamoDB keeps
38)."""

SEEN_MAX = 10_000
"""Keys whose last version is remembered: some 2 MB, and more than a process saves at once."""

Identity = tuple[tuple[str, str, Any], ...]
"""A key, hashable: name, type and canonical value of each attribute, in the order of names."""


def is_wire(attributes: Mapping[str, Any]) -> bool:
    """Tell whether an item or key is in DynamoDB JSON rather than in Python's types."""
    return all(isinstance(value, dict) for value in attributes.values())


def number(value: int, *, wire: bool) -> Any:
    """Return a number as the caller's client spells it."""
    return {"N": str(value)} if wire else Decimal(value)


def number_in(value: Any) -> Decimal | None:
    """Return the number that an attribute's value is, None if it is of another type."""
    text = value.get("N") if isinstance(value, dict) else value
    if isinstance(text, bool) or not isinstance(text, str | int | Decimal):
        return None
    if isinstance(text, str) and not isinstance(value, dict):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def version_in(value: Any, place: str) -> int:
    """Return the version that a value is. Raises VersionError, which names the place."""
    found = number_in(value)
    if (
        found is None
        or not found.is_finite()
        or not 0 <= found < VERSION_END
        or found != found.to_integral_value()
    ):
        raise VersionError(
            f"{place} is {str(value)[:SHOWN_MAX]}; a version is an integer from 0 to 10^37 - 1"
        )
    return int(found)


def version_or_none(value: Any) -> int | None:
    """Return the version that a value is, None if it is none: for what was written anyway."""
    try:
        return version_in(value, "")
    except VersionError:
        return None


def raised(version: int, by: int, place: str) -> int:
    """Return a higher version. Raises VersionError where there is none."""
    if version + by >= VERSION_END:
        raise VersionError(f"{place} is {version}; there is no higher version below 10^37")
    return version + by


def identity(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Identity | None:
    """Return the identity of the key in an item or key; None if it holds no proper one."""
    try:
        return tuple((name, *_identified(attributes[name])) for name in names)
    except (KeyError, ValueError, TypeError):
        return None


def _identified(value: Any) -> tuple[str, Any]:
    if isinstance(value, dict):
        ((kind, body),) = value.items()
    elif isinstance(value, str):
        kind, body = "S", value
    elif isinstance(value, int | Decimal):
        kind, body = "N", str(value)
    else:
        kind, body = "B", value
    if kind == "N":
        return kind, canonical_number(body)
    if kind == "B":
        # boto3's Binary wraps its bytes; memoryview takes whatever is bytes, and no number.
        wrapped: Any = getattr(body, "value", body)
        return kind, bytes(memoryview(wrapped))
    if not isinstance(body, str):
        raise TypeError(f"a key attribute of type {kind} is text")
    return kind, body


class Seen:
    """The last versions that this client saw, the least recently used forgotten first.

    Also the names of tables' key attributes, for a put's item does not tell them. Threads may
    share it.
    """

    def __init__(self, limit: int = SEEN_MAX) -> None:
        self._limit = limit
        self._versions: OrderedDict[tuple[str, Identity], int] = OrderedDict()
        self._names: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._versions)

    def key_names(self, table: str) -> tuple[str, ...] | None:
        """Return the names of the table's key attributes; None if unknown, empty if untold."""
        return self._names.get(table)

    def learn_key(self, table: str, names: tuple[str, ...]) -> None:
        self._names[table] = tuple(sorted(names))

    def last(self, table: str, attributes: Wire) -> int | None:
        """Return the last version seen of the item with this key, or of this item."""
        place = self._place(table, attributes)
        if place is None:
            return None
        with self._lock:
            if place not in self._versions:
                return None
            self._versions.move_to_end(place)
            return self._versions[place]

    def saw(self, table: str, attributes: Wire, version: int) -> None:
        """Remember that the item had this version; a lower one than remembered is old news."""
        place = self._place(table, attributes)
        if place is None:
            return
        with self._lock:
            self._versions[place] = max(version, self._versions.get(place, 0))
            self._versions.move_to_end(place)
            while len(self._versions) > self._limit:
                self._versions.popitem(last=False)

    def _place(self, table: str, attributes: Wire) -> tuple[str, Identity] | None:
        names = self._names.get(table)
        found = identity(attributes, names) if names else None
        return None if found is None else (table, found)
