"""Changes that can't be applied, kept whole in a table beside the source until they are redriven.

While a key has a parked change, its later changes are parked behind it. A parked row is the hold:
whoever finds none any more may apply again.

Rows of a change: ``<mark>#<target>#00`` names it, ``#01`` and so on hold its images. The table's
partition ``<mirror>#`` lists the keys that may have any, so that a function need not read them all
to learn that. A key is listed before a change counts as parked, and unlisted after its last row is
gone; one that is listed in vain costs a question.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from dynamirror.core.marks import mark
from dynamirror.core.record import StreamRecord
from dynamirror.core.rows import plain, row
from dynamirror.core.values import Key, Wire, decode, encode, key_of, row_key
from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import ConditionFailedError, DynamirrorError, ServiceError
from dynamirror.ports import Clock, DynamoDB

PARKED_DAYS = 90
"""How long a parked change waits for somebody to look at it."""

PART_BYTES = 300_000
"""UTF-8 of images per row: those of a 400 KB item's change have 800 KB or more, a row takes 400."""

OnLeft = Callable[[StreamRecord, str, DynamirrorError], None]
"""Told of a copied item, the target's short name, and why it can't be there."""


class Parking:
    """The parked changes of one mirror."""

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
        self.parked = 0
        """Changes parked since."""
        self._held: set[tuple[str, Key]] = set()

    async def load(self) -> None:
        """Learn which keys are parked; needed before the first change is applied."""
        self._held = {
            (entry["target"], key_of(entry["keys"])) async for entry in self._query(self._list)
        }

    def holds(self, target: str, key: Key) -> bool:
        """Tell whether changes of a key are parked for a target, as far as we know."""
        return (target, key) in self._held

    @property
    def held(self) -> int:
        """How many keys are parked, as far as we know; a key counts once for each target."""
        return len(self._held)

    async def released(self, target: str, key: Key) -> bool:
        """Tell, from the table itself, whether a key's changes may be applied there again."""
        async for entry in self.rows_of(key):
            if entry.get("target") == target:
                return False
        self._held.discard((target, key))
        return True

    async def park(self, record: StreamRecord, target: str, error: Exception | None) -> None:
        """Keep a change whole; ``error`` is None for one that waits behind another."""
        self.parked += 1
        self._held.add((target, record.key))
        for entry in self._entries(record, target, error):
            await self._call("PutItem", {"TableName": self._table, "Item": entry})

    async def rows(self) -> AsyncIterator[dict[str, Any]]:
        """Yield every parked change of the mirror, without its images."""
        request = {
            "FilterExpression": "#m = :m AND attribute_exists(#c)",
            "ExpressionAttributeNames": {"#m": "mirror", "#c": "code"},
            "ExpressionAttributeValues": {":m": {"S": self._mirror}},
        }
        async for entry in self._pages("Scan", request):
            entry.pop("images", None)
            yield entry

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

    async def release(
        self, target: str, key: Key, rows: Sequence[dict[str, Any]], listing: str | None
    ) -> None:
        """Delete rows of one key and target, and unlist it unless it was listed again since.

        ``rows`` are all there were, read after ``listing`` was.
        """
        for entry in rows:
            await self._delete({"k": {"S": entry["k"]}, "seq": {"S": entry["seq"]}})
        if listing is None:
            return
        condition = {
            "ConditionExpression": "#l = :l",
            "ExpressionAttributeNames": {"#l": "listing"},
            "ExpressionAttributeValues": {":l": {"S": listing}},
        }
        with contextlib.suppress(ConditionFailedError):
            await self._delete(self._listed(target, key), **condition)

    @property
    def _list(self) -> str:
        """The partition that lists which keys may have parked changes."""
        return f"{self._mirror}#"

    def _entries(
        self, record: StreamRecord, target: str, error: Exception | None
    ) -> Iterator[Wire]:
        # As JSON text: an image that no table takes (too deep, too large) still fits. The row
        # that names the change is written last, so that it never stands for missing parts.
        parts = list(_parts(encode({"new": record.new_image, "old": record.old_image})))
        key = row_key(self._mirror, record.key)
        change = f"{mark(self._epoch, record.sequence_number)}#{target}"
        now_ms = self._clock()
        expires_at = now_ms // 1_000 + PARKED_DAYS * 86_400
        common = {"mirror": self._mirror, "expires_at": expires_at}
        for number, part in enumerate(parts, 1):
            yield row(**common, k=key, seq=f"{change}#{number:02d}", images=part)
        yield row(
            **common,
            k=key,
            seq=f"{change}#00",
            parts=len(parts),
            target=target,
            event_name=record.event_name,
            keys=record.keys,
            sequence_number=str(record.sequence_number),
            created_at=int(record.created_at),
            code=error.code if isinstance(error, ServiceError) else type(error).__name__,
            error="waits behind a parked change of its key" if error is None else str(error),
            parked_at=now_ms,
        )
        listed = row(**common, target=target, keys=record.keys, listing=f"{change}#{now_ms}")
        yield {**listed, **self._listed(target, record.key)}

    def _listed(self, target: str, key: Key) -> Wire:
        """Return the key of a key's row in the list; a sort key takes but half of a row key."""
        digest = hashlib.sha256(row_key(self._mirror, key).encode()).hexdigest()
        return {"k": {"S": self._list}, "seq": {"S": f"{digest}#{target}"}}

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


class LeftOut(Parking):
    """In the place of parking where items are copied: nothing waits behind one that can't be."""

    def __init__(self, on_left: OnLeft) -> None:
        self._on_left = on_left

    def holds(self, target: str, key: Key) -> bool:
        """Tell that every item may be copied: redriving a parked key comes to the same."""
        del target, key
        return False

    async def park(self, record: StreamRecord, target: str, error: Exception | None) -> None:
        """Tell of an item that can't be copied, and go on without it."""
        if isinstance(error, DynamirrorError):
            self._on_left(record, target, error)


def target_of(row_of_ours: dict[str, Any]) -> str:
    """Return the short name of the target for which a row's change is parked."""
    target: str = row_of_ours["seq"].rpartition("#")[0].split("#", 2)[2]
    return target


def _parts(text: bytes) -> Iterator[str]:
    """Cut UTF-8 text between characters."""
    at = 0
    while at < len(text):
        end = at + PART_BYTES
        while end < len(text) and text[end] & 0xC0 == 0x80:  # noqa: PLR2004 - goes on a character
            end -= 1
        yield text[at:end].decode()
        at = end
