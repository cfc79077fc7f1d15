"""Take batches that Lambda gave up into the parked table: from there they are redriven as all that
is parked, by what the source holds then and never by the batch's stale images.

A batch counts as taken in when all its keys are parked, so one that was taken in half is taken in
again: the same rows.
"""

from __future__ import annotations

import asyncio

from dynamirror.config.model import Guard, Side
from dynamirror.core.failed import FailedBatch, UnfitBatchError
from dynamirror.core.record import StreamRecord
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.stream.checkpoints import Checkpoints, Known
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.writing.links import Links
from dynamirror.errors import DynamirrorError, HeldError

AT_ONCE = 16
"""Changes parked at the same time, two or more requests each."""


class GivenUpError(DynamirrorError):
    """Lambda gave a change up: it was tried for as long as its event source mapping says."""


async def take_in(batch: FailedBatch, links: Links, checkpoints: Checkpoints, lease: Lease) -> int:
    """Park the batch's changes for every target; return how many keys they have.

    ``lease``: of this process, which need not have it. Raises UnfitBatchError for a batch of a
    stream that the mirror never followed, HeldError where an engine runs that must not.
    """
    known = await checkpoints.load()
    mirror = links.mirror
    held_by_item = mirror.guard is Guard.ITEM and not isinstance(mirror, Side)
    if held_by_item and not lease.is_free(known.lease):
        # An engine learns what others park when it starts. Under this guard it could delete an
        # item whose older state we are about to write, and nothing would be there to refuse it.
        raise HeldError(
            f'an engine runs {mirror.title}, and with guard = "item" it can\'t be told of more keys'
            " to hold"
        )
    parking = links.parking_of(_epoch(known, batch.stream))
    error = GivenUpError(f"Lambda gave it up: {batch.why}")
    records = links.wanted(batch.records)
    limit = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for record in records:
            tasks.create_task(_park(record, links, parking, error, limit))
    return len({record.key for record in records})


async def _park(
    record: StreamRecord,
    links: Links,
    parking: Parking,
    error: GivenUpError,
    limit: asyncio.Semaphore,
) -> None:
    async with limit:
        mirror = links.mirror
        # Nobody may have judged a two-way change yet: what is parked at its own replica is judged
        # there, and then carried to all others.
        names = [mirror.source.name] if isinstance(mirror, Side) else links.names
        for target in names:
            await parking.park(record, target, error)


def _epoch(known: Known, stream: str) -> int:
    """Return the place of a stream among the table's, as marks have it."""
    if not known.streams:
        return 1  # no marks are written, or nothing was ever applied
    if stream not in known.streams:
        raise UnfitBatchError(f"it is of {stream}, which this mirror has never followed")
    return known.streams.index(stream) + 1
