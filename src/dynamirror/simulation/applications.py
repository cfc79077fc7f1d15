"""The applications of a history: what they write, and what each write knew.

Every save sets ``value`` to a text of its own, so that whoever sees an item knows which save made
it. A write *knows* the one whose value it found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dynamirror.core.rank import EXPIRY, Peers, Rank
from dynamirror.core.values import Wire
from dynamirror.memory.lineage import TTL_IDENTITY
from dynamirror.simulation.replicas import KEY, TABLE, Place

VERSION, STAMP = "version", "_mirror"
OWN_AHEAD_MS = 2


@dataclass(slots=True)
class Saved:
    """One application's write. ``value`` names it; a delete has a name too."""

    value: str
    at: str
    how: str
    rank: Rank
    knew: str | None
    """The write whose value it replaced; None: there was no item."""


@dataclass(slots=True)
class Applications:
    """All that applications did."""

    peers: Peers
    writes: dict[str, Saved] = field(default_factory=dict)

    def save(self, place: Place, key: str, how: str, now_ms: int) -> str:
        """Save an item in one of the ways of profiles; return what was done, for people."""
        value = f"w{len(self.writes) + 1}"
        old = place.item(key)
        request, operation = _request(key, old, value, how, now_ms)
        place.db.perform(operation, request)
        return self._note(place, key, value, how, old)

    def delete(self, place: Place, key: str, *, expired: bool = False) -> str | None:
        """Delete the item, if there is one; or, if it is ``expired``, let TTL do so."""
        old = place.item(key)
        if old is None:
            return None
        value = f"d{len(self.writes) + 1}"
        if expired:
            place.table.store((key,), None, identity=TTL_IDENTITY)
            rank = self.peers.rank(_version(old), EXPIRY)
        else:
            place.db.perform("DeleteItem", {"TableName": TABLE, "Key": {KEY: {"S": key}}})
            rank = self.peers.rank(_version(old) + 1, place.name)
        self.writes[value] = Saved(value, place.name, "delete", rank, old["value"]["S"])
        return f"{place.name}: {'TTL deletes' if expired else 'delete'} {shown(old)} as {value}"

    def chain(self, name: str) -> list[str]:
        """Return a write, the one that it knew, the one that this knew, and so on."""
        found = [name]
        while (before := self.writes[found[-1]].knew) is not None:
            found.append(before)
        return found

    def leaves(self) -> dict[str, Saved]:
        """Return the writes that no other write knowingly replaced."""
        known = {one.knew for one in self.writes.values()}
        return {name: one for name, one in self.writes.items() if name not in known}

    def _note(self, place: Place, key: str, value: str, how: str, old: Wire | None) -> str:
        item = place.item(key) or {}
        rank = self.peers.rank(_version(item), place.name)
        self.writes[value] = Saved(value, place.name, how, rank, old["value"]["S"] if old else None)
        return f"{place.name}: {how} {shown(old)} -> {shown(item)}"


UPDATES = {
    "hybrid": "SET #value = :value, #v = if_not_exists(#v, :now) + :n",
    "add": "SET #value = :value ADD #v :n",
    "keep": "SET #value = :value",
    "lower": "SET #value = :value, #v = :n",
}
"""How applications update items: the recommended form, plain counting, and those without."""


def _request(key: str, old: Wire | None, value: str, how: str, now_ms: int) -> tuple[Wire, str]:
    version = _version(old or {})
    how = "hybrid" if how == "lower" and old is None else how
    if how in UPDATES:
        number = {"hybrid": 1, "add": 1, "lower": max(0, version - 2)}.get(how)
        request = _update(key, value, UPDATES[how], number, now_ms if how == "hybrid" else None)
        return request, "UpdateItem"
    hybrid = max(now_ms, version + 1)
    if how == "hybrid-put":
        stamp = {STAMP: old[STAMP]} if old and STAMP in old else {}
        return _put(key, value, hybrid, stamp), "PutItem"
    if how == "hybrid-put-drops":
        return _put(key, value, hybrid), "PutItem"
    keeps = how == "put-keeps" and old is not None and VERSION in old
    return _put(key, value, version if keeps else None), "PutItem"


def _update(
    key: str, value: str, text: str, number: int | None = None, now_ms: int | None = None
) -> Wire:
    names, values = {"#value": "value"}, {":value": {"S": value}}
    if number is not None:
        names["#v"], values[":n"] = VERSION, {"N": str(number)}
    if now_ms is not None:
        values[":now"] = {"N": str(now_ms)}
    return {
        "TableName": TABLE,
        "Key": {KEY: {"S": key}},
        "UpdateExpression": text,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def _put(key: str, value: str, version: int | None, more: Wire | None = None) -> Wire:
    item: Wire = {KEY: {"S": key}, "value": {"S": value}, **(more or {})}
    if version is not None:
        item[VERSION] = {"N": str(version)}
    return {"TableName": TABLE, "Item": item}


def _version(item: Wire) -> int:
    return int(item.get(VERSION, {"N": "0"})["N"])


def shown(item: Wire | None) -> str:
    """Return an item in a few characters: value, version, stamp."""
    if item is None:
        return "nothing"
    stamp = item.get(STAMP, {"M": {}})["M"]
    mark = f" stamp {stamp['version']['N']}{stamp['origin']['S']}" if stamp else ""
    version = item[VERSION]["N"] if VERSION in item else "none"
    return f"[{item['value']['S']} v{version}{mark}]"
