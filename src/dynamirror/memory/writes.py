"""The writes: PutItem, UpdateItem, DeleteItem, and those in batches and transactions.

A write is worked out first, against the item that is there, and then stored: a transaction works
out all of its writes before it stores any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from dynamirror.core.condition import Condition
from dynamirror.core.expressions import Names, Values
from dynamirror.core.projection import Tree, projected
from dynamirror.core.update import Update
from dynamirror.core.values import Wire, encode
from dynamirror.core.words import ExpressionError
from dynamirror.errors import RefusedError
from dynamirror.memory.items import checked_item, item_bytes
from dynamirror.memory.refusals import (
    CONDITION_FAILED,
    canceled,
    condition_failed,
    invalid,
    malformed,
    refusal,
    too_many,
)
from dynamirror.memory.requests import expressions_of, names_of, values_of
from dynamirror.memory.tables import Key, Region, Table

BATCH_WRITES_MAX = 25
BATCH_BYTES_MAX = 16 * 1024 * 1024
TRANSACTION_WRITES_MAX = 100
TRANSACTION_BYTES_MAX = 4 * 1024 * 1024
TOKEN_MS_MAX = 10 * 60 * 1000
"""How long a transaction's ClientRequestToken is remembered (API: TransactWriteItems)."""


@dataclass(slots=True)
class Write:
    """One write, ready to be worked out; one that has nothing to write is a condition check."""

    table: Table
    key: Key
    keys: Wire
    names: Names = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    condition: Condition | None = None
    item: Wire | None = None
    size: int = 0
    update: Update | None = None
    touched: Tree | None = None
    deletes: bool = False
    returns_old: bool = False

    @property
    def old(self) -> Wire | None:
        return self.table.items.get(self.key)

    def allowed(self) -> bool:
        """Tell whether its condition holds."""
        return self.condition is None or self.condition.holds(
            self.old or {}, self.names, self.values
        )

    def outcome(self) -> tuple[Wire | None, int]:
        """Return the item that it leaves, and its size. Raises RefusedError."""
        old = self.old
        if self.item is not None:
            return self.item, self.size
        if self.deletes:
            return None, 0
        if self.update is None or (old is None and self.update.only_removes):
            return old, 0 if old is None else self.table.sizes[self.key]
        try:
            new = self.update.applied(
                old or self.keys, self.names, self.values, missing=old is None
            )
        except ExpressionError as error:
            raise invalid(f"Invalid UpdateExpression: {error}") from None
        new, size = checked_item(new)
        self.table.check_indexed(new)
        return new, size


def put_item(region: Region, request: Wire) -> Wire:
    write = _put(region, request)
    return _answer(write, _carried_out(write), request.get("ReturnValues", "NONE"))


def delete_item(region: Region, request: Wire) -> Wire:
    write = _delete(region, request)
    return _answer(write, _carried_out(write), request.get("ReturnValues", "NONE"))


def update_item(region: Region, request: Wire) -> Wire:
    write = _update(region, request)
    return _answer(write, _carried_out(write), request.get("ReturnValues", "NONE"))


def batch_write_item(region: Region, request: Wire) -> Wire:
    writes: list[tuple[Write, Wire]] = []
    for name, entries in request["RequestItems"].items():
        for entry in entries:
            put, delete = entry.get("PutRequest"), entry.get("DeleteRequest")
            if (put is None) == (delete is None):
                raise invalid("A write of a batch is either a PutRequest or a DeleteRequest")
            write = (
                _delete(region, {"TableName": name, **delete})
                if put is None
                else _put(region, {"TableName": name, **put})
            )
            writes.append((write, entry))
    if not 1 <= len(writes) <= BATCH_WRITES_MAX:
        raise invalid(f"A BatchWriteItem has 1 to {BATCH_WRITES_MAX} requests, not {len(writes)}")
    _distinct([write for write, _ in writes], "Provided list of item keys contains duplicates")
    if sum(write.size for write, _ in writes) > BATCH_BYTES_MAX:
        raise invalid("The batch is larger than 16 MB")
    left: dict[str, list[Wire]] = {}
    for write, entry in writes:
        name = write.table.name
        if region.unprocessed is not None and region.unprocessed(name, write.keys):
            left.setdefault(name, []).append(entry)
        else:
            write.table.store(write.key, write.item, write.size)
    if sum(map(len, left.values())) == len(writes):
        raise too_many("The level of configured provisioned throughput was exceeded")
    return {"UnprocessedItems": left}


def transact_write_items(region: Region, request: Wire) -> Wire:
    actions = request["TransactItems"]
    if not isinstance(actions, list) or not 1 <= len(actions) <= TRANSACTION_WRITES_MAX:
        raise invalid(f"A transaction has 1 to {TRANSACTION_WRITES_MAX} requests")
    if _answered_already(region, request):
        return {}
    writes = [_prepared(region, action) for action in actions]
    _distinct(writes, "Transaction request cannot include multiple operations on one item")
    if sum(write.size or item_bytes(write.keys) for write in writes) > TRANSACTION_BYTES_MAX:
        raise invalid("The transaction is larger than 4 MB")
    worked_out = [_worked_out(write) for write in writes]
    if any(reason["Code"] != "None" for reason, _ in worked_out):
        raise canceled([reason for reason, _ in worked_out])
    for write, (_, (new, size)) in zip(writes, worked_out, strict=True):
        write.table.store(write.key, new, size)
    if token := request.get("ClientRequestToken"):
        region.tokens[token] = (region.clock(), _digest(request))
    return {}


def _carried_out(write: Write) -> tuple[Wire | None, Wire | None]:
    old = write.old
    if not write.allowed():
        raise condition_failed(old if write.returns_old else None)
    new, size = write.outcome()
    write.table.store(write.key, new, size)
    return old, new


def _answer(write: Write, images: tuple[Wire | None, Wire | None], returns: str) -> Wire:
    old, new = images
    if returns == "NONE":
        return {}
    shown = old if returns.endswith("_OLD") else new
    if returns.startswith("UPDATED_"):
        shown = projected(shown or {}, write.touched or {})
    return {"Attributes": shown} if shown else {}


def _put(region: Region, request: Wire) -> Write:
    table = region.table(request.get("TableName"))
    item, size = checked_item(request.get("Item"))
    key = table.key_of(item)
    table.check_indexed(item)
    write = Write(table, key, table.key_attributes(item), item=item, size=size)
    return _with_expressions(write, request, ("ALL_OLD",))


def _delete(region: Region, request: Wire) -> Write:
    table = region.table(request.get("TableName"))
    keys, key = table.exact_key(request.get("Key"))
    return _with_expressions(Write(table, key, keys, deletes=True), request, ("ALL_OLD",))


def _check(region: Region, request: Wire) -> Write:
    table = region.table(request.get("TableName"))
    keys, key = table.exact_key(request.get("Key"))
    if "ConditionExpression" not in request:
        raise invalid("A ConditionCheck needs a ConditionExpression")
    return _with_expressions(Write(table, key, keys), request, ())


def _update(region: Region, request: Wire) -> Write:
    table = region.table(request.get("TableName"))
    keys, key = table.exact_key(request.get("Key"))
    write = Write(table, key, keys)
    if "UpdateExpression" not in request:
        write.item, write.size = write.old, table.sizes.get(key, 0)
        if write.item is None:
            write.item, write.size = checked_item(keys)
    return _with_expressions(write, request, ("ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"))


def _with_expressions(write: Write, request: Wire, returns: tuple[str, ...]) -> Write:
    names, values = names_of(request), values_of(request)
    write.names, write.values = names, values
    write.condition, write.update, write.touched = expressions_of(request, names, values)
    if write.touched is not None:
        for name in write.table.key_names:
            if name in write.touched:
                raise invalid(
                    "One or more parameter values were invalid: Cannot update attribute "
                    f"{name}. This attribute is part of the key"
                )
    if request.get("ReturnValues", "NONE") not in ("NONE", *returns):
        raise invalid(f"ReturnValues is not one of NONE {' '.join(returns)}")
    shown = request.get("ReturnValuesOnConditionCheckFailure", "NONE")
    if shown not in ("NONE", "ALL_OLD"):
        raise invalid("ReturnValuesOnConditionCheckFailure is not one of NONE ALL_OLD")
    write.returns_old = shown == "ALL_OLD"
    return write


_ACTIONS = {"Put": _put, "Update": _update, "Delete": _delete, "ConditionCheck": _check}


def _prepared(region: Region, action: Any) -> Write:
    if not isinstance(action, dict) or len(action) != 1:
        raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")
    ((kind, request),) = action.items()
    if kind not in _ACTIONS:
        raise malformed(f"{kind} is no action of a transaction")
    return _ACTIONS[kind](region, request)


def _worked_out(write: Write) -> tuple[Wire, tuple[Wire | None, int]]:
    """Return the reason for which a write of a transaction can't be done, and what it leaves."""
    if not write.allowed():
        reason: Wire = {"Code": "ConditionalCheckFailed", "Message": CONDITION_FAILED}
        if write.returns_old and write.old:
            reason["Item"] = write.old
        return reason, (None, 0)
    try:
        return {"Code": "None"}, write.outcome()
    except RefusedError as error:
        return {"Code": "ValidationError", "Message": error.message}, (None, 0)


def _distinct(writes: list[Write], message: str) -> None:
    if len({(write.table.name, write.key) for write in writes}) < len(writes):
        raise invalid(message)


def _answered_already(region: Region, request: Wire) -> bool:
    """Tell whether this very transaction was carried out a short while ago."""
    at_ms, digest = region.tokens.get(request.get("ClientRequestToken", ""), (0, b""))
    if not digest or at_ms + TOKEN_MS_MAX < region.clock():
        return False
    if digest != _digest(request):
        raise refusal(
            RefusedError,
            "IdempotentParameterMismatchException",
            "The token was used for another transaction",
        )
    return True


def _digest(request: Wire) -> bytes:
    return sha256(encode(request["TransactItems"])).digest()
