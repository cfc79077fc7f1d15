"""What an item may be: its types, its numbers, its size, its key.

Limits and sizes: Amazon DynamoDB Developer Guide, 'Constraints' and 'DynamoDB item sizes and
formats'. Numbers are normalised as the service does it, so that 1, 1.0 and 1E0 are one value.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as BinaryError
from binascii import a2b_base64
from functools import lru_cache
from typing import Any

from dynamirror.core.limits import ITEM_BYTES_MAX
from dynamirror.core.values import Wire, canonical_number
from dynamirror.memory.refusals import invalid, malformed

NESTING_MAX = 32
"""Levels of an attribute: itself, and each value in another; the deepest leaf is on the 32nd."""

NUMBER_DIGITS_MAX = 38
NUMBER_EXPONENT_MIN, NUMBER_EXPONENT_MAX = -130, 125

NUMBERS_CACHED = 4_096
"""Numbers kept as measured: the same versions come again and again."""

_NUMBER = re.compile(r"[+-]?([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?")


def checked(item: Any, nesting: int = 1) -> tuple[Wire, int]:
    """Return an item as it is stored, and its size. Members that need no change are shared.

    Raises RefusedError for what the service would not take.
    """
    if not isinstance(item, dict):
        raise malformed("An item is a map of attribute names to typed values")
    stored = item
    size = 0
    for name, value in item.items():
        size += len(name) if name.isascii() else len(name.encode())
        if type(value) is dict and len(value) == 1 and type(text := value.get("S")) is str:
            size += len(text) if text.isascii() else len(text.encode())  # by far the most
            continue
        kept, value_size = checked_value(value, nesting)
        if kept is not value:
            if stored is item:
                stored = dict(item)
            stored[name] = kept
        size += value_size
    return stored, size


def checked_item(item: Any) -> tuple[Wire, int]:
    """Do as ``checked``, and hold the whole to an item's size."""
    stored, size = checked(item)
    if size > ITEM_BYTES_MAX:
        raise invalid("Item size has exceeded the maximum allowed size")
    return stored, size


def checked_value(value: Any, nesting: int = 1) -> tuple[Wire, int]:
    """Return a typed value as it is stored, and its size. Raises RefusedError."""
    if not isinstance(value, dict):
        raise malformed("An attribute is a typed value")
    if len(value) != 1:
        raise invalid(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
        )
    ((kind, body),) = value.items()
    if kind == "S" and isinstance(body, str):
        return value, len(body) if body.isascii() else len(body.encode())
    if kind == "N" and isinstance(body, str):
        text, size = _measured(body)
        return (value if text == body else {"N": text}), size
    if kind in ("M", "L"):
        return _checked_document(value, kind, body, nesting)
    if kind == "B" and isinstance(body, str):
        text, size = binary(body)
        return (value if text == body else {"B": text}), size
    if kind in ("BOOL", "NULL") and isinstance(body, bool):
        if kind == "NULL" and not body:
            raise invalid("One or more parameter values were invalid: NULL must be true")
        return value, 1
    if kind in ("SS", "NS", "BS") and isinstance(body, list):
        return _checked_set(value, kind, body)
    raise malformed(f"{kind} is no type of an attribute, or its value is of another type")


def _checked_document(value: Wire, kind: str, body: Any, nesting: int) -> tuple[Wire, int]:
    if nesting >= NESTING_MAX and body:
        raise invalid("Nesting Levels have exceeded supported limits")
    if kind == "M":
        members, size = checked(body, nesting + 1)
        return (value if members is body else {"M": members}), 3 + size + len(members)
    if not isinstance(body, list):
        raise malformed("A list is of type L")
    pairs = [checked_value(member, nesting + 1) for member in body]
    size = 3 + len(pairs) + sum(size for _, size in pairs)
    if all(kept is member for (kept, _), member in zip(pairs, body, strict=True)):
        return value, size
    return {"L": [kept for kept, _ in pairs]}, size


def _checked_set(value: Wire, kind: str, body: list[Any]) -> tuple[Wire, int]:
    if not body:
        raise invalid("One or more parameter values were invalid: An set may not be empty")
    pairs = [checked_value({kind[0]: member}) for member in body]
    members = [kept[kind[0]] for kept, _ in pairs]
    if len(dict.fromkeys(members)) < len(members):
        raise invalid(
            "One or more parameter values were invalid: Input collection contains duplicates"
        )
    size = sum(size for _, size in pairs)
    return (value if members == body else {kind: members}), size


def number(text: str) -> str:
    """Return a number as the service stores it. Raises RefusedError for one it can't hold."""
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= NUMBER_DIGITS_MAX:
        return text
    found = _NUMBER.fullmatch(text)
    digits = (found.group(1) + (found.group(2) or "")) if found else ""
    if found is None or not digits:
        raise invalid(f"The parameter cannot be converted to a numeric value: {text}")
    significant = digits.lstrip("0")
    exponent = len(significant) - len(found.group(2) or "") + int(found.group(3) or 0) - 1
    if not significant:
        return "0"
    if exponent > NUMBER_EXPONENT_MAX:
        raise invalid(
            "Number overflow. Attempting to store a number with magnitude larger than "
            "supported range"
        )
    if exponent < NUMBER_EXPONENT_MIN:
        raise invalid(
            "Number underflow. Attempting to store a number with magnitude smaller than "
            "supported range"
        )
    if len(significant.rstrip("0")) > NUMBER_DIGITS_MAX:
        raise invalid("Attempting to store more than 38 significant digits in a Number")
    return canonical_number(text)


@lru_cache(NUMBERS_CACHED)
def _measured(text: str) -> tuple[str, int]:
    """Return a number as the service stores it, and its size. Raises RefusedError."""
    stored = number(text)
    # About one byte per two significant digits, one more, one for a minus sign.
    digits = stored.lstrip("-").replace(".", "").strip("0")
    return stored, (len(digits) + 1) // 2 + 1 + (stored[0] == "-")


def binary(text: str) -> tuple[str, int]:
    """Return base64 text in its one spelling, and how many bytes it stands for."""
    try:
        plain = a2b_base64(text, strict_mode=True) if text else b""
    except (BinaryError, ValueError):
        raise malformed("Binary is not valid base64") from None
    return b64encode(plain).decode(), len(plain)


def item_bytes(item: Wire) -> int:
    """Return the size of an item that is stored, as the service counts it."""
    return checked(item)[1]
