"""What a comparison is to look at, what it is going to take, and how far it has come."""

from __future__ import annotations

from enum import StrEnum

import msgspec

SETTLE_S = 5.0
"""What a change may take beyond the link's lag; also where none is reported, as with Lambda."""


class Method(StrEnum):
    """How the two tables are read."""

    SCAN = "scan"
    """Both are scanned, and joined by key."""
    LOOKUP = "lookup"
    """Each is scanned, and its items are looked up in the other by key."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """How much is compared, and how."""

    segment: tuple[int, int] = (1, 1)
    """I of N: of each table the I-th of N shares, counted from 1."""
    sample: float = 1.0
    """Which part of the items, chosen by their keys."""
    keys_only: bool = False
    """Whether it is enough that the items are there."""
    method: Method = Method.SCAN
    consistent: bool = False
    """Whether the first read is strongly consistent too: fewer suspects, twice the price."""
    settle_s: float = SETTLE_S

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.segment[1] == 1 and self.sample >= 1 and not self.keys_only


EVERYTHING = Scope()


class Estimate(msgspec.Struct, frozen=True):
    """What a comparison is going to read, about: the service counts items every six hours."""

    items: int
    """Of the source, each target counted."""
    bytes: int
    """Of all tables."""
    read_units: float
    """Beyond these, each suspect takes two a look."""


class Compared(msgspec.Struct, frozen=True):
    """How far a comparison has come."""

    items: int = 0
    """Items of the source compared, each target counted."""
    expected_items: int = 0
    """About how many there are; the service counts them every six hours."""
    missing: int = 0
    extra: int = 0
    different: int = 0
    in_flight: int = 0
    """Items that could not be compared: they kept changing, or the link was too far behind."""
    expired: int = 0
    """Items that a target lacks because they have expired there: no drift."""
    read_units: float = 0
    """What the services charged; guessed from their answers' size where they don't tell."""

    @property
    def equal(self) -> bool:
        """Whether every item was compared, and none differs."""
        return not (self.drift or self.in_flight)

    @property
    def drift(self) -> bool:
        """Whether some item surely differs."""
        return bool(self.missing or self.extra or self.different)
