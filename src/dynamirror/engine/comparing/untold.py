"""Items that one replica of a two-way mirror lacks, and of which no ledger knows why.

A delete leaves a tombstone in the ledgers for ``tombstone_days``. Without one nothing tells an item
that was deleted, longer ago or in history that was lost, from one that has never come: it counts as
never come, and is put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from dynamirror.config.model import Side
from dynamirror.core.drift import Kind
from dynamirror.core.ledger import Ledger
from dynamirror.core.values import Wire, key_of, opened, row_key
from dynamirror.engine.comparing.sight import marks_of
from dynamirror.engine.comparing.suspects import Drift, Reason
from dynamirror.engine.reads import Reads
from dynamirror.engine.retry import Backoff
from dynamirror.errors import AccessDeniedError, NotFoundError
from dynamirror.ports import DynamoDB


async def explained(
    side: Side,
    apis: Mapping[str, DynamoDB],
    drifts: Sequence[Drift],
    *,
    now_s: int,
    backoff: Backoff,
) -> Sequence[Drift]:
    """Return these drifts, with the reason on those that no replica's ledger tells of.

    ``apis`` by the replicas' names. Where a ledger isn't there or may not be read, nothing is said.
    """
    rows = {
        row_key(side.name, key_of(drift.key)): drift
        for drift in drifts
        if drift.kind is not Kind.DIFFERENT
    }
    if not rows:
        return drifts
    keys: list[Wire] = [{"k": {"S": row}} for row in rows]
    ledgers = [replace(place, table=side.ledger_of(place)) for place in side.replicas]
    try:
        found = await asyncio.gather(
            *(Reads(apis[place.name], place, ("k",), backoff).get(keys) for place in ledgers)
        )
    except (NotFoundError, AccessDeniedError):
        return drifts
    ledger = Ledger(marks_of(side).peers)
    told = {
        key_of(rows[item.keys["k"]["S"]].key)
        for items in found
        for item in items.values()
        if ledger.entry(opened(item.image), now_s).tombstone is not None
    }
    return [
        drift
        if drift.kind is Kind.DIFFERENT or key_of(drift.key) in told
        else msgspec.structs.replace(drift, reason=Reason.UNTOLD)
        for drift in drifts
    ]
