"""Rank: which of two writes to one item stays.

A rank is a version and the replica that made it; the higher one wins, and of equal versions the
one of the replica that comes first in the configuration. Ranks are totally ordered and the same at
every replica, so all of them keep the same write whatever arrives first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dynamirror.core.values import Wire, canonical_number
from dynamirror.errors import UnfitError

VERSION_DIGITS_MAX = 37
"""A version is below 10^37, so that it and those that follow fit DynamoDB's 38 digits."""

EXPIRY = "*"
"""The origin of a delete by TTL: above every replica. No replica can have this name."""

_STRANGER = 1
_ABOVE_ALL = 2


class Rank(NamedTuple):
    """A place in the order of an item's writes; compare with ``<``."""

    version: int
    strength: int
    """0 for the first replica, -1 for the second; above 0 for those beyond the configuration."""
    origin: str

    def __str__(self) -> str:
        return f"({self.version}, {self.origin})"


class Peers:
    """The replicas of a mirror by name, the strongest first."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        # Relative to the first, so that appending a replica leaves every rank as it was.
        self._strengths = {name: -place for place, name in enumerate(names)} | {EXPIRY: _ABOVE_ALL}

    def rank(self, version: int, origin: str) -> Rank:
        """Return the rank of a version made by an origin.

        A stranger (a replica that has left) is above all replicas, as conditions have it, which
        list those that are weaker.
        """
        return Rank(version, self._strengths.get(origin, _STRANGER), origin)

    def below(self, rank: Rank) -> list[str]:
        """Return the replicas whose writes of the same version are outranked."""
        return [name for name in self.names if self._strengths[name] < rank.strength]

    def not_above(self, rank: Rank) -> list[str]:
        """Return the replicas whose writes of the same version are not above the rank."""
        return [name for name in self.names if self._strengths[name] <= rank.strength]


def version_of(value: Wire | None) -> int | None:
    """Return the version that an attribute holds, None where there is no attribute.

    Raises UnfitError for all but whole numbers from 0 to below 10^37, however they are spelled.
    """
    if value is None:
        return None
    text = value.get("N")
    if isinstance(text, str) and not text.isdecimal():
        try:
            text = canonical_number(text)
        except ValueError:
            text = None
    fits = isinstance(text, str) and text.isdecimal()
    if text is None or not fits or len(text.lstrip("0")) > VERSION_DIGITS_MAX:
        raise UnfitError(
            f"the version is not a whole number from 0 to below 10^{VERSION_DIGITS_MAX}: {value!r}"
        )
    return int(text)


def fit(version: int) -> int:
    """Return a version of ours. Raises UnfitError where versions are used up."""
    if len(str(version)) > VERSION_DIGITS_MAX:
        raise UnfitError(f"no version is left above 10^{VERSION_DIGITS_MAX}: {version}")
    return version


def number(value: int) -> Wire:
    """Return a number in wire form."""
    return {"N": str(value)}


def rank_wire(rank: Rank) -> dict[str, Any]:
    """Return a rank as a map's members in wire form."""
    return {"version": number(rank.version), "origin": {"S": rank.origin}}
