"""What the operations' requests have in common: expressions with their names and values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from dynamirror.core.condition import Condition, parse_condition
from dynamirror.core.expressions import CACHED_TEXTS, Names, Values, kind_of
from dynamirror.core.projection import Tree
from dynamirror.core.update import Update, parse_update
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError
from dynamirror.memory.items import checked_value
from dynamirror.memory.refusals import invalid, malformed
from dynamirror.memory.reserved import RESERVED


class Expression(Protocol):
    """What a parsed expression says of the names and values it uses."""

    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def bare(self) -> tuple[str, ...]: ...


_P = TypeVar("_P")
_E = TypeVar("_E", bound=Expression)


def names_of(request: Wire) -> Names:
    """Return the request's ExpressionAttributeNames. Raises RefusedError."""
    names = request.get("ExpressionAttributeNames")
    if names is None:
        return {}
    if not isinstance(names, dict) or not names:
        raise invalid("ExpressionAttributeNames must not be empty")
    for alias in names:
        if alias[:1] != "#":
            raise invalid(f"ExpressionAttributeNames contains invalid key: {alias}")
    return names


def values_of(request: Wire) -> Values:
    """Return the request's ExpressionAttributeValues, as stored. Raises RefusedError."""
    values = request.get("ExpressionAttributeValues")
    if values is None:
        return {}
    if not isinstance(values, dict) or not values:
        raise invalid("ExpressionAttributeValues must not be empty")
    for name in values:
        if name[:1] != ":":
            raise invalid(f"ExpressionAttributeValues contains invalid key: {name}")
    return {name: checked_value(value)[0] for name, value in values.items()}


def parsed(parse: Callable[[str], _E], request: Wire, slot: str) -> _E | None:
    """Read one of the request's expressions, None where it has none. Raises RefusedError."""
    text = request.get(slot)
    if text is None:
        return None
    if not isinstance(text, str):
        raise malformed(f"{slot} is a text")
    if not text:
        raise invalid(f"Invalid {slot}: The expression can not be empty")
    expression = sound(slot, parse, text)
    for name in expression.bare:
        if name.upper() in RESERVED:
            raise invalid(
                f"Invalid {slot}: Attribute name is a reserved keyword; reserved keyword: {name}"
            )
    return expression


def parsed_condition(request: Wire, slot: str, names: Names, values: Values) -> Condition | None:
    """Read one of the request's conditions and check it. Raises RefusedError."""
    condition = parsed(parse_condition, request, slot)
    if condition is not None:
        sound(slot, condition.check, names, values)
    return condition


class Expressions(NamedTuple):
    """A write's expressions, checked, and the paths that its update touches."""

    condition: Condition | None
    update: Update | None
    touched: Tree | None


def expressions_of(request: Wire, names: Names, values: Values) -> Expressions:
    """Read a write's expressions and check them with their names and values. Raises RefusedError.

    What is wrong is wrong for every value of the same types, but for the few conditions that weigh
    the values given: so the same request with other values is not checked twice.
    """
    condition, update = request.get("ConditionExpression"), request.get("UpdateExpression")
    for slot, text in (("ConditionExpression", condition), ("UpdateExpression", update)):
        if text is not None and not isinstance(text, str):
            raise malformed(f"{slot} is a text")
    kinds = tuple([(name, kind_of(value)) for name, value in values.items()])
    checked = _checked(condition, update, tuple(names.items()), kinds)
    if checked.condition is not None and checked.condition.weighs:
        sound("ConditionExpression", checked.condition.check, names, values)
    return checked


@lru_cache(CACHED_TEXTS)
def _checked(
    condition_text: str | None,
    update_text: str | None,
    named: tuple[tuple[str, str], ...],
    kinds: tuple[tuple[str, str], ...],
) -> Expressions:
    names, values = dict(named), {name: {kind: ""} for name, kind in kinds}
    given = {"ConditionExpression": condition_text, "UpdateExpression": update_text}
    update = parsed(parse_update, given, "UpdateExpression")
    condition = parsed(parse_condition, given, "ConditionExpression")
    if condition is not None and not condition.weighs:
        sound("ConditionExpression", condition.check, names, values)
    touched = None if update is None else sound("UpdateExpression", update.check, names, values)
    check_used(names, values, condition, update)
    return Expressions(condition, update, touched)


def sound(slot: str, call: Callable[..., _P], *arguments: Any) -> _P:
    """Call what may find an expression at fault, and refuse the request if it does."""
    try:
        return call(*arguments)
    except ExpressionError as error:
        raise invalid(f"Invalid {slot}: {error}") from None


def check_used(names: Names, values: Values, *expressions: Expression | None) -> None:
    """Refuse names and values that no expression of the request uses."""
    if not names and not values:
        return
    used = [one for one in expressions if one is not None]
    if not used:
        raise invalid("ExpressionAttributeNames and values need an expression that uses them")
    for name in names:
        if not any(name in one.aliases for one in used):
            raise invalid(f"Value provided in ExpressionAttributeNames unused: {name}")
    for value in values:
        if not any(value in getattr(one, "values", ()) for one in used):
            raise invalid(f"Value provided in ExpressionAttributeValues unused: {value}")
