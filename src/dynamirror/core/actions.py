"""What an update does to one place of an item, worked out from the item as it was."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal

from dynamirror.core.expressions import Path, Scope, Value, kind_of
from dynamirror.core.predicates import equal
from dynamirror.core.values import Wire, canonical_number
from dynamirror.core.words import ExpressionError

REMOVED: Wire = {}
"""The outcome that takes the place away; no typed value is empty."""

# A sum of two numbers of DynamoDB's range (1E-130 to 9.9E+125) has at most 257 digits.
_EXACT = Context(prec=300)

_SETS = ("SS", "NS", "BS")


@dataclass(frozen=True, slots=True)
class IfNotExists:
    path: Path
    otherwise: Term

    def read(self, scope: Scope) -> Wire | None:
        found = self.path.read(scope)
        return self.otherwise.read(scope) if found is None else found


@dataclass(frozen=True, slots=True)
class ListAppend:
    first: Term
    second: Term
    at: int

    def read(self, scope: Scope) -> Wire | None:
        parts = [_present(self.first, scope), _present(self.second, scope)]
        for part in parts:
            if "L" not in part:
                raise ExpressionError(f"list_append takes lists, not {kind_of(part)}", self.at)
        return {"L": [*parts[0]["L"], *parts[1]["L"]]}


Term = Path | Value | IfNotExists | ListAppend


@dataclass(frozen=True, slots=True)
class Sum:
    """``left + right`` or ``left - right``."""

    left: Term
    sign: str
    right: Term
    at: int

    def read(self, scope: Scope) -> Wire | None:
        left, right = _present(self.left, scope), _present(self.right, scope)
        return _computed(left, self.sign, right, self.at)


@dataclass(frozen=True, slots=True)
class Assignment:
    """``SET path = source``."""

    path: Path
    source: Term | Sum

    def outcome(self, scope: Scope) -> Wire:
        return _present(self.source, scope)


@dataclass(frozen=True, slots=True)
class Removal:
    """``REMOVE path``."""

    path: Path

    def outcome(self, _: Scope) -> Wire:
        return REMOVED


@dataclass(frozen=True, slots=True)
class Addition:
    """``ADD path :v``: to a number, or to a set."""

    path: Path
    value: Value

    def outcome(self, scope: Scope) -> Wire:
        held, added = self.path.read(scope), scope.values[self.value.name]
        kind = kind_of(added)
        if kind != "N" and kind not in _SETS:
            raise ExpressionError(f"ADD takes a number or a set, not {kind}", self.value.at)
        if held is None:
            return added
        if kind == "N":
            return _computed(held, "+", added, self.path.at)
        _same_kind(held, added, self.path.at)
        fresh = [one for one in added[kind] if not _member(one, held, kind)]
        return {kind: [*held[kind], *fresh]} if fresh else held


@dataclass(frozen=True, slots=True)
class Deletion:
    """``DELETE path :v``: members from a set; the last one takes the attribute with it."""

    path: Path
    value: Value

    def outcome(self, scope: Scope) -> Wire:
        held, taken = self.path.read(scope), scope.values[self.value.name]
        kind = kind_of(taken)
        if kind not in _SETS:
            raise ExpressionError(f"DELETE takes a set, not {kind}", self.value.at)
        if held is None:
            return REMOVED
        _same_kind(held, taken, self.path.at)
        left = [one for one in held[kind] if not _member(one, taken, kind)]
        return {kind: left} if left else REMOVED


Action = Assignment | Removal | Addition | Deletion


def _present(term: Term | Sum, scope: Scope) -> Wire:
    value = term.read(scope)
    if value is None:
        raise ExpressionError("the update reads an attribute that the item does not have")
    return value


def _computed(left: Wire, sign: str, right: Wire, at: int) -> Wire:
    for value in (left, right):
        if "N" not in value:
            raise ExpressionError(f"{sign} takes numbers, not {kind_of(value)}", at)
    one, other = Decimal(left["N"]), Decimal(right["N"])
    total = _EXACT.add(one, other) if sign == "+" else _EXACT.subtract(one, other)
    return {"N": canonical_number(str(total))}


def _same_kind(held: Wire, given: Wire, at: int) -> None:
    if kind_of(held) != kind_of(given):
        raise ExpressionError(f"{kind_of(given)} does not go with {kind_of(held)}", at)


def _member(one: str, members: Wire, kind: str) -> bool:
    return any(equal({kind[0]: one}, {kind[0]: other}) for other in members[kind])
