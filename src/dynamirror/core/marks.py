"""Our marks: the sequence mark of guards ``item`` and ``ledger``, and how to take ours off items.

A mark is one string, ``<epoch, 10 digits>#<sequence number, 40 digits>``, so that DynamoDB's
bytewise comparison of strings orders it. A sequence number does not fit DynamoDB's number (38
digits of precision) and means something only within one stream; the epoch counts the streams a
table has had, so that a re-created stream outranks the one before.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from dynamirror.core.values import Image, Wire, encode, opened
from dynamirror.errors import UnfitError

STAMP_ATTRIBUTE = "_mirror"
SEQUENCE_ATTRIBUTE = "_mirror_seq"

_MARK = re.compile(r"\d{10}#\d{40}")


def mark(epoch: int, sequence_number: int) -> str:
    """Return the mark of a change: ``0000000001#0000...0042``."""
    return f"{epoch:010d}#{sequence_number:040d}"


def marked(image: Image, attribute: str, text: str) -> Image:
    """Return the image with a mark in one attribute, unparsed if it came so.

    Raises UnfitError if the item has an attribute of that name that is no mark of ours.
    """
    image = stripped(image, (attribute,))
    if not isinstance(image, dict):
        body = bytes(image)
        if not _may_name(body, (attribute,)):
            head = b'{%b:{"S":"%b"}' % (encode(attribute), text.encode())
            return msgspec.Raw(b"%b,%b" % (head, body[1:]))
        image = opened(image)
    if attribute in image:
        raise UnfitError(
            f"the item has an attribute {attribute!r} that is not ours: "
            "give the mirror another sequence_attribute"
        )
    return {**image, attribute: {"S": text}}


def stripped(image: Image, attributes: tuple[str, ...]) -> Image:
    """Return the image without those of the named attributes that hold a mark or stamp of ours.

    An image in which none of the names occurs is not even parsed.
    """
    if isinstance(image, dict):
        for name in attributes:  # a loop, for most images have none
            if name in image:
                break
        else:
            return image
    elif not _may_name(bytes(image), attributes):
        return image
    item = opened(image)
    ours = [name for name in attributes if name in item and is_ours(item[name])]
    return {name: value for name, value in item.items() if name not in ours} if ours else image


def _may_name(body: bytes, attributes: tuple[str, ...]) -> bool:
    """Tell whether one of the names can occur in JSON, however that spells it."""
    for spelling in _spellings(attributes):  # noqa: SIM110 - a generator costs as much as a search
        if spelling in body:
            return True
    return False


@lru_cache(maxsize=64)
def _spellings(attributes: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return what betrays that a name may be there: the name, or escapes that could hide it."""
    escaped = (b"\\u", b"\\/") if any("/" in name for name in attributes) else (b"\\u",)
    return (*map(encode, attributes), *escaped)


def is_ours(value: Wire) -> bool:
    """Tell whether a typed value is a mark or a stamp, by its shape."""
    if "S" in value:
        return _MARK.fullmatch(value["S"]) is not None
    return "M" in value and {"version", "origin"} <= value["M"].keys()
