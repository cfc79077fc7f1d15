"""The words of DynamoDB's expression languages, and literals where those are allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from dynamirror.core.values import Wire


class ExpressionError(ValueError):
    """An expression can't be read, or means nothing with the names and values it was given.

    ``position`` is where in the text, counted from 0, if it has a place there.
    """

    def __init__(self, problem: str, position: int | None = None) -> None:
        super().__init__(problem if position is None else f"{problem} (at position {position})")
        self.position = position


class Word(NamedTuple):
    """One token: ``kind`` is ``name``, ``alias``, ``value``, ``index``, ``mark`` or ``end``; where
    literals are allowed, also ``text`` or ``number``.
    """

    kind: str
    text: str
    at: int


_WORD = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_]*)|(?P<alias>#[A-Za-z0-9_]+)|(?P<value>:[A-Za-z0-9_]+)"
    r"|(?P<index>[0-9]+)|(?P<mark><>|<=|>=|[=<>(),.\[\]+-])|(?P<space>[ \t\r\n]+)"
)

_LITERAL = re.compile(
    r"(?P<text>'(?:[^']|'')*')"
    r"|(?P<number>-?[0-9]{1,38}\.[0-9]{1,38}(?:[eE][+-]?[0-9]{1,3})?|-[0-9]{1,38})"
)

_CONSTANTS: Mapping[str, Wire] = {
    "TRUE": {"BOOL": True},
    "FALSE": {"BOOL": False},
    "NULL": {"NULL": True},
}


def literal_of(word: Word) -> Wire | None:
    """Return the typed value that a word spells, None if it spells none."""
    match word.kind:
        case "text":
            return {"S": word.text[1:-1].replace("''", "'")}
        case "number" | "index":
            return {"N": word.text}
        case "name":
            return _CONSTANTS.get(word.text.upper())
        case _:
            return None


def words_of(text: str, *, allow_literals: bool) -> list[Word]:
    """Return the words of an expression, and one for its end.

    Raises ExpressionError for a character that has no meaning there.
    """
    words = []
    at = 0
    while at < len(text):
        found = (_LITERAL.match(text, at) if allow_literals else None) or _WORD.match(text, at)
        if found is None:
            raise ExpressionError(f"{text[at]!r} has no meaning in an expression", at)
        if found.lastgroup != "space":
            words.append(Word(found.lastgroup or "", found.group(), at))
        at = found.end()
    return [*words, Word("end", "", len(text))]
