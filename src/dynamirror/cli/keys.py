"""Keys of items as people type them."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from dynamirror.core.values import Wire, decode, key_of


class Key(click.ParamType[Wire]):
    """An item's key: DynamoDB JSON, ``{"id": {"S": "a"}}``, or plain JSON, ``{"id": "a"}``."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Wire:
        try:
            plain = decode(str(value).encode())
            key = {name: _typed(part) for name, part in plain.items()}
            key_of(key)
        except (msgspec.DecodeError, ValueError):
            told = """write the key attributes: '{"id": "a"}', or '{"id": {"S": "a"}}'"""
            self.fail(f"{value!r}: {told}", param, ctx)
        return key


def _typed(part: Any) -> Any:
    """Return a part in wire form; text and numbers tell their types, binary must be given so."""
    if isinstance(part, str):
        return {"S": part}
    if isinstance(part, int | float) and not isinstance(part, bool):
        return {"N": repr(part)}
    return part
