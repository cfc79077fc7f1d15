"""What a backfill will consume, told before it starts: from what the service says of the tables.

The service counts items every six hours, and of their sizes tells only the sum: with items of
unequal size somewhat more units are needed than these. A target's secondary indexes are counted as
if every item were in each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import msgspec

from dynamirror.config.model import Guard, Mirror, Place, Side
from dynamirror.core.prices import Use, read_units, write_units
from dynamirror.engine.copying.export import Exports
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table, described
from dynamirror.ports import DynamoDB

STAMP_BYTES = 100
"""About what our stamp adds to an item of a two-way mirror."""


class Sized(Protocol):
    """A table, or an export of it."""

    @property
    def items(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill, or a share of it, is expected to take."""

    items: int
    bytes: int
    """As DynamoDB counts it."""
    read_units: int
    write_units: int
    usd: float
    """At the on-demand prices of ``core.prices``."""


async def estimated(
    mirror: Mirror,
    apis: Mapping[str, DynamoDB],
    backoff: Backoff,
    *,
    shares: int = 1,
    exports: Exports | None = None,
) -> Estimate:
    """Return what copying one of so many shares of a mirror's source, or of exports, will take.

    Raises NotFoundError where a table isn't there.
    """
    source = await described(apis[mirror.source.name], mirror.source.table, backoff)
    what: Sized = exports or source
    use = Use(read_units=read_units(source.bytes) if source.items and exports is None else 0)
    for place in mirror.targets:
        target = await described(apis[place.name], place.table, backoff)
        use += _copies(mirror, place, what, target)
    use = use.times(1 / shares)
    return Estimate(
        items=math.ceil(what.items / shares),
        bytes=math.ceil(what.bytes / shares),
        read_units=math.ceil(use.read_units),
        write_units=math.ceil(use.write_units),
        usd=use.usd,
    )


def _copies(mirror: Mirror, place: Place, source: Sized, target: Table) -> Use:
    """Return what writing every item to one target takes."""
    mean = source.bytes / max(1, source.items)
    indexes = len(target.description.get("GlobalSecondaryIndexes", ()))
    moved = mean if place.region != mirror.source.region else 0
    if isinstance(mirror, Side):  # a look into the ledger, then a conditional put
        put = write_units(mean + STAMP_BYTES) * (1 + indexes)
        return Use(1, put, moved).times(source.items)
    if mirror.guard is Guard.LEDGER:  # a transaction: the item, and a row of the ledger
        pair = write_units(mean, transaction=True) * (1 + indexes) + write_units(
            0, transaction=True
        )
        return Use(0, pair, moved).times(source.items)
    return Use(0, write_units(mean) * (1 + indexes), moved).times(source.items)
