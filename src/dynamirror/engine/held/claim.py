"""At most one process redrives a mirror's parked keys: it has a claim, a row by the checkpoints.

Two at once could bring an older image after a newer one: the first reads an item, the second reads
a newer one, applies it and releases the key, and then the first's arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

from dynamirror.core.rows import plain
from dynamirror.core.values import Wire, decode
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.lease import RENEW_S, Lease
from dynamirror.errors import ConditionFailedError, HeldError, ServiceError
from dynamirror.ports import Clock

REDRIVE_ROW = "#redrive"

CLAIM_S = 60.0
"""One that hasn't renewed for so long has died; another may redrive."""

LANDING_MS = 25_000
"""We write nothing more so long before our claim could end: a request has 10 s to be answered, one
that is sent in parts more, and clocks differ a little."""

LEAVE_S = 5.0
"""How long we try to give a claim back; one that we can't ends by itself."""


class Claim:
    """``async with claim:`` nobody else redrives the mirror within it, as long as it ``holds``."""

    def __init__(self, checkpoints: Checkpoints, lease: Lease, clock: Clock) -> None:
        """``lease``: of this process; it knows its name, and whose owner has surely ended."""
        self._checkpoints = checkpoints
        self._lease = lease
        self._clock = clock
        self._until_ms = 0
        self._keeping: asyncio.Task[None] | None = None

    def require(self) -> None:
        """Raise HeldError if another may have the claim by the time a request of now lands."""
        if self._clock() > self._until_ms - LANDING_MS:
            raise HeldError(f"{self._what}: this process was stopped or cut off for too long")

    async def __aenter__(self) -> Self:
        held = await self._row()
        if not self._lease.is_free(held):
            owner = held["owner"] if held else "another process"
            raise HeldError(f"{self._what}: {owner} does so already")
        condition: Wire = {
            "ConditionExpression": "attribute_not_exists(#o)",
            "ExpressionAttributeNames": {"#o": "owner"},
        }
        if held is not None:
            condition = _is_of(held["owner"])
            condition["ConditionExpression"] += " AND #u = :u"
            condition["ExpressionAttributeNames"]["#u"] = "until_ms"
            condition["ExpressionAttributeValues"][":u"] = {"N": str(held["until_ms"])}
        await self._take(condition)
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if error is None:  # else what we gave up may still land: the claim ends by itself
            with contextlib.suppress(TimeoutError, ServiceError):
                async with asyncio.timeout(LEAVE_S):
                    condition = _is_of(self._lease.owner)
                    await self._checkpoints.delete(REDRIVE_ROW, condition=condition)

    @property
    def _what(self) -> str:
        return f"the parked keys of {self._checkpoints.link} can't be redriven"

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            self.require()  # one that may have ended is over for good
            await self._take(_is_of(self._lease.owner))

    async def _take(self, condition: Wire) -> None:
        owner, until_ms = self._lease.owner, self._clock() + int(CLAIM_S * 1_000)
        try:
            await self._checkpoints.put(
                REDRIVE_ROW, condition=condition, owner=owner, until_ms=until_ms
            )
        except ConditionFailedError:
            held = await self._row()
            # Ours, if a request was made although its answer was lost.
            if held is None or held["owner"] != owner:
                raise HeldError(f"{self._what}: another process does so already") from None
        self._until_ms = until_ms

    async def _row(self) -> dict[str, Any] | None:
        key = {"link": {"S": self._checkpoints.link}, "shard": {"S": REDRIVE_ROW}}
        request = {"TableName": self._checkpoints.table, "Key": key, "ConsistentRead": True}
        item = decode(await self._checkpoints.call("GetItem", request)).get("Item")
        return plain(item) if item else None


def _is_of(owner: str) -> Wire:
    return {
        "ConditionExpression": "#o = :o",
        "ExpressionAttributeNames": {"#o": "owner"},
        "ExpressionAttributeValues": {":o": {"S": owner}},
    }
