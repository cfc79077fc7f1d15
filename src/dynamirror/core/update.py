"""Updates: DynamoDB's UpdateExpression, read and applied.

Every right side is read from the item as it was; places in a list mean the list as it was, and a
SET beyond its end appends. The item given is never changed: the new one shares what stayed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from .expressions import (
    CACHED_TEXTS,
    ExpressionError,
    Names,
    Path,
    Reader,
    Scope,
    Step,
    Tree,
    Value,
    Values,
    kind_of,
    tree,
)
from .predicates import equal
from .values import Wire, canonical_number

# A sum of two numbers of DynamoDB's range (1E-130 to 9.9E+125) has at most 257 digits.
_EXACT = Context(prec=300)

_REMOVED: Wire = {}
"""Stands in a tree for a part to remove; no typed value is empty."""

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
        return _REMOVED


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
            return _REMOVED
        _same_kind(held, taken, self.path.at)
        left = [one for one in held[kind] if not _member(one, taken, kind)]
        return {kind: left} if left else _REMOVED


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


@dataclass(frozen=True, slots=True)
class Update:
    """An update, read. ``aliases`` and ``values`` are the placeholders it uses."""

    actions: tuple[Action, ...]
    aliases: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def only_removes(self) -> bool:
        """True of an update that adds nothing: it does not create a missing item."""
        return all(isinstance(action, Removal | Deletion) for action in self.actions)

    def check(self, names: Names, values: Values) -> Tree:
        """Raise ExpressionError unless the names and values given make sense of it.

        Returns the paths it touches, as a tree for ``projected``.
        """
        for name in self.aliases:
            if name not in names:
                raise ExpressionError(f"the attribute name {name} is not defined")
        for name in self.values:
            if name not in values:
                raise ExpressionError(f"the attribute value {name} is not defined")
        return tree((action.path.resolved(names), None) for action in self.actions)

    def applied(self, item: Wire, names: Names, values: Values, *, missing: bool = False) -> Wire:
        """Return the item after the update. Names and values are checked ones.

        ``missing`` says that ``item`` is no more than the key of one that isn't there. Raises
        ExpressionError where the item doesn't fit: an attribute that isn't there is read, or is of
        another type than the update needs.
        """
        scope = Scope(item, names, values)
        outcomes = [
            (action.path.resolved(names), action.outcome(scope))
            for action in self.actions
            if not (missing and isinstance(action, Removal | Deletion))
        ]
        return _in_map(item, tree((steps, _Leaf(outcome)) for steps, outcome in outcomes))


@dataclass(frozen=True, slots=True)
class _Leaf:
    outcome: Wire


def _in_map(members: Wire, branch: Tree) -> Wire:
    changed = dict(members)
    for step, twig in branch.items():
        name = str(step)
        if not isinstance(twig, _Leaf):
            changed[name] = _inside(members.get(name), twig)
        elif twig.outcome is _REMOVED:
            changed.pop(name, None)
        else:
            changed[name] = twig.outcome
    return changed


def _in_list(members: list[Wire], branch: dict[int, Any]) -> list[Wire]:
    changed: list[Wire | None] = list(members)
    for place, twig in sorted(branch.items(), key=operator.itemgetter(0)):
        beyond = place >= len(members)
        if not isinstance(twig, _Leaf):
            changed[place if not beyond else 0] = _inside(None if beyond else members[place], twig)
        elif twig.outcome is _REMOVED:
            if not beyond:
                changed[place] = None
        elif beyond:
            changed.append(twig.outcome)
        else:
            changed[place] = twig.outcome
    return [member for member in changed if member is not None]


def _inside(value: Wire | None, branch: Tree) -> Wire:
    if isinstance(next(iter(branch)), int):
        if value is not None and "L" in value:
            return {"L": _in_list(value["L"], branch)}  # type: ignore[arg-type]
    elif value is not None and "M" in value:
        return {"M": _in_map(value["M"], branch)}
    raise ExpressionError("the update's path leads into what the item does not have")


@lru_cache(CACHED_TEXTS)
def parse_update(text: str) -> Update:
    """Read an update. Raises ExpressionError, which says where and what was expected."""
    words = Reader(text)
    clauses: dict[str, Callable[[Reader], Action]] = {
        "SET": _assignment,
        "REMOVE": lambda words: Removal(words.path()),
        "ADD": lambda words: Addition(words.path(), words.value()),
        "DELETE": lambda words: Deletion(words.path(), words.value()),
    }
    actions: list[Action] = []
    while not actions or words.word.kind != "end":
        keyword = next((word for word in clauses if words.takes_keyword(word)), None)
        if keyword is None:
            raise words.wrong(" or ".join(clauses) + ", each once")
        action = clauses.pop(keyword)
        words.count_operator()
        actions.append(action(words))
        while words.takes(","):
            words.count_operator()
            actions.append(action(words))
    words.finish()
    return Update(tuple(actions), tuple(words.aliases), tuple(words.values))


def _assignment(words: Reader) -> Assignment:
    path = words.path()
    words.expect("=")
    left = _term(words)
    sign = words.word
    if sign.text not in ("+", "-"):
        return Assignment(path, left)
    words.take()
    words.count_operator()
    return Assignment(path, Sum(left, sign.text, _term(words), sign.at))


def _term(words: Reader) -> Term:
    at = words.word.at
    if words.word.kind == "value":
        return words.value()
    if words.follows("if_not_exists", "("):
        words.count_operator()
        words.take()
        words.expect("(")
        path = words.path()
        words.expect(",")
        with words:
            otherwise = _term(words)
        words.expect(")")
        return IfNotExists(path, otherwise)
    if words.follows("list_append", "("):
        words.count_operator()
        words.take()
        words.expect("(")
        with words:
            first = _term(words)
            words.expect(",")
            second = _term(words)
        words.expect(")")
        if isinstance(first, ListAppend) or isinstance(second, ListAppend):
            raise ExpressionError("list_append inside list_append is not allowed", at)
        return ListAppend(first, second, at)
    if words.word.kind in ("name", "alias"):
        return words.path()
    raise words.wrong("an attribute, a value, if_not_exists or list_append")
