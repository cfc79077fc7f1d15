"""What mends one item that differs: in a one-way mirror by a conditional write, in a two-way one by
carrying what outranks the other.

A write of ours is made on condition that the target's item is as it was read. That alone would not
do: the item may have become something newer and then, by an application's will, look as before. So
the guard's mark must be as read too, or, where there is none (guards ``order`` and ``item``, whose
deletes leave no mark), the link is paused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dynamirror.core.ledger import Tombstone
from dynamirror.core.marks import is_ours, marked, stripped
from dynamirror.core.one_way import Rules
from dynamirror.core.rank import Rank
from dynamirror.core.unchanged import unchanged
from dynamirror.core.values import Image, Key, Wire, differing, encode, opened, row_key


class Found(msgspec.Struct, frozen=True):
    """An item as it was read at both tables: the guard's mark first, then the source's."""

    key: Key
    keys: Wire
    """At the target, as all here."""
    wanted: Image | None
    """What the source's item is to be at the target; None: nothing."""
    held: Image | None
    """What the target has."""
    mark: str | None = None
    """What the ledger's row says, under that guard."""


def item_repair(rules: Rules, found: Found, *, keep_mark: bool) -> tuple[str, bytes]:
    """Return the conditional write that mends an item while its link is paused.

    ``keep_mark``: guard ``item``; the item keeps its mark, so that changes still to come pass.
    """
    condition = {"TableName": rules.table, **_as_read(rules, found)}
    if found.wanted is None:
        return "DeleteItem", encode({**condition, "Key": found.keys})
    image = stripped(found.wanted, rules.ours)
    mark = _mark(rules, found.held) if keep_mark else None
    if mark is not None:
        image = marked(image, rules.sequence_attribute, mark)
    return "PutItem", encode({**condition, "Item": image})


def ledger_repair(rules: Rules, found: Found) -> bytes:
    """Return the transaction that mends an item unless a change of it has arrived since."""
    key: Wire = {"k": {"S": row_key(rules.mirror, found.key)}}
    mark = None if found.mark is None else {"q": {"S": found.mark}}
    check = {"TableName": rules.ledger, "Key": key, **unchanged(mark, key, ("q",))}
    write: dict[str, Any] = {"TableName": rules.table, **_as_read(rules, found)}
    if found.wanted is None:
        return _transaction(check, {"Delete": {**write, "Key": found.keys}})
    return _transaction(check, {"Put": {**write, "Item": stripped(found.wanted, rules.ours)}})


def _transaction(check: Wire, write: Wire) -> bytes:
    return encode({"TransactItems": [{"ConditionCheck": check}, write]})


def _as_read(rules: Rules, found: Found) -> Wire:
    watched: list[str] = [rules.sequence_attribute]
    if found.wanted is not None and found.held is not None:
        watched += differing(found.wanted, found.held)
    return unchanged(found.held, found.keys, watched)


def _mark(rules: Rules, held: Image | None) -> str | None:
    value = None if held is None else opened(held).get(rules.sequence_attribute)
    return value["S"] if value is not None and is_ours(value) and "S" in value else None


class Standing(msgspec.Struct, frozen=True):
    """What a replica holds of an item."""

    name: str
    """The replica's."""
    rank: Rank | None
    """Of its item; None: it has none."""
    tombstone: Tombstone | None = None


class Carry(msgspec.Struct, frozen=True):
    """What is to be carried to the other replicas."""

    names: tuple[str, ...]
    """The replicas that have it."""
    tombstone: Tombstone | None
    """None: it is the item that is carried."""
    tied: bool = False
    """Whether a tombstone has the item's very rank: it was made again after that delete, by an
    application whose counter started again, and needs a higher version."""


def outranking(standings: Sequence[Standing]) -> Carry | None:
    """Return what outranks all else; None where no replica has anything."""
    items = [one for one in standings if one.rank is not None]
    graves = [(one.tombstone.rank, one) for one in standings if one.tombstone is not None]
    top_item = max((one.rank for one in items if one.rank is not None), default=None)
    top_grave = max((rank for rank, _ in graves), default=None)
    if top_grave is not None and (top_item is None or top_grave > top_item):
        holders = [one for rank, one in graves if rank == top_grave]
        return Carry(tuple(one.name for one in holders), holders[0].tombstone)
    if top_item is None:
        return None
    # Of several, the one that is where it was made is what its application left.
    top = [one.name for one in items if one.rank == top_item]
    names = tuple(sorted(top, key=lambda name: name != top_item.origin))
    return Carry(names, None, top_grave == top_item)
