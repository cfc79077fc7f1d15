"""What holds of an item: the comparisons and functions that conditions are made of.

As the service does it: numbers compare by value, strings and binaries
bytewise, sets without order. Values of different types are unequal and never in order. A missing
attribute equals nothing, differs from everything, another missing one included, and is in no order.
Types are checked only of the values given with the expression; an attribute of another type makes
a comparison false, not an error.
"""

from __future__ import annotations

import operator
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dynamirror.core.expressions import Names, Path, Scope, Value, Values, kind_of
from dynamirror.core.values import Wire, canonical
from dynamirror.core.words import ExpressionError

TYPES = ("S", "N", "B", "SS", "NS", "BS", "M", "L", "BOOL", "NULL")

_ORDERED = ("S", "N", "B")
_SIZED = ("S", "B", "SS", "NS", "BS", "L", "M")
_HOLDING = ("S", "B", "SS", "NS", "BS", "L")

_IN_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def equal(left: Wire | None, right: Wire | None) -> bool:
    """Tell whether two typed values are the same; a missing one is the same as nothing."""
    if left is None or right is None or left == right:
        return left is not None and right is not None
    if kind_of(left) != kind_of(right):
        return False
    if "N" in left:
        return Decimal(left["N"]) == Decimal(right["N"])
    return bool(canonical(left) == canonical(right))


def in_order(left: Wire | None, sign: str, right: Wire | None) -> bool:
    """Tell whether ``left sign right`` holds, ``sign`` one of ``< <= > >=``."""
    if left is None or right is None or kind_of(left) != kind_of(right):
        return False
    return kind_of(left) in _ORDERED and _IN_ORDER[sign](sortable(left), sortable(right))


def sortable(value: Wire) -> Any:
    """Return what orders a typed value of type S, N or B among others of its type."""
    ((kind, body),) = value.items()
    match kind:
        case "N":
            return Decimal(body)
        case "B":
            return b64decode(body)
        case _:
            return body  # Python orders text by code point, which is UTF-8's order of bytes


def size_of(value: Wire | None) -> Wire | None:
    """Return what size() makes of a value; None where it has none."""
    if value is None or kind_of(value) not in _SIZED:
        return None
    ((kind, body),) = value.items()
    match kind:
        case "S":
            return {"N": str(len(body.encode()))}
        case "B":
            return {"N": str(len(b64decode(body)))}
        case _:
            return {"N": str(len(body))}


@dataclass(frozen=True, slots=True)
class Size:
    """``size(path)``, an operand."""

    of: Path | Value
    at: int

    def read(self, scope: Scope) -> Wire | None:
        return size_of(self.of.read(scope))


Operand = Path | Value | Size


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Operand
    sign: str
    right: Operand

    def holds(self, scope: Scope) -> bool:
        left, right = self.left.read(scope), self.right.read(scope)
        if self.sign == "=":
            return equal(left, right)
        if self.sign == "<>":
            return not equal(left, right)
        return in_order(left, self.sign, right)

    def check(self, names: Names, values: Values) -> None:
        ordering = self.sign not in ("=", "<>")
        for operand in (self.left, self.right):
            _check(operand, names, values, _ORDERED if ordering else TYPES, self.sign)
        _distinct(self.sign, (self.left, self.right), names)


@dataclass(frozen=True, slots=True)
class Between:
    operand: Operand
    low: Operand
    high: Operand

    def holds(self, scope: Scope) -> bool:
        value = self.operand.read(scope)
        return in_order(self.low.read(scope), "<=", value) and in_order(
            value, "<=", self.high.read(scope)
        )

    def check(self, names: Names, values: Values) -> None:
        for operand in (self.operand, self.low, self.high):
            _check(operand, names, values, _ORDERED, "BETWEEN")
        if isinstance(self.low, Value) and isinstance(self.high, Value):
            low, high = self.low.given(values), self.high.given(values)
            if not in_order(low, "<=", high):
                raise ExpressionError("BETWEEN needs a lower value, then a higher", self.low.at)
        _distinct("BETWEEN", (self.operand, self.low, self.high), names)


@dataclass(frozen=True, slots=True)
class In:
    operand: Operand
    options: tuple[Operand, ...]

    def holds(self, scope: Scope) -> bool:
        value = self.operand.read(scope)
        return any(equal(value, option.read(scope)) for option in self.options)

    def check(self, names: Names, values: Values) -> None:
        for operand in (self.operand, *self.options):
            _check(operand, names, values, TYPES, "IN")
        _distinct("IN", (self.operand, *self.options), names)


@dataclass(frozen=True, slots=True)
class Exists:
    """``attribute_exists`` and ``attribute_not_exists``."""

    path: Path
    wanted: bool

    def holds(self, scope: Scope) -> bool:
        return (self.path.read(scope) is not None) is self.wanted

    def check(self, names: Names, values: Values) -> None:
        _check(self.path, names, values, TYPES, "attribute_exists")


@dataclass(frozen=True, slots=True)
class HasType:
    operand: Operand
    kind: Value

    def holds(self, scope: Scope) -> bool:
        value = self.operand.read(scope)
        return value is not None and kind_of(value) == scope.values[self.kind.name].get("S")

    def check(self, names: Names, values: Values) -> None:
        _check(self.operand, names, values, TYPES, "attribute_type")
        kind = self.kind.given(values).get("S")
        if kind not in TYPES:
            raise ExpressionError(f"attribute_type knows no type {kind!r}", self.kind.at)


@dataclass(frozen=True, slots=True)
class BeginsWith:
    operand: Operand
    prefix: Operand

    def holds(self, scope: Scope) -> bool:
        value, prefix = self.operand.read(scope), self.prefix.read(scope)
        if value is None or prefix is None or kind_of(value) != kind_of(prefix):
            return False
        return kind_of(value) in ("S", "B") and bool(sortable(value).startswith(sortable(prefix)))

    def check(self, names: Names, values: Values) -> None:
        for operand in (self.operand, self.prefix):
            _check(operand, names, values, ("S", "B"), "begins_with")
        _distinct("begins_with", (self.operand, self.prefix), names)


@dataclass(frozen=True, slots=True)
class Contains:
    operand: Operand
    member: Operand

    def holds(self, scope: Scope) -> bool:
        value, member = self.operand.read(scope), self.member.read(scope)
        if value is None or member is None:
            return False
        ((kind, body),) = value.items()
        if kind in ("S", "B"):
            return kind_of(member) == kind and sortable(member) in sortable(value)
        if kind in ("SS", "NS", "BS"):
            return any(equal({kind[0]: one}, member) for one in body)
        return kind == "L" and any(equal(one, member) for one in body)

    def check(self, names: Names, values: Values) -> None:
        _check(self.operand, names, values, _HOLDING, "contains")
        _check(self.member, names, values, TYPES, "contains")
        _distinct("contains", (self.operand, self.member), names)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Terms joined by AND."""

    terms: tuple[Node, ...]

    def holds(self, scope: Scope) -> bool:
        return all(term.holds(scope) for term in self.terms)

    def check(self, names: Names, values: Values) -> None:
        for term in self.terms:
            term.check(names, values)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Terms joined by OR."""

    terms: tuple[Node, ...]

    def holds(self, scope: Scope) -> bool:
        return any(term.holds(scope) for term in self.terms)

    def check(self, names: Names, values: Values) -> None:
        for term in self.terms:
            term.check(names, values)


@dataclass(frozen=True, slots=True)
class Not:
    term: Node

    def holds(self, scope: Scope) -> bool:
        return not self.term.holds(scope)

    def check(self, names: Names, values: Values) -> None:
        self.term.check(names, values)


Node = Comparison | Between | In | Exists | HasType | BeginsWith | Contains | AllOf | AnyOf | Not


def _check(
    operand: Operand, names: Names, values: Values, kinds: tuple[str, ...], sign: str
) -> None:
    if isinstance(operand, Path):
        operand.resolved(names)
    elif isinstance(operand, Size):
        _check(operand.of, names, values, _SIZED, "size")
    elif (kind := kind_of(operand.given(values))) not in kinds:
        raise ExpressionError(f"{sign} does not take a value of type {kind}", operand.at)


def _distinct(sign: str, operands: tuple[Operand, ...], names: Names) -> None:
    first = operands[0]
    if not isinstance(first, Path):
        return
    for other in operands[1:]:
        if isinstance(other, Path) and other.resolved(names) == first.resolved(names):
            raise ExpressionError(f"{sign} compares an attribute with itself", other.at)
