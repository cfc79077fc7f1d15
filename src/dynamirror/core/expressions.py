"""What DynamoDB's expression languages share: their words, document paths and values.

An expression is read once, into nodes that keep its ``#names`` and ``:values`` as they stand, and
cached by its text; names and values are looked up when it is evaluated. Hostile text is refused
with the place and what was expected there: its length, its nesting and the number of its operators
are limited, so that nothing here recurses or runs without end.

Rules (Amazon DynamoDB Developer Guide, 'Expressions'): keywords are case-insensitive, function
names are not; a bare name starts with a letter; a dot inside ``#name`` is part of the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError, Word, literal_of, words_of

TEXT_BYTES_MAX = 4_096
"""An expression's length (Developer Guide, 'Constraints': 4 KB)."""

OPERATORS_MAX = 300
"""Operators and functions in one expression (same place)."""

PATH_STEPS_MAX = 32
"""Depth of a document path (same place)."""

NESTING_MAX = 64
"""Parentheses, NOTs and function calls inside one another; ours, well inside Python's stack."""

CACHED_TEXTS = 1_024
"""Expressions of a kind kept parsed: more than any mirror sends, and a bound for strangers."""

Names = Mapping[str, str]
"""ExpressionAttributeNames: ``{"#s": "status"}``."""

Values = Mapping[str, Wire]
"""ExpressionAttributeValues: ``{":n": {"N": "1"}}``."""

Step = str | int
"""One step of a document path: an attribute's name, or a place in a list."""


class Scope(NamedTuple):
    """What an expression is evaluated over."""

    item: Wire
    names: Names
    values: Values


class Reader:
    """The words of one expression, taken from left to right.

    ``aliases`` and ``values`` list the placeholders that were met, ``bare`` the names of attributes
    that were written out, each once, in that order. With ``allow_literals``, which the service's
    own language does not have, ``'text'``, numbers, ``true``, ``false`` and ``null`` may stand for
    values; ``literals`` has them by the placeholders that they were given.
    """

    def __init__(self, text: str, *, allow_literals: bool = False) -> None:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ExpressionError("half a surrogate pair is no character", error.start) from None
        if size > TEXT_BYTES_MAX:
            raise ExpressionError(f"an expression is at most {TEXT_BYTES_MAX} bytes long")
        self.aliases: dict[str, None] = {}
        self.values: dict[str, None] = {}
        self.bare: dict[str, None] = {}
        self.literals: dict[str, Wire] = {}
        self._allow_literals = allow_literals
        self._words = words_of(text, allow_literals=allow_literals)
        self._next = 0
        self._depth = 0
        self._operators = 0

    @property
    def word(self) -> Word:
        """The next word; it stays until taken."""
        return self._words[self._next]

    def take(self) -> Word:
        """Take the next word, which the caller has seen is not the end."""
        word = self.word
        self._next += 1
        return word

    def called(self) -> str:
        """Return the name of the function whose call comes next, empty if none does."""
        word = self.word
        if word.kind != "name" or self._words[self._next + 1].text != "(":
            return ""
        return word.text

    def takes(self, mark: str) -> bool:
        """Take the mark if it is next."""
        if self.word.kind != "mark" or self.word.text != mark:
            return False
        self._next += 1
        return True

    def takes_keyword(self, keyword: str) -> bool:
        """Take the keyword if it is next, in whatever case."""
        if self.word.kind != "name" or self.word.text.upper() != keyword:
            return False
        self._next += 1
        return True

    def expect(self, mark: str) -> None:
        if not self.takes(mark):
            raise self.wrong(f"'{mark}'")

    def finish(self) -> None:
        if self.word.kind != "end":
            raise self.wrong("the end of the expression")

    def wrong(self, expected: str) -> ExpressionError:
        """Return the error that says what should have stood here."""
        found = "the end" if self.word.kind == "end" else repr(self.word.text)
        return ExpressionError(f"expected {expected}, found {found}", self.word.at)

    def count_operator(self) -> None:
        self._operators += 1
        if self._operators > OPERATORS_MAX:
            raise ExpressionError(f"more than {OPERATORS_MAX} operators", self.word.at)

    def __enter__(self) -> None:
        """Go one level deeper: into parentheses, a NOT, a function."""
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise ExpressionError(f"nested more than {NESTING_MAX} deep", self.word.at)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def path(self) -> Path:
        """Take a document path."""
        at = self.word.at
        steps: list[Step] = [self._name()]
        while True:
            if self.takes("."):
                steps.append(self._name())
            elif self.takes("["):
                if self.word.kind != "index":
                    raise self.wrong("a place in the list, such as 0")
                steps.append(int(self.take().text))
                self.expect("]")
            else:
                break
            if len(steps) > PATH_STEPS_MAX:
                raise ExpressionError(f"a path has at most {PATH_STEPS_MAX} steps", at)
        return Path(tuple(steps), at)

    @property
    def at_value(self) -> bool:
        """Whether a value comes next."""
        if self.word.kind == "value":
            return True
        return self._allow_literals and literal_of(self.word) is not None

    def value(self) -> Value:
        """Take a ``:value``, or a literal where those are allowed."""
        if self._allow_literals and (literal := literal_of(self.word)) is not None:
            word = self.take()
            name = f":literal {len(self.literals)}"  # a blank, so that nobody's own is called so
            self.literals[name] = literal
            return Value(name, word.at)
        if self.word.kind != "value":
            raise self.wrong("a value, such as :v")
        word = self.take()
        self.values[word.text] = None
        return Value(word.text, word.at)

    def _name(self) -> str:
        word = self.word
        if word.kind not in ("name", "alias"):
            raise self.wrong("the name of an attribute")
        (self.aliases if word.kind == "alias" else self.bare)[word.text] = None
        self._next += 1
        return word.text


@dataclass(frozen=True, slots=True)
class Path:
    """A document path as written, ``#s.tags[0]``; aliases are looked up when it is read."""

    steps: tuple[Step, ...]
    at: int

    def read(self, scope: Scope) -> Wire | None:
        """Return what the item holds there, None where it holds nothing."""
        item, names, _ = scope
        found: Any = {"M": item}
        for step in self.steps:
            if isinstance(step, int):
                members = found.get("L", ())
                if step >= len(members):
                    return None
                found = members[step]
            else:
                found = found.get("M", {}).get(names[step] if step[0] == "#" else step)
                if found is None:
                    return None
        return found  # type: ignore[no-any-return]

    def resolved(self, names: Names) -> tuple[Step, ...]:
        """Return the path with real names. Raises ExpressionError for an alias without one."""
        return tuple(
            [
                self._real(step, names) if isinstance(step, str) and step[0] == "#" else step
                for step in self.steps
            ]
        )

    def _real(self, alias: str, names: Names) -> str:
        if alias not in names:
            raise ExpressionError(f"the attribute name {alias} is not defined", self.at)
        return names[alias]


@dataclass(frozen=True, slots=True)
class Value:
    """A ``:value``."""

    name: str
    at: int

    def read(self, scope: Scope) -> Wire | None:
        return scope.values[self.name]

    def given(self, values: Values) -> Wire:
        """Return its value. Raises ExpressionError where none was given."""
        if self.name not in values:
            raise ExpressionError(f"the attribute value {self.name} is not defined", self.at)
        return values[self.name]


def kind_of(value: Wire) -> str:
    """Return a typed value's type, ``S`` of ``{"S": "a"}``."""
    return next(iter(value))
