"""Items, keys and sequence numbers in their wire form, and when two of them are the same.

An *image* is an item as DynamoDB spells it in JSON: attribute name to typed value,
``{"id": {"S": "a"}, "n": {"N": "1"}}``, binary as base64 text. It is carried as it came: raw JSON
bytes where we read the wire ourselves, a dict where Lambda parsed it for us. Whoever must look
inside calls ``opened``; everyone else passes it on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import msgspec

Wire = dict[str, Any]
"""DynamoDB JSON, parsed."""

Image = msgspec.Raw | Wire
"""An item in wire form, parsed or not."""

Key = tuple[str, ...]
"""What tells an item from others of its table: (type, canonical text) per key attribute, flat,
in the order of the attributes' names. ``("S", "a")`` or ``("S", "a", "N", "1")``."""

SHOWN_MAX = 50
"""How much of a faulty value a message shows."""

ROW_KEY_BYTES_MAX = 2_048
"""A partition key's limit (Amazon DynamoDB Developer Guide, 'Constraints')."""

# Narrower than Decimal, which takes underscores, blanks, any script's digits, and exponents that
# would spell a number of gigabytes.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")

# Wide enough that nothing a server could send is ever rounded (DynamoDB keeps 38 digits).
_EXACT = Context(prec=1_000)

encode = msgspec.json.Encoder().encode
"""Anything made of wire forms and raw images, to JSON bytes."""

decode = msgspec.json.Decoder(Wire).decode
"""A JSON object's bytes, to a dict."""


def opened(image: Image) -> Wire:
    """Return the image parsed; treat it as read-only, for it may be the caller's own."""
    return image if isinstance(image, dict) else decode(image)


def raw(image: Image) -> bytes:
    """Return the image as JSON bytes, untouched where it already is."""
    return encode(image) if isinstance(image, dict) else bytes(image)


def canonical_number(text: str) -> str:
    """Return the one spelling of a number's value, plain decimal: ``10``, ``10.0`` and ``1E1`` all
    give ``10``.

    Raises ValueError for what is no number.
    """
    if text.isascii() and text.isdigit() and text[0] != "0":
        return text
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a number: {text[:SHOWN_MAX]!r}")
    number = Decimal(text)
    return format(number.normalize(_EXACT), "f") if number else "0"


def key_of(keys: Wire) -> Key:
    """Return the identity of an item, given its key attributes in wire form.

    Raises ValueError unless each is one value of type S, N or B.
    """
    if len(keys) == 1:
        (attribute,) = keys.values()
        return _key_part(attribute)
    if len(keys) != 2:  # noqa: PLR2004 - the most that a table's key schema takes
        raise ValueError(f"a key has one or two attributes, this has {len(keys)}")
    return tuple(part for name in sorted(keys) for part in _key_part(keys[name]))


def _key_part(attribute: Wire) -> tuple[str, str]:
    try:
        ((kind, text),) = attribute.items()
    except (AttributeError, ValueError):
        raise ValueError("a key attribute is one typed value, this is not") from None
    if kind not in ("S", "N", "B") or not isinstance(text, str):
        raise ValueError(f"a key attribute is of type S, N or B, not {str(kind)[:SHOWN_MAX]}")
    return kind, canonical_number(text) if kind == "N" else text


def row_key(mirror: str, key: Key) -> str:
    """Return the partition key of an item's rows in our own tables (ledger, parked, journal).

    ``stories#S:1:a``: the mirror, then type, length in bytes and text of each key part; numbers
    in canonical decimal, binary in base64. Over 2,048 bytes, the SHA-256 of that stands for it.
    """
    parts = (
        f"{kind}:{len(text.encode())}:{text}" for kind, text in zip(*[iter(key)] * 2, strict=True)
    )
    text = f"{mirror}#{''.join(parts)}"
    if len(text.encode()) <= ROW_KEY_BYTES_MAX:
        return text
    return f"{mirror}#SHA-256:{hashlib.sha256(text.encode()).hexdigest()}"


def keys_of_row(text: str, mirror: str, names: Sequence[str]) -> Wire | None:
    """Return the key attributes that ``row_key`` spelled, given their names; None for another
    mirror's, and where only a hash of them is left.
    """
    rest, parts = text.encode().removeprefix(f"{mirror}#".encode()), []
    if len(rest) == len(text.encode()):
        return None
    while rest:
        kind, _, rest = rest.partition(b":")
        length, _, rest = rest.partition(b":")
        if kind not in (b"S", b"N", b"B") or not length.isdigit():
            return None
        parts.append({kind.decode(): rest[: int(length)].decode()})
        rest = rest[int(length) :]
    return dict(zip(sorted(names), parts, strict=True)) if len(parts) == len(names) else None


def canonical(value: Any) -> Any:
    """Return a form, hashable and always spelled alike, that is equal for two typed values exactly
    if DynamoDB holds them equal: numbers by value, sets without order, maps without order of names.
    """
    ((kind, body),) = value.items()
    match kind:
        case "N":
            return kind, canonical_number(body)
        case "NS":
            return kind, tuple(sorted(set(map(canonical_number, body))))
        case "SS" | "BS":
            return kind, tuple(sorted(set(body)))
        case "L":
            return kind, tuple(map(canonical, body))
        case "M":
            return kind, tuple((name, canonical(body[name])) for name in sorted(body))
        case _:
            return kind, body


def same(left: Image, right: Image) -> bool:
    """Tell whether two images are the same item, whatever their spelling."""
    one, other = opened(left), opened(right)
    return one == other or (
        one.keys() == other.keys() and not any(_unlike(one[name], other[name]) for name in one)
    )


def differing(left: Image, right: Image) -> list[str]:
    """Return the names of the attributes in which two images differ, sorted."""
    one, other = opened(left), opened(right)
    if one == other:
        return []
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or _unlike(one[name], other[name])
    )


def _unlike(one: Wire, other: Wire) -> bool:
    return one != other and canonical(one) != canonical(other)
