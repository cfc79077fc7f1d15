"""Batches that Lambda gave up, from the bucket that deploy makes for them into the parked tables.

An object whose changes are all parked is moved below ``redriven/`` of its bucket: what is still
where Lambda put it is still to be taken in, and nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dynamirror.aws.objects import Bucket
from dynamirror.core.failed import FailedBatch, UnfitBatchError, failed_batch
from dynamirror.engine.held.intake import take_in
from dynamirror.errors import DynamirrorError
from dynamirror.runtimes.aws_lambda import mirrors_of
from dynamirror.runtimes.process import lease_of
from dynamirror.wiring import Wiring

DONE = "redriven/"

OnUnfit = Callable[[str, DynamirrorError], None]
"""Told of an object that stays where it is, by its key, and why."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken in."""

    objects: int = 0
    keys: int = 0
    """Parked; one that several objects have counts in each."""
    unfit: int = 0
    """Objects that stay where they are: nothing can be redriven from them."""


async def take_all_in(
    wiring: Wiring, bucket: Bucket, on_object: Callable[[Taken], None], on_unfit: OnUnfit
) -> Taken:
    """Park what all objects of a bucket's prefix hold, oldest object of each shard first.

    Raises what S3 and the tables refuse; run again, it goes on from there.
    """
    taken = Taken()
    async for key in bucket.keys():
        if key.startswith(DONE):
            continue
        try:
            batch = failed_batch(await bucket.read(key))
            keys = await _taken_in(wiring, batch)
        except UnfitBatchError as error:
            on_unfit(key, error)
            taken = msgspec.structs.replace(taken, unfit=taken.unfit + 1)
            continue
        await bucket.move(key, DONE + key)
        taken = msgspec.structs.replace(taken, objects=taken.objects + 1, keys=taken.keys + keys)
        on_object(taken)
    return taken


async def _taken_in(wiring: Wiring, batch: FailedBatch) -> int:
    try:
        mirrors = mirrors_of(wiring.config.mirrors, batch.stream)
    except ValueError as error:
        raise UnfitBatchError(str(error)) from None
    if not mirrors:
        raise UnfitBatchError(f"no mirror of {wiring.config.path} follows {batch.stream}")
    count = 0
    for mirror in mirrors:
        links, checkpoints = wiring.links(mirror), wiring.checkpoints(mirror)
        count = max(count, await take_in(batch, links, checkpoints, lease_of(wiring, mirror)))
    return count
