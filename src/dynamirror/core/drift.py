"""When two tables' items count as the same, and what it is called when they don't.

Items are compared by what DynamoDB holds: numbers by value, sets without order, attributes in any
order. What the mirror writes itself is overlooked. Stamps differ between replicas by right: where
an item was made it has none, or an older one; what must be the same is its rank, which is told from
version and stamp.
"""

from __future__ import annotations

import hashlib
import zlib
from enum import IntEnum, StrEnum

import msgspec

from dynamirror.core.marks import stripped
from dynamirror.core.rank import Rank
from dynamirror.core.stamp import Marks
from dynamirror.core.values import Image, Key, canonical, differing, encode, opened, raw
from dynamirror.errors import UnfitError

DIGEST_BYTES = 16
"""Two items that differ share a digest once in 2^128."""

_RATES = 1 << 32


class End(IntEnum):
    """One of two tables that are compared; also its place in a pair."""

    SOURCE = 0
    TARGET = 1

    @property
    def other(self) -> End:
        """The table that it is compared with."""
        return End(1 - self)


class Kind(StrEnum):
    """How an item differs, as the target sees it."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


class Sight(msgspec.Struct, frozen=True):
    """What is looked at when a source's items and a target's are compared."""

    source: str
    """The places' short names; of two replicas, the stronger one's first."""
    target: str
    ours: tuple[str, ...] = ()
    """Attributes in which the mirror leaves marks and stamps, which are overlooked."""
    marks: Marks | None = None
    """Of two replicas: how their items' ranks are told."""
    extras: bool = True
    """Whether an item that only the target has is drift; else it may well be there."""
    keys_only: bool = False
    """Whether only keys are compared."""

    def same(self, one: Image | None, other: Image | None) -> bool:
        """Tell whether the source's item and the target's are as they should be."""
        if one is None or other is None:
            return (one is None and other is None) or (one is None and not self.extras)
        if self.keys_only:
            return True
        if self.marks is None and raw(one) == raw(other):
            return True  # not so of replicas: a rank is told from where the item is, too
        return not self.differing(one, other)

    def differing(self, one: Image, other: Image) -> list[str]:
        """Return the attributes in which two items differ; the stamp's stands for the rank."""
        names = differing(stripped(one, self.ours), stripped(other, self.ours))
        if self.marks and self.rank(one, End.SOURCE) != self.rank(other, End.TARGET):
            names.append(self.marks.stamp_attribute)
        return names

    def kind(self, one: Image | None, other: Image | None) -> Kind:
        """Return what it is called that two items are not the same."""
        if one is not None and other is not None:
            return Kind.DIFFERENT
        return Kind.EXTRA if one is None else Kind.MISSING

    def rank(self, image: Image, end: End) -> Rank | None:
        """Return a replica's item's rank; None for one that has none, and is never mirrored."""
        if self.marks is None:
            return None
        try:
            return self.marks.view(image, self.name(end)).rank
        except UnfitError:
            return None

    def name(self, end: End) -> str:
        """Return the short name of a table's place."""
        return self.source if end is End.SOURCE else self.target

    def digest(self, image: Image, end: End) -> bytes:
        """Return what stands for an item: equal, as good as surely, exactly if ``same``."""
        if self.keys_only:
            return bytes(DIGEST_BYTES)
        item = opened(stripped(image, self.ours))
        forms = sorted((name, canonical(value)) for name, value in item.items())
        text = encode((forms, self.rank(image, end)))
        return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def sampled(key: Key, rate: float) -> bool:
    """Tell whether an item is of a sample: the same ones at both tables, and every time."""
    return zlib.crc32("\0".join(key).encode()) < rate * _RATES
