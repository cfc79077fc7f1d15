"""Keys of items as people type them: every digit counts, and the table tells the types."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import click

from dynamirror.config.model import Mirror
from dynamirror.core.values import Wire, key_of
from dynamirror.engine.source import described
from dynamirror.errors import DynamirrorError
from dynamirror.wiring import Wiring

WORDS = {"S": "text", "N": "a number", "B": "binary, as base64 text"}

EXAMPLES = {"S": '"a"', "N": "1", "B": '"YQ=="'}


class NoKeyError(DynamirrorError):
    """What was given is no key of the table."""

    hint = "Write the key attributes as JSON, or with their types as DynamoDB JSON."


class _Number(str):
    """A number of JSON, every digit of it."""

    __slots__ = ()


class ItemKey(click.ParamType[dict[str, Any]]):
    """An item's key as JSON; whether it is a table's is told when the table is known."""

    name = "JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        try:
            key = json.loads(str(value), parse_int=_Number, parse_float=_Number)
        except ValueError as error:
            self.fail(f'{value!r} is no JSON ({error}): write \'{{"id": "a"}}\'', param, ctx)
        if not isinstance(key, dict):
            self.fail(f'{value!r}: write an object, \'{{"id": "a"}}\'', param, ctx)
        return key


def typed_key(given: dict[str, Any], names: Sequence[str], types: Sequence[str]) -> Wire:
    """Return a table's key in wire form, given as plain JSON or with types.

    Raises NoKeyError, which says what the table's key is like.
    """
    schema = dict(zip(names, types, strict=True))
    like = ", ".join(f'"{name}": {EXAMPLES[kind]}' for name, kind in schema.items())
    told = ", ".join(f"{name} ({WORDS[kind]})" for name, kind in schema.items())
    if given.keys() != schema.keys():
        raise NoKeyError(f"the table's key is {told}: write {{{like}}}")
    key = {}
    for name, kind in schema.items():
        value = given[name]
        if isinstance(value, dict):
            if value.keys() != {kind} or not isinstance(value[kind], str):
                raise NoKeyError(f'{name} is {WORDS[kind]}: write {{"{kind}": "..."}}')
            value = value[kind]
        elif not isinstance(value, str) or isinstance(value, _Number) != (kind == "N"):
            raise NoKeyError(f"{name} is {WORDS[kind]}: write {{{like}}}")
        key[name] = {kind: str(value)}
        try:
            key_of({name: key[name]})
            base64.b64decode(value if kind == "B" else "", validate=True)
        except (ValueError, binascii.Error) as error:
            raise NoKeyError(f"{name} is {WORDS[kind]}, {value!r} is not ({error})") from None
    return key


async def key_in(wiring: Wiring, mirror: Mirror, given: dict[str, Any]) -> Wire:
    """Return a key of a mirror's source in wire form.

    Raises NoKeyError, and NotFoundError without the source.
    """
    table = await described(wiring.source(mirror), mirror.source.table, wiring.backoff)
    return typed_key(given, table.key_names, table.key_types)
