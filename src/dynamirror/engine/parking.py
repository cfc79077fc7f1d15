"""Changes that can't be applied, kept whole in a table beside the source until they are redriven.

While a key has a parked change, its later changes are parked behind it. A parked row is the hold:
whoever finds none any more may apply again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from dynamirror.core.marks import mark
from dynamirror.core.record import StreamRecord
from dynamirror.core.rows import plain, row
from dynamirror.core.values import Key, Wire, decode, encode, key_of, row_key
from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import ServiceError
from dynamirror.ports import Clock, DynamoDB

PARKED_DAYS = 90
"""How long a parked change waits for somebody to look at it."""

PART_BYTES = 300_000
"""Image text per row: a change of a 400 KB item has up to 800 KB of images, a row takes 400 KB."""


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
        self._held: set[tuple[str, Key]] = set()

    async def load(self) -> None:
        """Learn which keys are parked; needed before the first change is applied."""
        self._held = {(entry["target"], key_of(entry["keys"])) async for entry in self.rows()}

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
        request = {
            "KeyConditionExpression": "#k = :k",
            "ExpressionAttributeNames": {"#k": "k"},
            "ExpressionAttributeValues": {":k": {"S": row_key(self._mirror, key)}},
        }
        async for entry in self._pages("Query", request):
            yield entry

    async def release(self, row_of_ours: dict[str, Any]) -> None:
        """Delete one row."""
        key = {"k": {"S": row_of_ours["k"]}, "seq": {"S": row_of_ours["seq"]}}
        await self._call("DeleteItem", {"TableName": self._table, "Key": key})

    def _entries(
        self, record: StreamRecord, target: str, error: Exception | None
    ) -> Iterator[Wire]:
        # As JSON text: an image that no table takes (too deep, too large) still fits. The row
        # that names the change is written last, so that it never stands for missing parts.
        images = encode({"new": record.new_image, "old": record.old_image}).decode()
        parts = [images[at : at + PART_BYTES] for at in range(0, len(images), PART_BYTES)]
        key = row_key(self._mirror, record.key)
        change = f"{mark(self._epoch, record.sequence_number)}#{target}"
        common = {
            "k": key,
            "mirror": self._mirror,
            "expires_at": self._clock() // 1_000 + PARKED_DAYS * 86_400,
        }
        for number, part in reversed(list(enumerate(parts))[1:]):
            yield row(**common, seq=f"{change}#{number:02d}", images=part)
        yield row(
            **common,
            seq=f"{change}#00",
            parts=len(parts),
            images=parts[0],
            target=target,
            event_name=record.event_name,
            keys=record.keys,
            sequence_number=str(record.sequence_number),
            created_at=int(record.created_at),
            code=error.code if isinstance(error, ServiceError) else type(error).__name__,
            error="waits behind a parked change of its key" if error is None else str(error),
            parked_at=self._clock(),
        )

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
