"""Rows of our own tables: their wire form, and the refusal of what a newer version wrote."""

from __future__ import annotations

from typing import Any

from dynamirror.core.values import Wire
from dynamirror.errors import NewerFormatError

FORMAT = 1
"""The format that this version writes, and the newest that it reads."""


def row(**values: Any) -> Wire:
    """Return a row in wire form: str, bool, int, list of str; None is left out."""
    wire = {name: _typed(value) for name, value in values.items() if value is not None}
    return {**wire, "format": {"N": str(FORMAT)}}


def plain(wire: Wire) -> dict[str, Any]:
    """Return a row's values, the inverse of ``row``; other types stay in wire form.

    Raises NewerFormatError for a row that a newer version wrote.
    """
    if int(wire.get("format", {"N": "1"})["N"]) > FORMAT:
        raise NewerFormatError(
            f"a row of ours has format {wire['format']['N']}, this version knows {FORMAT}"
        )
    return {name: _untyped(value) for name, value in wire.items() if name != "format"}


def _typed(value: Any) -> Wire:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case list():
            return {"L": [_typed(member) for member in value]}
        case _:
            return {"M": value}  # already in wire form: an image, a key


def _untyped(value: Wire) -> Any:
    ((kind, body),) = value.items()
    match kind:
        case "N":
            return int(body)
        case "L":
            return [_untyped(member) for member in body]
        case _:
            return body
