"""Reading whole tables and picked items, left unparsed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from msgspec.structs import astuple

from dynamirror.config.model import Place
from dynamirror.core.limits import BATCH_GET_KEYS_MAX
from dynamirror.core.servers import habits_of
from dynamirror.core.values import Key, Wire, encode, key_of
from dynamirror.engine.retry import Backoff, persist
from dynamirror.ports import DynamoDB


class Item(msgspec.Struct, frozen=True, gc=False):
    """One item of a table, and its key."""

    key: Key
    keys: Wire
    """The key attributes in wire form; empty of one that can't have a key at the target."""
    image: msgspec.Raw
    origin: Wire | None = None
    """Of an item of a source, seen as a target is to have it: its keys at the source."""
    unfit: str | None = None
    """Of such an item: why the target can't have it, where that is so."""


class Page(msgspec.Struct, frozen=True, gc=False):
    """One page of a scan."""

    items: list[Item]
    last: Wire | None
    """The key from which the next page goes on; None: there is none."""


class Reads:
    """Reads the table of a place. ``names`` are its key attributes."""

    def __init__(self, api: DynamoDB, place: Place, names: Sequence[str], backoff: Backoff) -> None:
        self._api = api
        self._table = place.table
        self._in_segments = habits_of(place.server).scans_by_segment
        self._names = tuple(names)
        self._backoff = backoff
        # Of an item's JSON only the key attributes are looked at; all are one text each.
        fields = [(f"k{place}", dict[str, str]) for place in range(len(self._names))]
        renamed = {f"k{place}": name for place, name in enumerate(self._names)}
        shape = msgspec.defstruct("_Keys", fields, rename=renamed)
        self._decode_keys = msgspec.json.Decoder(shape).decode

    async def scan(
        self, segment: int, segments: int, *, keys_only: bool = False, consistent: bool = True
    ) -> AsyncGenerator[list[Item], None]:
        """Yield one segment of the table, a page of at most 1 MB at a time, none of them empty."""
        pages = self.pages(segment, segments, keys_only=keys_only, consistent=consistent)
        async with aclosing(pages):
            async for page in pages:
                if page.items:
                    yield page.items

    async def pages(
        self,
        segment: int,
        segments: int,
        *,
        keys_only: bool = False,
        consistent: bool = True,
        after: Wire | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Yield the pages of one segment, from its start or from after a page's last key.

        Where segments mean nothing to the server, the first is the table and the others are empty.
        """
        if segment and not self._in_segments:
            return
        request: Wire = {"TableName": self._table, "ConsistentRead": consistent}
        if segments > 1:
            # The one segment of one is the table; a server may hash every item to find that out.
            request |= {"Segment": segment, "TotalSegments": segments}
        if keys_only:
            request |= self._keys_only()
        if after is not None:
            request["ExclusiveStartKey"] = after
        while True:
            answer = _decode_scan(await self._call("Scan", request))
            yield Page([self._item(raw) for raw in answer.Items], answer.LastEvaluatedKey)
            if answer.LastEvaluatedKey is None:
                return
            request["ExclusiveStartKey"] = answer.LastEvaluatedKey

    async def get(
        self, keys: Sequence[Wire], *, keys_only: bool = False, consistent: bool = True
    ) -> dict[Key, Item]:
        """Return those of the named items that are there."""
        chunks = [
            keys[at : at + BATCH_GET_KEYS_MAX] for at in range(0, len(keys), BATCH_GET_KEYS_MAX)
        ]
        options: Wire = {"ConsistentRead": consistent, **(self._keys_only() if keys_only else {})}
        found = await asyncio.gather(*(self._get(chunk, options) for chunk in chunks))
        return {item.key: item for items in found for item in items}

    async def _get(self, keys: Sequence[Wire], options: Wire) -> list[Item]:
        found: list[Item] = []
        attempt = 0
        while keys:
            request = {"RequestItems": {self._table: {"Keys": keys, **options}}}
            answer = _decode_get(await self._call("BatchGetItem", request))
            found.extend(self._item(raw) for raws in answer.Responses.values() for raw in raws)
            left = len(keys)
            keys = [key for more in answer.UnprocessedKeys.values() for key in more.Keys]
            attempt = attempt + 1 if len(keys) == left else 0
            if keys:
                await self._backoff.wait(attempt)
        return found

    def _keys_only(self) -> Wire:
        names = {f"#k{place}": name for place, name in enumerate(self._names)}
        return {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}

    def _item(self, raw: msgspec.Raw) -> Item:
        keys: Wire = dict(zip(self._names, astuple(self._decode_keys(raw)), strict=True))
        return Item(key_of(keys), keys, raw)

    async def _call(self, operation: str, request: Wire) -> bytes:
        body = encode(request)
        return await persist(lambda: self._api.call(operation, body), self._backoff)


class _Scan(msgspec.Struct):
    Items: list[msgspec.Raw] = []
    LastEvaluatedKey: Wire | None = None


class _Unprocessed(msgspec.Struct):
    Keys: list[Wire]


class _Get(msgspec.Struct):
    Responses: dict[str, list[msgspec.Raw]] = {}
    UnprocessedKeys: dict[str, _Unprocessed] = {}


_decode_scan = msgspec.json.Decoder(_Scan).decode
_decode_get = msgspec.json.Decoder(_Get).decode
