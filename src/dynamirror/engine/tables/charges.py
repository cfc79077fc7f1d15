"""What a million changes cost: as the mirror is, in the other modes and guards, and as a global
table. From a sample of the source's items and core.prices; the bill is AWS's.

Units per change and target: with guard ``order`` and ``item`` one write; with ``ledger`` a
transaction, which doubles the write and that of the ledger's row; in a two-way mirror one write,
and for a save without a version two more at home, which raise it (docs/two-way.md). A global table
takes one replicated write per replica (Developer Guide, 'Global tables: billing').
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dynamirror.config.model import Guard, Mirror, Side
from dynamirror.core.prices import (
    USD_PER_LAMBDA_GB_S,
    USD_PER_LAMBDA_REQUEST,
    WRITE_UNIT_BYTES,
    Use,
    write_units,
)
from dynamirror.core.values import Wire
from dynamirror.engine.tables.sample import MARK_BYTES, STAMP_BYTES, item_bytes

MILLION = 1_000_000

BATCH, BATCH_S, BATCH_GB = 100, 0.2, 0.25
"""Changes to a Lambda batch, how long it takes with how much memory: a guess at the usual."""

GLOBAL_TABLES = "global-tables"
TWO_WAY = "two-way"


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a million changes cost, all targets together, in US dollars."""

    writes_usd: float
    transfer_usd: float
    lambda_usd: float
    item_kb: float
    """Size of an item, rounded up to what a write is charged by, on average of the sample."""
    others_usd: dict[str, float]
    """In all, were it otherwise: ``order``, ``item``, ``ledger``, ``two-way``, ``global-tables``.
    With Lambda, but for the global table, which needs none."""

    @property
    def total_usd(self) -> float:
        """All of it."""
        return round(self.writes_usd + self.transfer_usd + self.lambda_usd, 3)


def cost(mirror: Mirror, items: Sequence[Wire]) -> Cost:
    """Return the estimate for items like those of the sample; of nearly 1 KB if there is none."""
    sizes = [item_bytes(item) for item in items] or [WRITE_UNIT_BYTES - STAMP_BYTES]
    version = mirror.version_attribute if isinstance(mirror, Side) else None
    versioned = sum(version in item for item in items) if version else len(items)
    bare = 1 - versioned / len(items) if items else 0.0
    writes = {
        Guard.ORDER.value: _mean(sizes, 0),
        Guard.ITEM.value: _mean(sizes, MARK_BYTES),
        Guard.LEDGER.value: 2 * _mean(sizes, 0) + 2,
        TWO_WAY: _mean(sizes, STAMP_BYTES),
        GLOBAL_TABLES: _mean(sizes, 0),
    }
    at_home = bare * (1 + _mean(sizes, STAMP_BYTES))
    targets = len(mirror.targets)
    abroad = sum(target.region != mirror.source.region for target in mirror.targets)
    moved = Use(bytes_moved=sum(sizes) / len(sizes) * abroad).times(MILLION).usd

    def writes_usd(how: str) -> float:
        units = writes[how] * targets + (at_home if how == TWO_WAY else 0)
        return Use(write_units=units).times(MILLION).usd

    how = TWO_WAY if isinstance(mirror, Side) else mirror.guard.value
    function = MILLION / BATCH * (USD_PER_LAMBDA_REQUEST + BATCH_S * BATCH_GB * USD_PER_LAMBDA_GB_S)
    return Cost(
        writes_usd=round(writes_usd(how), 3),
        transfer_usd=round(moved, 3),
        lambda_usd=round(function, 3),
        item_kb=round(writes[Guard.ORDER.value], 1),
        others_usd={
            one: round(writes_usd(one) + moved + (0 if one == GLOBAL_TABLES else function), 3)
            for one in writes
        },
    )


def _mean(sizes: Sequence[int], more: int) -> float:
    """Return the write units of such items with so many bytes more."""
    return sum(write_units(size + more) for size in sizes) / len(sizes)
