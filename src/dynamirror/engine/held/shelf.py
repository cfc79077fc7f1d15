"""Where the changes of a target go that is away: to the parked table, many to a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dynamirror.core.limits import BATCH_WRITE_ITEMS_MAX
from dynamirror.core.record import StreamRecord
from dynamirror.engine.held.parking import Parking
from dynamirror.errors import ServiceError

SHELVING = 16
"""Requests in flight: beside the source, where an answer takes milliseconds."""


class Sink(Protocol):
    """Whatever takes the records of an applier."""

    records_max: int
    """How many records one request may carry."""

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Take records of distinct keys; return those that are left undone."""
        ...


class Shelf:
    """Takes all changes of a target that is away, and never refuses one."""

    records_max = BATCH_WRITE_ITEMS_MAX

    def __init__(self, parking: Parking, target: str, why: ServiceError) -> None:
        self._parking = parking
        self._target = target
        self._why = why

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        await self._parking.shelve(records, self._target, self._why)
        return ()
