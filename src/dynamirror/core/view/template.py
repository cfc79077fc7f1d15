"""Composed keys: a target's key attributes, written from those of the source's item.

``{"pk": "USER#{id}", "sk": "{created}"}``. A template can be read back: each value but the last is
followed by text that must not occur in it. So two items of the source never meet in one of the
target, and an item of the target can be traced to the one it came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

import msgspec

from dynamirror.core.values import Wire, canonical_number
from dynamirror.errors import UnfitError

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[^{}]+")


class Template(msgspec.Struct, frozen=True, dict=True):
    """The text of one key attribute, with ``{attribute}`` for values; ``{{`` is a brace."""

    text: str

    @cached_property
    def pieces(self) -> tuple[tuple[str, str], ...]:
        """The literal text before each attribute, and the attribute; last, the text after all.

        Raises ValueError, which says what is wrong with the text.
        """
        pieces, literal, at = [], "", 0
        while at < len(self.text):
            found = _PIECE.match(self.text, at)
            if found is None:
                raise ValueError(f"a brace at position {at} has no partner; {{{{ means a brace")
            if found[1]:
                pieces.append((literal, found[1]))
                literal = ""
            else:
                literal += {"{{": "{", "}}": "}"}.get(found[0], found[0])
            at = found.end()
        return (*pieces, (literal, ""))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The attributes that it takes values of."""
        return tuple(name for _, name in self.pieces if name)

    @property
    def prefix(self) -> str:
        """What every key that it makes begins with."""
        return self.pieces[0][0]

    @cached_property
    def is_plain(self) -> bool:
        """Whether it is one attribute and nothing else: then it keeps the value's type."""
        return self.pieces[0][1] != "" and self.text == f"{{{self.pieces[0][1]}}}"

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with it."""
        try:
            pieces = self.pieces
        except ValueError as error:
            yield str(error)
            return
        if len(set(self.names)) < len(self.names):
            yield "an attribute stands there twice"
        for place in range(1, len(pieces) - 1):
            if not pieces[place][0]:
                yield (
                    f"{{{pieces[place - 1][1]}}} and {{{pieces[place][1]}}} touch: put text "
                    "between them, such as #, which their values don't have"
                )

    def written(self, item: Wire) -> Wire:
        """Return the typed key value that an item has at the target.

        A template that is one attribute and nothing else keeps its type; others are text. Raises
        UnfitError where the item lacks an attribute, or has one that can't be told back.
        """
        if self.is_plain:
            return self._value(item, self.names[0])
        text = ""
        for place, (literal, name) in enumerate(self.pieces):
            text += literal
            if not name:
                break
            value = _text(self._value(item, name))
            until, more = self.pieces[place + 1]
            if more and f"{value}{until}".index(until) < len(value):
                raise UnfitError(
                    f"{name!r} holds what in the key {self.text!r} ends its value, {until!r}"
                )
            text += value
        if not text:
            raise UnfitError(f"the key {self.text!r} would be empty")
        return {"S": text}

    def read(self, value: Wire) -> dict[str, Wire] | None:
        """Return the attributes that a target's key was written from; None: not by this template.

        Values are typed only if the template is one attribute; others are given as text.
        """
        if self.is_plain:
            return {self.names[0]: value}
        text = value.get("S")
        if text is None or not text.startswith(self.prefix):
            return None
        rest, found = text[len(self.prefix) :], {}
        for place, name in enumerate(self.names):
            until = self.pieces[place + 1][0]
            if place == len(self.names) - 1:
                if not rest.endswith(until):
                    return None
                part, rest = rest[: len(rest) - len(until)], ""
            else:
                part, mark, rest = rest.partition(until)
                if not mark:
                    return None
            found[name] = {"S": part}
        return None if rest else found

    def _value(self, item: Wire, name: str) -> Wire:
        value: Wire | None = item.get(name)
        if value is None or not value.keys() <= {"S", "N", "B"}:
            raise UnfitError(f"the item has no text, number or binary {name!r} for its key")
        return value


def key_faults(key: Mapping[str, Template], key_names: Collection[str]) -> Iterator[str]:
    """Yield why two items of a source with these key attributes might meet in one target item."""
    held = {name for template in key.values() for name in template.names}
    if missing := sorted(set(key_names) - held):
        yield (
            f"the key lacks {', '.join(missing)}, so two items could become one: "
            f"use {', '.join(f'{{{name}}}' for name in missing)} in it"
        )


def _text(value: Wire) -> str:
    ((kind, body),) = value.items()
    return canonical_number(body) if kind == "N" else str(body)
