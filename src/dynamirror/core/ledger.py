"""The ledger's rows in two-way mirroring: one per key and replica, with tombstone and floor.

``version``, ``origin``, ``seen``, ``until``: the rank of the last delete known here, what its
author had seen, and when it expires, the same second at every replica. ``floor``: the rank above
which the next version of ours must be, since an unversioned write hid what was there before.
An expired part counts as absent, whether the server has removed the row or not.
"""

from __future__ import annotations

import msgspec

from dynamirror.core.rank import Peers, Rank, number, rank_wire, version_of
from dynamirror.core.rows import FORMAT
from dynamirror.core.stamp import Seen, seen_of, seen_wire
from dynamirror.core.values import Wire
from dynamirror.errors import NewerFormatError

SLACK_S = 2 * 86_400
"""What a floor adds to its row's life, since a tombstone of a day later may be in the row."""


class Mark(msgspec.Struct, frozen=True):
    """The last delete that the ledger's own replica made, be the tombstone its or another's."""

    number: int
    """The sequence number of its record."""
    version: int


class Tombstone(msgspec.Struct, frozen=True):
    """What a delete leaves behind."""

    rank: Rank
    seen: Seen
    until: int
    """Epoch seconds."""
    mark: Mark | None = None


class Entry(msgspec.Struct, frozen=True):
    """What a ledger holds of a key, as far as it has not expired."""

    tombstone: Tombstone | None = None
    floor: Rank | None = None
    floor_number: int = 0
    """The sequence number of the record that raised the floor."""

    def floor_before(self, number: int) -> Rank | None:
        """Return the floor, but not one that a later record raised, seen when one is replayed."""
        return self.floor if self.floor_number <= number else None


class Ledger:
    """Spells the requests for one key's row."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def read(self, table: str, key: str) -> Wire:
        """Return a GetItem of a row, strongly consistent."""
        return {"TableName": table, "Key": {"k": {"S": key}}, "ConsistentRead": True}

    def bury(self, table: str, key: str, tombstone: Tombstone, now_s: int) -> Wire:
        """Return the UpdateItem that leaves a tombstone, unless a newer one is there; either way
        the answer has the row as it was.
        """
        rank = tombstone.rank
        text = "attribute_not_exists(#v) OR #v < :v OR #u <= :now"
        values = {
            ":v": number(rank.version),
            ":o": {"S": rank.origin},
            ":n": seen_wire(tombstone.seen),
            ":u": number(tombstone.until),
            ":now": number(now_s),
            ":f": number(FORMAT),
        }
        names = {"#v": "version", "#o": "origin", "#n": "seen", "#u": "until"}
        text, values = self._or_weaker(text, "#v = :v AND #o IN", rank, values)
        update = "SET #v = :v, #o = :o, #n = :n, #u = :u, #e = :u, #f = :f"
        if tombstone.mark is not None:
            update += ", #m = :m"
            names["#m"] = "mark"
            values[":m"] = _mark_wire(tombstone.mark)
        return {
            "TableName": table,
            "Key": {"k": {"S": key}},
            "UpdateExpression": update,
            "ConditionExpression": text,
            "ExpressionAttributeNames": {**names, "#e": "expires_at", "#f": "format"},
            "ExpressionAttributeValues": values,
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def note(self, table: str, key: str, mark: Mark) -> Wire:
        """Return the UpdateItem that notes a delete in the row of another's tombstone."""
        return {
            "TableName": table,
            "Key": {"k": {"S": key}},
            "UpdateExpression": "SET #m = :m",
            "ConditionExpression": "attribute_exists(#u)",
            "ExpressionAttributeNames": {"#m": "mark", "#u": "until"},
            "ExpressionAttributeValues": {":m": _mark_wire(mark)},
        }

    def raise_floor(
        self, table: str, key: str, floor: Rank, *, by: int, until: int, now_s: int
    ) -> Wire:
        """Return the UpdateItem that raises the floor for the record of a number, unless it is as
        high; either way the answer has the whole row.
        """
        text = "attribute_not_exists(#f) OR #f.#v < :v OR #fu <= :now"
        values = {
            ":v": number(floor.version),
            ":f": {"M": {**rank_wire(floor), "number": {"S": str(by)}}},
            ":u": number(until),
            ":e": number(until + SLACK_S),
            ":now": number(now_s),
            ":m": number(FORMAT),
        }
        names = {"#f": "floor", "#v": "version", "#fu": "floor_until", "#m": "format"}
        origins = self._peers.below(floor)
        if origins:
            names["#o"] = "origin"
        text, values = self._or_weaker(text, "#f.#v = :v AND #f.#o IN", floor, values)
        return {
            "TableName": table,
            "Key": {"k": {"S": key}},
            "UpdateExpression": "SET #f = :f, #fu = :u, #e = :e, #m = :m",
            "ConditionExpression": text,
            "ExpressionAttributeNames": {**names, "#e": "expires_at"},
            "ExpressionAttributeValues": values,
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def entry(self, wire: Wire | None, now_s: int) -> Entry:
        """Return what a row holds. Raises NewerFormatError."""
        if not wire:
            return Entry()
        if int(wire.get("format", {"N": "1"})["N"]) > FORMAT:
            raise NewerFormatError(f"a ledger row has format {wire['format']['N']}")
        tombstone = None
        if "until" in wire and int(wire["until"]["N"]) > now_s:
            rank = self._rank(wire)
            mark = None
            if "mark" in wire:
                own = wire["mark"]["M"]
                mark = Mark(int(own["number"]["S"]), int(own["version"]["N"]))
            tombstone = Tombstone(rank, seen_of(wire.get("seen")), int(wire["until"]["N"]), mark)
        if "floor_until" in wire and int(wire["floor_until"]["N"]) > now_s:
            members = wire["floor"]["M"]
            return Entry(tombstone, self._rank(members), int(members["number"]["S"]))
        return Entry(tombstone)

    def _rank(self, members: Wire) -> Rank:
        # A tombstone may be one above the last version there is.
        text = members["version"]["N"]
        version = version_of({"N": text}) if len(text) < len(str(10**37)) else int(text)
        return self._peers.rank(version or 0, members["origin"]["S"])

    def _or_weaker(self, text: str, same: str, rank: Rank, values: Wire) -> tuple[str, Wire]:
        origins = self._peers.below(rank)
        if not origins:
            return text, values
        listed = ", ".join(f":o{place}" for place in range(len(origins)))
        more = {f":o{place}": {"S": name} for place, name in enumerate(origins)}
        return f"{text} OR ({same} ({listed}))", {**values, **more}


def _mark_wire(mark: Mark) -> Wire:
    return {"M": {"number": {"S": str(mark.number)}, "version": number(mark.version)}}
