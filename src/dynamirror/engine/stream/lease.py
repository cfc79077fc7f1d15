"""At most one process reads a link's stream: it holds a lease, a row beside the checkpoints.

The row also carries the holder's report, so that ``status`` can tell what a running engine does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from dynamirror.core.values import Wire
from dynamirror.engine.stream.checkpoints import LEASE_ROW, Checkpoints
from dynamirror.errors import ConditionFailedError, HeldError
from dynamirror.ports import Clock

LEASE_S = 30.0
"""A holder that hasn't renewed for so long has died; another may read."""

LANDING_MS = 12_000
"""So long before our lease could end we send nothing more: a request has 10 s to be answered, and
two machines' clocks differ a little."""

RENEW_S = 5.0
"""Time between renewals: several may fail before the lease is lost."""

FREE = "attribute_not_exists(#o) OR #o IN (:me, :dead) OR #u < :now"


class Lease:
    """One process's hold of a link.

    ``owner`` names the process; ``is_dead`` tells of another owner whether it has surely ended
    (a process of this machine that is gone), so that a restart after a crash need not wait.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        owner: str,
        *,
        clock: Clock,
        is_dead: Callable[[str], bool],
    ) -> None:
        self.owner = owner
        self._checkpoints = checkpoints
        self._clock = clock
        self._is_dead = is_dead
        self._until_ms = 0

    def is_held(self) -> bool:
        """Tell whether the lease is surely ours now: a process that was stopped for a while, or
        can't reach the table, must not write before it has renewed.
        """
        return self._clock() < self._until_ms - LANDING_MS

    def is_free(self, held: dict[str, Any] | None) -> bool:
        """Tell whether nobody else holds the lease, given its row."""
        if held is None or held["until_ms"] <= self._clock() or held["owner"] == self.owner:
            return True
        return self._is_dead(held["owner"])

    async def acquire(self) -> None:
        """Take the lease.

        Raises HeldError, naming the holder, while another has it.
        """
        held = (await self._checkpoints.load(positions=False)).lease
        if not self.is_free(held):
            raise self._held_by(held["owner"] if held else "another process")
        dead = held is not None and self._is_dead(held["owner"])
        now_ms = self._clock()
        await self._write(
            "",
            {
                "ConditionExpression": FREE,
                "ExpressionAttributeNames": {"#o": "owner", "#u": "until_ms"},
                "ExpressionAttributeValues": {
                    ":me": {"S": self.owner},
                    ":dead": {"S": held["owner"] if held and dead else self.owner},
                    ":now": {"N": str(now_ms)},
                },
            },
        )

    async def renew(self, report: str) -> None:
        """Keep the lease for another while, and publish a report (JSON).

        Raises HeldError if another has taken it, even if he has given it back since: what we know
        of the positions is old. Stop at once.
        """
        await self._write(report, self._is_ours)

    async def keep(self, report: Callable[[], str]) -> None:
        """Renew for ever. Raises HeldError once another holds the lease."""
        while True:
            await asyncio.sleep(RENEW_S)
            await self.renew(report())

    async def release(self) -> None:
        """Give the lease back, if it is still ours."""
        with contextlib.suppress(ConditionFailedError):
            await self._checkpoints.delete(LEASE_ROW, condition=self._is_ours)

    @property
    def _is_ours(self) -> Wire:
        return {
            "ConditionExpression": "#o = :me",
            "ExpressionAttributeNames": {"#o": "owner"},
            "ExpressionAttributeValues": {":me": {"S": self.owner}},
        }

    async def _write(self, report: str, condition: Wire) -> None:
        until_ms = self._clock() + int(LEASE_S * 1_000)
        try:
            await self._checkpoints.put(
                LEASE_ROW,
                condition=condition,
                owner=self.owner,
                until_ms=until_ms,
                report=report,
            )
            self._until_ms = until_ms
        except ConditionFailedError:
            held = (await self._checkpoints.load(positions=False)).lease
            raise self._held_by(held["owner"] if held else "another process") from None

    def _held_by(self, owner: str) -> HeldError:
        name = owner.partition(" (")[0]
        return HeldError(f"the stream of {self._checkpoints.link} is read by {name}")
