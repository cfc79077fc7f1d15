"""Bring parked keys up to date: not by their stale images, but by what the source holds now.

The rows of a key hold back its changes, so nothing else is written to it meanwhile. The source's
present item is applied with the mark of the key's newest parked change, and the rows are deleted;
if a change was parked meanwhile, the same again. Afterwards the stream's changes pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key, Wire, encode, key_of
from dynamirror.engine.links import Links
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.targets import Target
from dynamirror.errors import DynamirrorError, RefusedError, UnfitError
from dynamirror.ports import DynamoDB

ROUNDS_MAX = 10
"""How often a key that is parked again meanwhile is tried before it is left for the next time."""


class Redriven(msgspec.Struct, frozen=True):
    """How far a redrive has come."""

    keys: int = 0
    """Keys applied and released."""
    changes: int = 0
    """Parked changes that they had."""
    left: int = 0
    """Keys that still can't be applied."""


class Redriver:
    """Redrives one mirror's parked keys."""

    def __init__(self, links: Links, source: DynamoDB, *, backoff: Backoff) -> None:
        self._links = links
        self._source = source
        self._backoff = backoff
        self._parking = links.parking_of(epoch=1)
        self._changes = 0

    async def run(
        self,
        on_key: Callable[[Redriven], None],
        on_left: Callable[[Wire, DynamirrorError], None] = lambda _keys, _error: None,
    ) -> Redriven:
        """Redrive every parked key; ``on_left`` is told of each that still can't be applied."""
        keys: dict[Key, Wire] = {
            key_of(row["keys"]): row["keys"] async for row in self._parking.rows()
        }
        done = left = 0
        for key, wire in keys.items():
            try:
                released = await self._redrive(key, wire)
            except (RefusedError, UnfitError) as error:
                on_left(wire, error)
                released = False
            done, left = done + released, left + (not released)
            on_key(Redriven(done, self._changes, left))
        return Redriven(done, self._changes, left)

    async def _redrive(self, key: Key, keys: Wire) -> bool:
        for _ in range(ROUNDS_MAX):
            rows = [row async for row in self._parking.rows_of(key)]
            if not rows:
                return True
            await self._apply(key, keys, [row for row in rows if "target" in row])
            await self._release(rows)
        return False

    async def _apply(self, key: Key, keys: Wire, changes: list[dict[str, Any]]) -> None:
        """Apply the source's item at every target that has a change of it parked."""
        newest = {change["target"]: change for change in changes}  # rows come oldest first
        image = await self._image(keys)
        for name, change in newest.items():
            target = self._links.target(name, int(change["seq"].partition("#")[0]))
            number = int(change["sequence_number"])
            await self._send(
                target, StreamRecord(number, "MODIFY", key, keys, image, None, 0.0, by_ttl=False)
            )

    async def _send(self, target: Target, record: StreamRecord) -> None:
        left = await persist(lambda: target.send([record]), self._backoff)
        attempt = 0
        while left:
            attempt += 1
            await self._backoff.wait(attempt)
            left = await persist(lambda: target.send([record]), self._backoff)

    async def _image(self, keys: Wire) -> msgspec.Raw | None:
        body = encode(
            {"TableName": self._links.mirror.source.table, "Key": keys, "ConsistentRead": True}
        )
        answer = await persist(lambda: self._source.call("GetItem", body), self._backoff)
        return _decode(answer).Item or None

    async def _release(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            await self._parking.release(row)
            self._changes += "target" in row


class _Answer(msgspec.Struct):
    Item: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Answer).decode
