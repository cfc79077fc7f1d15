"""The stamp: our one attribute on a mirrored item, and what an item tells of its own rank.

``_mirror = {version, origin, seen}``, written only in one request with the image it belongs to.
An item is *mirrored* while the stamp's version is its own, and *local* once an application has
saved it again: its version passed the stamp's. ``seen`` holds the highest version known per origin
to whoever made the image; it tells a conflict from a continuation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dynamirror.core.rank import Peers, Rank, number, rank_wire, version_of
from dynamirror.core.values import Image, Wire, differing, encode
from dynamirror.errors import UnfitError

Seen = Mapping[str, int]
"""The highest version known, by origin."""


class Stamp(msgspec.Struct, frozen=True):
    """What a mirror wrote beside an image."""

    rank: Rank
    seen: Seen = {}


class View(msgspec.Struct, frozen=True):
    """An image as it looks to the replica that holds it."""

    rank: Rank
    versioned: bool
    """Whether it has a version at all; without one its rank counts as version 0."""
    mirrored: bool
    """Whether another replica made it, and our mirror put it here."""
    stamp: Stamp | None

    @property
    def placed(self) -> bool:
        """Whether our mirror put it here, be it what this very replica had made: a backfill or a
        redrive brings that back, too.
        """
        return self.stamp is not None and self.stamp.rank == self.rank

    def known(self) -> dict[str, int]:
        """Return the highest version known per origin to whoever changed this image."""
        seen = dict(self.stamp.seen) if self.stamp else {}
        for rank in (self.stamp.rank, self.rank) if self.stamp else (self.rank,):
            seen[rank.origin] = max(seen.get(rank.origin, 0), rank.version)
        return seen


class Marks:
    """Reads and writes versions and stamps, in the attributes that a mirror uses for them."""

    def __init__(self, peers: Peers, version_attribute: str, stamp_attribute: str) -> None:
        self.peers = peers
        self.version_attribute = version_attribute
        self.stamp_attribute = stamp_attribute
        self._needle = encode(stamp_attribute)
        self._decode = _decoder(version_attribute, stamp_attribute)

    def view(self, image: Image, at: str) -> View:
        """Return how an image looks at a replica. Parses no more of it than our two attributes.

        Raises UnfitError where version or stamp are not what they should be.
        """
        if isinstance(image, dict):
            version_wire = image.get(self.version_attribute)
            stamp_wire = image.get(self.stamp_attribute)
        else:
            found: Any = self._decode(image)
            version_wire, stamp_wire = found.version, found.stamp
        version = version_of(version_wire)
        stamp = None if stamp_wire is None else self._stamp(stamp_wire)
        mirrored = stamp is not None and stamp.rank.version == version and stamp.rank.origin != at
        origin = stamp.rank.origin if stamp is not None and mirrored else at
        rank = self.peers.rank(version or 0, origin)
        return View(rank, version is not None, mirrored, stamp)

    def stamped(self, image: Image, stamp: Stamp) -> Image:
        """Return the image with this stamp in place of any other; values stay unparsed."""
        wire = self.wire(stamp)
        if isinstance(image, dict):
            return {**image, self.stamp_attribute: wire}
        body = bytes(image)
        if self._needle in body:
            return {**_members(body), self.stamp_attribute: wire}
        return msgspec.Raw(b"{%b:%b,%b" % (self._needle, encode(wire), body.lstrip()[1:]))

    def differing(self, one: Image, other: Image) -> bool:
        """Tell whether two images differ in more than their stamps."""
        names = differing(one, other)
        return any(name != self.stamp_attribute for name in names)

    def wire(self, stamp: Stamp) -> Wire:
        """Return a stamp as a typed value."""
        return {"M": {**rank_wire(stamp.rank), "seen": seen_wire(stamp.seen)}}

    def _stamp(self, wire: Wire) -> Stamp:
        try:
            members = wire["M"]
            version = version_of(members["version"])
            if version is None:
                raise KeyError("version")  # noqa: TRY301
            rank = self.peers.rank(version, members["origin"]["S"])
            return Stamp(rank, seen_of(members.get("seen")))
        except (KeyError, TypeError, AttributeError, UnfitError):
            raise UnfitError(
                f"the item has an attribute {self.stamp_attribute!r} that is not ours: "
                "give the mirror another stamp_attribute"
            ) from None


@lru_cache(maxsize=64)
def _decoder(version_attribute: str, stamp_attribute: str) -> Callable[[Any], Any]:
    shape = msgspec.defstruct(
        "_Marked",
        [("version", dict[str, Any] | None, None), ("stamp", dict[str, Any] | None, None)],
        rename={"version": version_attribute, "stamp": stamp_attribute},
    )
    return msgspec.json.Decoder(shape).decode


def merged(*seen: Seen) -> dict[str, int]:
    """Return the highest version per origin of all."""
    most: dict[str, int] = {}
    for one in seen:
        for origin, version in one.items():
            most[origin] = max(version, most.get(origin, 0))
    return most


def seen_wire(seen: Seen) -> Wire:
    """Return it as a typed value."""
    return {"M": {origin: number(seen[origin]) for origin in sorted(seen)}}


def seen_of(wire: Wire | None) -> dict[str, int]:
    """Return what a typed value holds; nothing where it is missing."""
    members: Mapping[str, Wire] = (wire or {"M": {}})["M"]
    return {origin: version_of(value) or 0 for origin, value in members.items()}


class Condition(msgspec.Struct, frozen=True):
    """A condition with the names and values it uses."""

    text: str
    names: dict[str, str]
    values: Wire

    def also(self, text: str, **names: str) -> Condition:
        """Return this AND another condition, which uses no values."""
        more = {f"#{alias}": name for alias, name in names.items()}
        return Condition(f"{text} AND ({self.text})", {**self.names, **more}, self.values)

    def otherwise(self, text: str, **names: str) -> Condition:
        """Return this OR another condition, which uses no values."""
        more = {f"#{alias}": name for alias, name in names.items()}
        return Condition(f"{text} OR {self.text}", {**self.names, **more}, self.values)

    def request(self) -> Wire:
        """Return the members of a request that make it conditional."""
        return {
            "ConditionExpression": self.text,
            "ExpressionAttributeNames": self.names,
            "ExpressionAttributeValues": self.values,
        }


class Bounds:
    """Conditions on the rank of whatever item a replica holds; no item meets them too."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def below(self, at: str, rank: Rank) -> Condition:
        """``rank(item) < rank``, for the item that replica ``at`` holds."""
        return self._bound(at, rank, self._marks.peers.below(rank))

    def not_above(self, at: str, rank: Rank) -> Condition:
        """``rank(item) <= rank``."""
        return self._bound(at, rank, self._marks.peers.not_above(rank))

    def versioned(self, condition: Condition) -> Condition:
        """Return the condition, now false for items without a version, and for no item."""
        return condition.also("attribute_exists(#v)")

    def _bound(self, at: str, rank: Rank, origins: Sequence[str]) -> Condition:
        marks = self._marks
        text = "attribute_not_exists(#v) OR #v < :v"
        names, values = {"#v": marks.version_attribute}, {":v": number(rank.version)}
        if origins:
            # Mirrored by a weaker replica, or made here by a weaker one.
            listed = ", ".join(f":o{place}" for place in range(len(origins)))
            text += f" OR (#v = :v AND #s.#w = #v AND #s.#o IN ({listed}))"
            names |= {"#s": marks.stamp_attribute, "#w": "version", "#o": "origin"}
            values |= {f":o{place}": {"S": name} for place, name in enumerate(origins)}
        if at in origins:
            text += " OR (#v = :v AND (attribute_not_exists(#s.#w) OR #s.#w < :v OR #s.#w > :v))"
        return Condition(text, names, values)


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
