"""Bring parked keys up to date: not by their stale images, but by what the source holds now.

The rows of a key hold back its changes, so nothing else is written to it meanwhile. The source's
present item is applied with the mark of the key's newest parked change, and the rows are deleted;
if a change was parked meanwhile, the same again. Afterwards the stream's changes pass.
One process at a time does so, and looks before each write whether it still is the one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dynamirror.config.model import Deletes
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key, Wire, encode, key_of
from dynamirror.engine.checkpoints import Checkpoints
from dynamirror.engine.claim import Claim
from dynamirror.engine.lease import Lease
from dynamirror.engine.links import Links
from dynamirror.engine.parking import target_of
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.targets import Target
from dynamirror.errors import DynamirrorError, RefusedError, UnfitError
from dynamirror.ports import Clock, DynamoDB

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

    def __init__(
        self,
        links: Links,
        source: DynamoDB,
        checkpoints: Checkpoints,
        lease: Lease,
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        """``lease``: of this process, which need not have it."""
        self._links = links
        self._source = source
        self._claim = Claim(checkpoints, lease, clock)
        self._backoff = backoff
        self._parking = links.parking_of(epoch=1)
        self._changes = 0

    async def run(
        self,
        on_key: Callable[[Redriven], None],
        on_left: Callable[[Wire, DynamirrorError], None] = lambda _keys, _error: None,
    ) -> Redriven:
        """Redrive every parked key; ``on_left`` is told of each that still can't be applied.

        Raises HeldError while another process redrives this mirror.
        """
        async with self._claim:
            keys: dict[Key, tuple[Wire, set[str]]] = {}
            async for row in self._parking.rows():
                _, targets = keys.setdefault(key_of(row["keys"]), (row["keys"], set()))
                targets.add(row["target"])
            done = left = 0
            for key, (wire, targets) in keys.items():
                ends = [await self._redrive(key, wire, name, on_left) for name in sorted(targets)]
                done, left = done + all(ends), left + (not all(ends))
                on_key(Redriven(done, self._changes, left))
            return Redriven(done, self._changes, left)

    async def _redrive(
        self, key: Key, keys: Wire, name: str, on_left: Callable[[Wire, DynamirrorError], None]
    ) -> bool:
        """Redrive a key at one target; return whether it is released."""
        try:
            for _ in range(ROUNDS_MAX):
                listing = await self._parking.listing(name, key)
                rows = [row async for row in self._parking.rows_of(key) if target_of(row) == name]
                changes = [row for row in rows if "target" in row]
                if changes:
                    await self._apply(key, keys, changes[-1])  # rows come oldest first
                self._claim.require()
                await self._parking.release(name, key, rows, listing)
                self._changes += len(changes)
                if not changes:
                    return True
        except (RefusedError, UnfitError) as error:
            on_left(keys, error)
            return False
        on_left(keys, UnfitError(f"it was parked again and again for {name}: try later"))
        return False

    async def _apply(self, key: Key, keys: Wire, newest: dict[str, Any]) -> None:
        """Apply the source's item with the mark of its newest parked change."""
        target = self._links.target(newest["target"], int(newest["seq"].partition("#")[0]))
        image = await self._image(keys)
        mirror = self._links.mirror
        all_deletes = (mirror.deletes, mirror.ttl_deletes) == (Deletes.MIRROR, Deletes.MIRROR)
        if image is None and not all_deletes and newest["event_name"] != "REMOVE":
            # Its delete is one that the mirror ignores, or is still to come from the stream.
            return
        number = int(newest["sequence_number"])
        await self._send(
            target, StreamRecord(number, "MODIFY", key, keys, image, None, 0.0, by_ttl=False)
        )

    async def _send(self, target: Target, record: StreamRecord) -> None:
        async def send() -> Sequence[StreamRecord]:
            self._claim.require()
            return await target.send([record])

        attempt = 0
        while await persist(send, self._backoff):
            attempt += 1
            await self._backoff.wait(attempt)

    async def _image(self, keys: Wire) -> msgspec.Raw | None:
        body = encode(
            {"TableName": self._links.mirror.source.table, "Key": keys, "ConsistentRead": True}
        )
        answer = await persist(lambda: self._source.call("GetItem", body), self._backoff)
        return _decode(answer).Item or None


class _Answer(msgspec.Struct):
    Item: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Answer).decode
