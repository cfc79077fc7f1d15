"""Conflicts: two writes to one item, neither of which knew the other; and what is kept of them.

The loser is journaled by the consumer of the replica where it was made, from the stream record by
which it was lost there: that record has both images, and a crash delivers it again. So every
losing write is journaled once, where its writers look for it, at no cost to the writes themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from dynamirror.core.rank import Rank, rank_wire
from dynamirror.core.record import StreamRecord
from dynamirror.core.rows import row
from dynamirror.core.values import Image, Wire, encode, opened, row_key

PART_BYTES = 300_000
"""Image text per row: two images have up to 800 KB, a row takes 400 KB."""


_sorted = msgspec.json.Encoder(order="sorted").encode


class Reason(StrEnum):
    """How a write was lost."""

    OVERWRITTEN = "overwritten"
    """By another region's save, which had not seen it."""
    DELETED = "deleted"
    """By another region's delete, which had not seen it."""
    UNVERSIONED = "unversioned"
    """Its application raised no version, and another save came before we could."""
    REBUILT = "rebuilt"
    """Its replica was made a copy of the others, which did not have it."""


class Loss(msgspec.Struct, frozen=True):
    """One write that lost."""

    record: StreamRecord
    """By which we noticed."""
    loser: Image
    loser_rank: Rank
    winner: Image | None
    """None: a delete won."""
    winner_rank: Rank
    reason: Reason


def digest(image: Image) -> str:
    """Return what tells an image from others of its key, however it is spelled."""
    return hashlib.sha256(_sorted(opened(image))).hexdigest()[:12]


def journal_rows(mirror: str, days: int, loss: Loss) -> Iterator[Wire]:
    """Yield the rows that keep a loss; the one that tells of it comes last.

    The same loser gives the same rows, so one that is noticed twice is journaled once. Images are
    kept as JSON text: of two large ones, in parts.
    """
    record = loss.record
    images = encode({"loser": loss.loser, "winner": loss.winner}).decode()
    parts = [images[at : at + PART_BYTES] for at in range(0, len(images), PART_BYTES)]
    at_ms = int(record.created_at * 1_000)
    rank = loss.loser_rank
    at = f"{rank.version:038d}#{rank.origin}#{digest(loss.loser)}"
    common = {
        "k": row_key(mirror, record.key),
        "mirror": mirror,
        "expires_at": at_ms // 1_000 + days * 86_400,
    }
    for number in range(len(parts) - 1, 0, -1):
        yield row(**common, at=f"{at}#{number:02d}", images=parts[number])
    yield row(
        **common,
        at=f"{at}#00",
        at_ms=at_ms,
        parts=len(parts),
        images=parts[0],
        keys=record.keys,
        loser=rank_wire(loss.loser_rank),
        winner=rank_wire(loss.winner_rank),
        reason=loss.reason.value,
    )
