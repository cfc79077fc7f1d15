"""Updates: DynamoDB's UpdateExpression, read and applied.

    update = parse_update("SET #v = if_not_exists(#v, :zero) + :one REMOVE #old")
    update.check(names, values)
    update.applied(item, names, values)

Every right side is read from the item as it was; places in a list mean the list as it was, and a
SET beyond its end appends. The item given is never changed: the new one shares what stayed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from dynamirror.core.actions import (
    REMOVED,
    Action,
    Addition,
    Assignment,
    Deletion,
    IfNotExists,
    ListAppend,
    Removal,
    Sum,
    Term,
)
from dynamirror.core.expressions import CACHED_TEXTS, Names, Reader, Scope, Values
from dynamirror.core.projection import Tree, tree
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError


@dataclass(frozen=True, slots=True)
class Update:
    """An update, read. ``aliases``, ``values`` and ``bare`` are the words it uses."""

    actions: tuple[Action, ...]
    aliases: tuple[str, ...]
    values: tuple[str, ...]
    bare: tuple[str, ...]

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
        elif twig.outcome is REMOVED:
            changed.pop(name, None)
        else:
            changed[name] = twig.outcome
    return changed


def _in_list(members: list[Wire], branch: Tree) -> list[Wire]:
    changed: list[Wire | None] = list(members)
    for place, twig in sorted(branch.items(), key=operator.itemgetter(0)):
        beyond = place >= len(members)
        if not isinstance(twig, _Leaf):
            part = _inside(None if beyond else members[place], twig)
            changed[place] = part
        elif twig.outcome is REMOVED:
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
            return {"L": _in_list(value["L"], branch)}
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
    return Update(tuple(actions), tuple(words.aliases), tuple(words.values), tuple(words.bare))


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
    if words.called() == "if_not_exists":
        words.count_operator()
        words.take()
        words.expect("(")
        path = words.path()
        words.expect(",")
        with words:
            otherwise = _term(words)
        words.expect(")")
        return IfNotExists(path, otherwise)
    if words.called() == "list_append":
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
