"""One class per guard: how writes are sent to a target, and which of them to try again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from dynamirror.config.model import Guard
from dynamirror.core import one_way
from dynamirror.core.limits import BATCH_WRITE_BYTES_MAX, BATCH_WRITE_ITEMS_MAX
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, encode
from dynamirror.errors import (
    BusyError,
    ConditionFailedError,
    RefusedError,
    ThrottledError,
    TransactionCanceledError,
)
from dynamirror.ports import Clock, DynamoDB

Squash = Callable[[StreamRecord, StreamRecord], StreamRecord | None]
"""Returns the one record that stands for two of a key in a row; None: each must be sent."""

NOTHING_UNPROCESSED = b'{"UnprocessedItems":{}}'


class Target(Protocol):
    """Where a link writes, under one guard."""

    name: str
    """The place's short name."""
    records_max: int
    """How many records one request may carry."""
    squash: Squash | None
    """None: of a key's changes only the last matters."""

    @property
    def stale(self) -> int:
        """How many changes the guard has refused so far: late or delivered twice."""
        ...

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Send one request for records of distinct keys; return those the service left undone.

        Safe to repeat. Raises ThrottledError, TransientError or BusyError where all are to be
        tried again, RefusedError or UnfitError where they can't be applied as they are.
        """
        ...

    async def probe(self, keys: Wire) -> None:
        """Ask, with some item's key, whether the table takes writes. Raises as ``send`` does."""
        ...


async def probe(api: DynamoDB, table: str, keys: Wire) -> None:
    """Send a write that changes nothing, whenever it lands: its condition never holds."""
    request = {
        "TableName": table,
        "Key": keys,
        "ConditionExpression": "attribute_exists(#k) AND attribute_not_exists(#k)",
        "ExpressionAttributeNames": {"#k": min(keys)},
    }
    with contextlib.suppress(ConditionFailedError):
        await api.call("DeleteItem", encode(request))


class _Table:
    """What all targets of one-way mirrors have in common."""

    squash: Squash | None = None

    def __init__(self, name: str, api: DynamoDB, rules: one_way.Rules) -> None:
        self.name = name
        self.stale = 0
        self._api = api
        self._rules = rules

    async def probe(self, keys: Wire) -> None:
        await probe(self._api, self._rules.table, keys)


class OrderTarget(_Table):
    """Guard ``order``: plain writes, 25 to a request."""

    records_max = BATCH_WRITE_ITEMS_MAX

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        entries = [one_way.batch_entry(self._rules, record) for record in records]
        request = one_way.batch_request(self._rules, entries)
        if len(request) > BATCH_WRITE_BYTES_MAX and len(records) > 1:
            half = len(records) // 2
            return [*await self.send(records[:half]), *await self.send(records[half:])]
        answer = await self._api.call("BatchWriteItem", request)
        if answer == NOTHING_UNPROCESSED:
            return ()
        keys = one_way.unprocessed_keys(answer, frozenset(records[0].keys))
        left = [record for record in records if record.key in keys]
        # A key in a spelling that we don't recognize is a write not made: then all of them again.
        return left if len(left) == len(keys) else records


class ItemTarget(_Table):
    """Guard ``item``: one conditional write per change, the mark on the item."""

    records_max = 1

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        operation, request = one_way.item_request(self._rules, record)
        try:
            await self._api.call(operation, request)
        except ConditionFailedError:
            self.stale += 1
        return ()


class LedgerTarget(_Table):
    """Guard ``ledger``: one transaction per change, the mark in a row of its own."""

    records_max = 1

    def __init__(self, name: str, api: DynamoDB, rules: one_way.Rules, clock: Clock) -> None:
        super().__init__(name, api, rules)
        self._clock = clock

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        request = one_way.ledger_request(self._rules, record, self._clock())
        if await _transact(self._api, request):
            self.stale += 1
        return ()


class CopyTarget(LedgerTarget):
    """A backfill's writes under guard ``ledger``: only where nothing of the item has arrived."""

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        if record.event_name != "INSERT":
            # Of an incremental export: its row refuses what older ones have of the item.
            request = one_way.ledger_request(self._rules, record, self._clock())
        else:
            request = one_way.copy_request(self._rules, record)
        if await _transact(self._api, request):
            self.stale += 1
        return ()


def target_of(guard: Guard, name: str, api: DynamoDB, rules: one_way.Rules, clock: Clock) -> Target:
    """Return the target that keeps a guard."""
    match guard:
        case Guard.ORDER:
            return OrderTarget(name, api, rules)
        case Guard.ITEM:
            return ItemTarget(name, api, rules)
        case Guard.LEDGER:
            return LedgerTarget(name, api, rules, clock)


async def _transact(api: DynamoDB, request: bytes) -> bool:
    """Send a transaction; return whether its conditions said that something newer was there."""
    try:
        await api.call("TransactWriteItems", request)
    except TransactionCanceledError as error:
        if one_way.reasons_of(error).stale:
            return True
        raise _refined(error) from error
    return False


def _refined(
    error: TransactionCanceledError,
) -> RefusedError | BusyError | ThrottledError:
    """Say in our terms why a transaction was canceled, where it wasn't its condition alone."""
    reasons = one_way.reasons_of(error)
    text = ", ".join(reasons.codes)
    if reasons.hopeless:
        told = "; ".join(message for message in reasons.messages if message)
        return RefusedError("TransactionCanceledException", f"{text}: {told}", error.body)
    if {"ThrottlingError", "ProvisionedThroughputExceeded"} & set(reasons.codes):
        return ThrottledError("TransactionCanceledException", text, error.body)
    return BusyError("TransactionCanceledException", text, error.body)
