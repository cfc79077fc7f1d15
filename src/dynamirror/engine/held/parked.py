"""The parked table's rows: how they are spelled, written, found and taken away.

Rows of a change: ``<mark>#<target>#00`` names it, and holds its images where they fit; else
``#01`` and so on hold them. The table's partition ``<mirror>#`` lists the keys that may have any,
so that nobody need read them all to learn that.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from dynamirror.core.limits import BATCH_WRITE_ITEMS_MAX
from dynamirror.core.marks import mark
from dynamirror.core.record import StreamRecord
from dynamirror.core.rows import plain, row
from dynamirror.core.values import Key, Wire, decode, encode, key_of, row_key
from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import ConditionFailedError, NotFoundError
from dynamirror.ports import Clock, DynamoDB

PARKED_DAYS = 90
"""How long a parked change waits for somebody to look at it."""

PART_BYTES = 300_000
"""UTF-8 of images per row: those of a 400 KB item's change have 800 KB or more, a row takes 400."""


class Listed(msgspec.Struct, frozen=True):
    """A key that may have parked changes."""

    target: str
    """The target's short name."""
    keys: Wire
    shelved: bool
    """Whether it waits for nothing but the target."""
    parked_at: int
    """When a change of it was parked last, milliseconds since the epoch."""


class Parked:
    """The parked table of one mirror."""

    def __init__(
        self,
        api: DynamoDB,
        table: str,
        mirror: str,
        epoch: int,
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        self._api = api
        self._table = table
        self._mirror = mirror
        self._epoch = epoch
        self._clock = clock
        self._backoff = backoff

    async def listed(self) -> AsyncIterator[Listed]:
        """Yield the keys that have parked changes; or had, a moment ago."""
        async for entry in self._query(self._list):
            yield Listed(
                entry["target"],
                entry["keys"],
                "shelved" in entry,
                int(entry["listing"].rpartition("#")[2]),
            )

    async def rows(self) -> AsyncIterator[dict[str, Any]]:
        """Yield every parked change of the mirror, without its images."""
        async for listed in self.listed():
            async for entry in self.rows_of(key_of(listed.keys)):
                if entry.get("target") == listed.target:
                    entry.pop("images", None)
                    yield entry

    async def count(self) -> int:
        """Return how many keys have parked changes; before `init` made the table, none."""
        try:
            return len({key_of(listed.keys) async for listed in self.listed()})
        except NotFoundError:
            return 0

    async def rows_of(self, key: Key) -> AsyncIterator[dict[str, Any]]:
        """Yield all rows of one key, oldest change first."""
        async for entry in self._query(row_key(self._mirror, key)):
            yield entry

    async def listing(self, target: str, key: Key) -> str | None:
        """Return what tells one listing of a key from the next; None: it isn't listed."""
        body = {"TableName": self._table, "Key": self._listed(target, key), "ConsistentRead": True}
        answer = decode(await self._call("GetItem", body))
        text: str | None = plain(answer["Item"])["listing"] if answer.get("Item") else None
        return text

    async def unshelve(self, target: str, keys: Wire) -> None:
        """Note in the list that a key waits for more than its target."""
        update = {
            "TableName": self._table,
            "Key": self._listed(target, key_of(keys)),
            "UpdateExpression": "REMOVE #s",
            "ConditionExpression": "attribute_exists(#s)",
            "ExpressionAttributeNames": {"#s": "shelved"},
        }
        with contextlib.suppress(ConditionFailedError):
            await self._call("UpdateItem", update)

    @property
    def _list(self) -> str:
        """The partition that lists which keys may have parked changes."""
        return f"{self._mirror}#"

    def _entries(
        self, record: StreamRecord, target: str, code: str, error: str, *, shelved: bool
    ) -> Iterator[Wire]:
        """Yield a change's rows: parts of its images, what names it, and last its key's in the
        list.
        """
        # As JSON text: an image that no table takes (too deep, too large) still fits. The row
        # that names the change is written after them, so that it never stands for missing parts.
        parts = list(_parts(encode({"new": record.new_image, "old": record.old_image})))
        key = row_key(self._mirror, record.key)
        change = f"{mark(self._epoch, record.sequence_number)}#{target}"
        now_ms = self._clock()
        expires_at = now_ms // 1_000 + PARKED_DAYS * 86_400
        common = {"mirror": self._mirror, "expires_at": expires_at}
        if len(parts) > 1:
            for number, part in enumerate(parts, 1):
                yield row(**common, k=key, seq=f"{change}#{number:02d}", images=part)
        yield row(
            **common,
            k=key,
            seq=f"{change}#00",
            parts=len(parts),
            images=parts[0] if len(parts) == 1 else None,
            target=target,
            event_name=record.event_name,
            keys=record.keys,
            sequence_number=str(record.sequence_number),
            created_at=int(record.created_at),
            by_ttl=record.by_ttl or None,
            code=code,
            error=error,
            parked_at=now_ms,
        )
        listed = row(
            **common,
            target=target,
            keys=record.keys,
            listing=f"{change}#{now_ms}",
            shelved=shelved or None,
        )
        yield {**listed, **self._listed(target, record.key)}

    def _listed(self, target: str, key: Key) -> Wire:
        """Return the key of a key's row in the list; a sort key takes but half of a row key."""
        digest = hashlib.sha256(row_key(self._mirror, key).encode()).hexdigest()
        return {"k": {"S": self._list}, "seq": {"S": f"{digest}#{target}"}}

    async def _put(self, entries: Sequence[Wire]) -> None:
        await self._write([{"PutRequest": {"Item": entry}} for entry in entries])

    async def _write(self, requests: Sequence[Wire]) -> None:
        """Put and delete rows, many to a request, until all are."""
        for at in range(0, len(requests), BATCH_WRITE_ITEMS_MAX):
            left, attempt = list(requests[at : at + BATCH_WRITE_ITEMS_MAX]), 0
            while left:
                body = {"RequestItems": {self._table: left}}
                answer = decode(await self._call("BatchWriteItem", body))
                left = [one for each in answer["UnprocessedItems"].values() for one in each]
                if left:
                    attempt += 1
                    await self._backoff.wait(attempt)

    async def _delete(self, key: Wire, **condition: Any) -> None:
        await self._call("DeleteItem", {"TableName": self._table, "Key": key, **condition})

    async def _query(self, k: str) -> AsyncIterator[dict[str, Any]]:
        request = {
            "KeyConditionExpression": "#k = :k",
            "ExpressionAttributeNames": {"#k": "k"},
            "ExpressionAttributeValues": {":k": {"S": k}},
        }
        async for entry in self._pages("Query", request):
            yield entry

    async def _pages(self, operation: str, request: Wire) -> AsyncIterator[dict[str, Any]]:
        request = {"TableName": self._table, "ConsistentRead": True, **request}
        while True:
            answer = decode(await self._call(operation, request))
            for wire in answer.get("Items", ()):
                yield plain(wire)
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _call(self, operation: str, request: Wire) -> bytes:
        body = encode(request)
        return await persist(lambda: self._api.call(operation, body), self._backoff)


def target_of(row_of_ours: dict[str, Any]) -> str:
    """Return the short name of the target for which a row's change is parked."""
    target: str = row_of_ours["seq"].rpartition("#")[0].split("#", 2)[2]
    return target


def images_of(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[Wire | None, Wire | None]]:
    """Yield the old and the new image of each of a key's parked changes; ``rows`` come oldest
    first.
    """
    for _, some in groupby(rows, lambda row: row["seq"].rpartition("#")[0]):
        text = "".join(row.get("images", "") for row in some)
        if text:
            images = decode(text.encode())
            yield images["old"], images["new"]


def _parts(text: bytes) -> Iterator[str]:
    """Cut UTF-8 text between characters."""
    at = 0
    while at < len(text):
        end = at + PART_BYTES
        while end < len(text) and text[end] & 0xC0 == 0x80:  # noqa: PLR2004 - goes on a character
            end -= 1
        yield text[at:end].decode()
        at = end
