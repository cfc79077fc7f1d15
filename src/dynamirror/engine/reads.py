"""Reading whole tables and picked items, strongly consistent, items left unparsed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from dynamirror.core.limits import BATCH_GET_KEYS_MAX
from dynamirror.core.values import Key, Wire, decode, encode, key_of
from dynamirror.engine.retry import Backoff, persist
from dynamirror.ports import DynamoDB


class Item(msgspec.Struct, frozen=True, gc=False):
    """One item of a table, and its key."""

    key: Key
    keys: Wire
    """The key attributes in wire form."""
    image: msgspec.Raw


class Reads:
    """Reads one table. ``names`` are its key attributes."""

    def __init__(self, api: DynamoDB, table: str, names: Sequence[str], backoff: Backoff) -> None:
        self._api = api
        self._table = table
        self._names = tuple(names)
        self._backoff = backoff

    async def scan(
        self, segment: int, segments: int, *, keys_only: bool = False
    ) -> AsyncIterator[list[Item]]:
        """Yield one segment of the table, a page of at most 1 MB at a time."""
        request: Wire = {
            "TableName": self._table,
            "ConsistentRead": True,
            "Segment": segment,
            "TotalSegments": segments,
        }
        if keys_only:
            request |= self._keys_only()
        while True:
            answer = _decode_scan(await self._call("Scan", request))
            if answer.Items:
                yield [self._item(raw) for raw in answer.Items]
            if answer.LastEvaluatedKey is None:
                return
            request["ExclusiveStartKey"] = answer.LastEvaluatedKey

    async def get(self, keys: Sequence[Wire], *, keys_only: bool = False) -> dict[Key, Item]:
        """Return those of the named items that are there."""
        chunks = [
            keys[at : at + BATCH_GET_KEYS_MAX] for at in range(0, len(keys), BATCH_GET_KEYS_MAX)
        ]
        found = await asyncio.gather(*(self._get(chunk, keys_only=keys_only) for chunk in chunks))
        return {item.key: item for items in found for item in items}

    async def _get(self, keys: Sequence[Wire], *, keys_only: bool) -> list[Item]:
        found: list[Item] = []
        options = {"ConsistentRead": True, **(self._keys_only() if keys_only else {})}
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
        attributes = _decode_item(raw)
        keys = {name: decode(attributes[name]) for name in self._names}
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
_decode_item = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
