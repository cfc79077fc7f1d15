"""Which items: a condition in DynamoDB's own language over the image.

Beside ``:values`` and ``#names`` the values may stand in the text, ``kind = 'public' AND age >=
18``; and since no server reads it, reserved words are names like all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from dynamirror.core.condition import Condition, parse_condition
from dynamirror.core.expressions import Names, Values
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError


class Where(msgspec.Struct, frozen=True, dict=True):
    """A condition with its names and values, read once."""

    text: str
    names: Names = {}
    values: Values = {}

    def holds(self, item: Wire) -> bool:
        """Tell whether a target gets to see an item, given as parsed image."""
        return self.condition.holds(item, self.names, self._all_values)

    @cached_property
    def condition(self) -> Condition:
        return parse_condition(self.text, allow_literals=True)

    @cached_property
    def _all_values(self) -> Mapping[str, Wire]:
        return {**self.values, **self.condition.literals}

    @cached_property
    def reads(self) -> frozenset[str]:
        """The top-level attributes that it looks at, or may."""
        # The parts of a path can't be told from first steps here: too many names do no harm.
        aliased = (self.names[alias] for alias in self.condition.aliases)
        return frozenset((*self.condition.bare, *aliased))

    def check(self) -> None:
        """Raise ExpressionError, with the place in the text, for what can't be evaluated."""
        self.condition.check(self.names, self._all_values)
        for given, used in (
            (self.names, self.condition.aliases),
            (self.values, self.condition.values),
        ):
            if idle := sorted(set(given) - set(used)):
                raise ExpressionError(f"{', '.join(idle)} given, but not used in the condition")
