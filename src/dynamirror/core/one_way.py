"""What one-way mirroring sends for a change, under each guard, and what an answer means.

========  =======================================  ============================================
guard     request per change                       refuses
========  =======================================  ============================================
order     an entry of a BatchWriteItem             nothing: relies on per-key order and replay
item      a conditional PutItem or DeleteItem      late and duplicate changes of a present item
ledger    a transaction of item and ledger row     every late and duplicate change
========  =======================================  ============================================

A change puts its new image, or, where it has none, deletes its key. Marks that an earlier link
left on the image are taken off, so a chain of mirrors carries only what users wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dynamirror.core.marks import mark, marked, stripped
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, encode, key_of, row_key
from dynamirror.errors import TransactionCanceledError

LEDGER_FORMAT = 1
LEDGER_DAYS = 7
"""How long a ledger row outlives its change: the stream's 24 hours, and time to redrive."""

_NEWER = "attribute_not_exists(#q) OR #q < :q"
"""True where the target knows no change of this item that is as new as ours."""


class Rules(msgspec.Struct, frozen=True):
    """What a link needs to know to spell its requests."""

    mirror: str
    table: str
    """The target, by name or ARN."""
    ledger: str
    """The ledger beside it."""
    sequence_attribute: str
    ours: tuple[str, ...]
    """Attributes in which an earlier link may have left its mark or stamp on the source's items."""
    epoch: int = 1
    """Which of the source's streams the sequence numbers belong to, counted from 1."""


def batch_entry(rules: Rules, record: StreamRecord) -> Wire:
    """Return the change as an entry of BatchWriteItem's list."""
    image = record.new_image
    if image is None:
        return {"DeleteRequest": {"Key": record.keys}}
    return {"PutRequest": {"Item": stripped(image, rules.ours)}}


def batch_request(rules: Rules, entries: Sequence[Wire]) -> bytes:
    """Return a BatchWriteItem of these entries."""
    return encode({"RequestItems": {rules.table: entries}})


def unprocessed_keys(answer: bytes, key_names: frozenset[str]) -> set[tuple[str, ...]]:
    """Return the keys that a BatchWriteItem's answer lists as not processed."""
    tables = _decode_unprocessed(answer).UnprocessedItems
    keys = set()
    for entry in (entry for entries in tables.values() for entry in entries):
        if "PutRequest" in entry:
            item = entry["PutRequest"]["Item"]
            keys.add(key_of({name: item[name] for name in key_names}))
        else:
            keys.add(key_of(entry["DeleteRequest"]["Key"]))
    return keys


def item_request(rules: Rules, record: StreamRecord) -> tuple[str, bytes]:
    """Return the guard ``item``'s operation and request."""
    text = mark(rules.epoch, record.sequence_number)
    condition = {
        "TableName": rules.table,
        "ConditionExpression": _NEWER,
        "ExpressionAttributeNames": {"#q": rules.sequence_attribute},
        "ExpressionAttributeValues": {":q": {"S": text}},
    }
    if record.new_image is None:
        return "DeleteItem", encode({**condition, "Key": record.keys})
    image = marked(stripped(record.new_image, rules.ours), rules.sequence_attribute, text)
    return "PutItem", encode({**condition, "Item": image})


def ledger_request(rules: Rules, record: StreamRecord, now_ms: int) -> bytes:
    """Return the guard ``ledger``'s transaction: the item, and its mark in the ledger's row.

    Deletes leave a row too, even where there was no item: it is what refuses a late put. Rows
    expire a week after ``now_ms``, when no stream or retry could bring an older change any more.
    """
    text = mark(rules.epoch, record.sequence_number)
    row = {
        "k": {"S": row_key(rules.mirror, record.key)},
        "q": {"S": text},
        "format": {"N": str(LEDGER_FORMAT)},
        "expires_at": {"N": str(now_ms // 1_000 + LEDGER_DAYS * 86_400)},
    }
    guard = {
        "TableName": rules.ledger,
        "Item": row,
        "ConditionExpression": _NEWER,
        "ExpressionAttributeNames": {"#q": "q"},
        "ExpressionAttributeValues": {":q": {"S": text}},
    }
    return encode({"TransactItems": [{"Put": guard}, _plain(rules, record)]})


def copy_request(rules: Rules, record: StreamRecord) -> bytes:
    """Return the transaction by which a backfill copies an item under guard ``ledger``: only where
    neither the item nor any change of it has arrived yet.
    """
    put = _plain(rules, record)
    put["Put"] |= {
        "ConditionExpression": "attribute_not_exists(#k)",
        "ExpressionAttributeNames": {"#k": min(record.keys)},
    }
    unheard = {
        "TableName": rules.ledger,
        "Key": {"k": {"S": row_key(rules.mirror, record.key)}},
        "ConditionExpression": "attribute_not_exists(#k)",
        "ExpressionAttributeNames": {"#k": "k"},
    }
    return encode({"TransactItems": [put, {"ConditionCheck": unheard}]})


class Reasons(msgspec.Struct, frozen=True):
    """Why a transaction was canceled: a code for each of its requests, in their order."""

    codes: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def stale(self) -> bool:
        """Whether only conditions failed: somebody was newer, and nothing is to be done."""
        told = set(self.codes)
        return "ConditionalCheckFailed" in told and told <= {"None", "ConditionalCheckFailed"}

    @property
    def hopeless(self) -> bool:
        """Whether a request can never succeed as it is."""
        return bool({"ValidationError", "ItemCollectionSizeLimitExceeded"} & set(self.codes))


def reasons_of(error: TransactionCanceledError) -> Reasons:
    """Return the reasons that a canceled transaction's error lists."""
    reasons = _decode_canceled(error.body).CancellationReasons
    return Reasons(
        tuple(reason.Code or "None" for reason in reasons),
        tuple(reason.Message or "" for reason in reasons),
    )


def _plain(rules: Rules, record: StreamRecord) -> Wire:
    if record.new_image is None:
        return {"Delete": {"TableName": rules.table, "Key": record.keys}}
    return {"Put": {"TableName": rules.table, "Item": stripped(record.new_image, rules.ours)}}


class _Unprocessed(msgspec.Struct):
    UnprocessedItems: dict[str, list[Wire]] = {}


class _Reason(msgspec.Struct):
    Code: str | None = None
    Message: str | None = None


class _Canceled(msgspec.Struct):
    CancellationReasons: list[_Reason] = []


_decode_unprocessed = msgspec.json.Decoder(_Unprocessed).decode
_decode_canceled = msgspec.json.Decoder(_Canceled).decode
