"""One item before and after: as its source has it, and as each target is to have it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dynamirror.core.values import Wire, encode, opened
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.writing.links import Links
from dynamirror.errors import RefusedError, UnfitError
from dynamirror.ports import DynamoDB


class After(msgspec.Struct, frozen=True):
    """An item as one target is to have it."""

    name: str
    """The target's short name."""
    image: Wire | None
    """None: it is out of view, or, with an error, can't be there."""
    error: str | None = None


class Shown(msgspec.Struct, frozen=True):
    """An item before and after."""

    image: Wire | None
    """As the source has it, in wire form; None: it has no such item."""
    targets: Sequence[After] = ()


async def shown_of(links: Links, source: DynamoDB, keys: Wire, backoff: Backoff) -> Shown:
    """Read an item, strongly consistent, and look at it through every target's view.

    Raises UnfitError for keys that aren't the table's.
    """
    request = encode({"TableName": links.mirror.source.table, "Key": keys, "ConsistentRead": True})
    try:
        answer = await persist(lambda: source.call("GetItem", request), backoff)
    except RefusedError as error:
        raise UnfitError(
            f"{links.mirror.source.table} has no such keys: {error.message}"
        ) from error
    image = _decode(answer).Item
    if image is None:
        return Shown(None)
    return Shown(image, [_after(links, place.name, keys, image) for place in links.mirror.targets])


def _after(links: Links, name: str, keys: Wire, image: Wire) -> After:
    view = links.views.get(name)
    if view is None:
        return After(name, image)
    try:
        seen = view.lens(keys).see(keys, image)
    except UnfitError as error:
        return After(name, None, str(error))
    return After(name, None if seen is None else opened(seen.image))


class _Answer(msgspec.Struct):
    Item: Wire | None = None


_decode = msgspec.json.Decoder(_Answer).decode
