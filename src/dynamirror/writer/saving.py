"""What the calls of one versioned client share: which tables, which attribute, what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dynamirror.core.values import Wire
from dynamirror.writer.refusals import RefusedWriteError
from dynamirror.writer.versions import Seen, version_in, version_or_none

Clock = Callable[[], int]
"""Milliseconds since the epoch."""


class Anything:
    """What ``expect`` is unless given: any version will do."""

    def __repr__(self) -> str:
        return "any version"


ANY: Final = Anything()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def table_name(name: str) -> str:
    """Return a table's name, given that or its ARN."""
    return name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Saving:
    """``tables``: the names of those to version, or their version attributes by name; None: all."""

    version_attribute: str
    tables: Collection[str] | Mapping[str, str] | None
    clock: Clock
    seen: Seen = field(default_factory=Seen)

    def attribute(self, table: str) -> str | None:
        """Return the table's version attribute; None if its items are not versioned."""
        if self.tables is None:
            return self.version_attribute
        if table not in self.tables:
            return None
        return self.tables[table] if isinstance(self.tables, Mapping) else self.version_attribute

    def target(self, table: str) -> Target | None:
        """Return where a write goes; None if its items are not versioned."""
        name = table_name(table)
        attribute = self.attribute(name)
        return None if attribute is None else Target(self, name, attribute)


@dataclass(frozen=True, slots=True)
class Target:
    """A table whose items are versioned."""

    saving: Saving
    table: str
    attribute: str

    @property
    def place(self) -> str:
        return f"the version attribute {self.attribute!r} of an item of {self.table}"

    def floor(self, attributes: Wire, *known: int | None) -> int:
        """Return the highest version known of the item, -1 if none is."""
        known = (self.saving.seen.last(self.table, attributes), *known)
        return max((one for one in known if one is not None), default=-1)

    def now(self) -> int:
        return self.saving.clock()

    def saw(self, key: Wire, version: int) -> None:
        self.saving.seen.saw(self.table, key, version)

    def learn_key(self, key: Wire) -> None:
        """Take in the key of a request that the service took."""
        if key and not self.saving.seen.key_names(self.table):
            self.saving.seen.learn_key(self.table, tuple(key))

    def seen_in(self, item: Wire | None) -> int | None:
        """Return the version in an answer, None if there is no good one."""
        return version_or_none((item or {}).get(self.attribute))

    def version_of(self, item: Wire) -> int | None:
        """Return an item's version, None if it has none. Raises VersionError."""
        held = item.get(self.attribute)
        return None if held is None else version_in(held, self.place)


def expected(expect: Any) -> int | None:
    """Return the version that the caller expects, None for an item without one.

    It may be given as it was read: ``5``, ``Decimal(5)`` or ``{"N": "5"}``.
    """
    return None if expect is None else version_in(expect, "expect")


INSTEAD = {
    "AttributeUpdates": 'UpdateExpression ("SET #a = :a" for PUT, REMOVE for DELETE, ADD for ADD)',
    "Expected": 'ConditionExpression ("#a = :a", or attribute_not_exists(#a))',
    "ConditionalOperator": "ConditionExpression, its terms joined with AND or OR",
}
"""The legacy parameters, and what the service has had for them since 2014."""


def refuse_legacy(request: Mapping[str, Any]) -> None:
    """Raise RefusedWriteError for parameters that no expression may stand beside."""
    found = [name for name in INSTEAD if request.get(name) is not None]
    if found:
        advice = "; ".join(f"instead of {name}, write {INSTEAD[name]}" for name in found)
        raise RefusedWriteError(f"a versioned write can't have legacy parameters: {advice}")
