"""What is sent for a change: the image unchanged, and what each guard says of late ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.images import ITEMS, KEYS, nested, wire_of

from dynamirror.core import one_way
from dynamirror.core.marks import mark
from dynamirror.core.one_way import Rules, reasons_of
from dynamirror.core.record import StreamRecord, page_of, record_of
from dynamirror.core.values import Wire, decode, encode, key_of, row_key
from dynamirror.errors import TransactionCanceledError

OURS = ("_mirror", "_mirror_seq")
RULES = Rules("stories", "Target", "Ledger", "_mirror_seq", OURS, epoch=3)
KEY = {"id": {"S": "a"}}
NOW_MS = 1_700_000_000_500
NEWER = "attribute_not_exists(#q) OR #q < :q"


def records(wire: Wire) -> list[StreamRecord]:
    """Return the record that Lambda passes on, and the one that the API does."""
    return [record_of(wire), page_of(encode({"Records": [wire]})).records[0]]


def clean(item: Wire) -> Wire:
    return {name: value for name, value in item.items() if name not in OURS}


AWKWARD = {
    **KEY,
    "digits": {"N": "99999999999999999999999999999999999999"},
    "tiny": {"N": "1E-130"},
    "empty": {"S": ""},
    "nothing": {"NULL": True},
    "bytes": {"B": "AP8="},
    "no bytes": {"B": ""},
    "sets": {"L": [{"SS": ["", "a"]}, {"NS": ["1", "2.50"]}, {"BS": ["AA==", ""]}]},
    "deep": nested(31),
    'a "name" \\ \x00 é 🎈': {"S": 'a "text" \\ \x00 é 🎈'},
    "hollow": {
        "M": {},
    },
    "list": {"L": []},
}


@given(ITEMS.map(clean))
def test_an_image_travels_unchanged_under_every_guard(item: Wire) -> None:
    travels({**KEY, **item})


def test_an_awkward_image_travels_unchanged_under_every_guard() -> None:
    """38 digits, binary, sets, 32 levels, empty texts, NULL, names of any characters."""
    travels(AWKWARD)


def travels(item: Wire) -> None:
    for record in records(wire_of(KEY, item, item, number=5)):
        entry = decode(one_way.batch_request(RULES, [one_way.batch_entry(RULES, record)]))
        assert entry == {"RequestItems": {"Target": [{"PutRequest": {"Item": item}}]}}

        operation, request = one_way.item_request(RULES, record)
        put = decode(request)
        assert operation == "PutItem"
        assert put["Item"] == {**item, "_mirror_seq": {"S": mark(3, 5)}}
        assert put["TableName"] == "Target"

        transaction = decode(one_way.ledger_request(RULES, record, NOW_MS))["TransactItems"]
        assert transaction[1] == {"Put": {"TableName": "Target", "Item": item}}


@given(KEYS)
def test_a_removal_deletes_its_key_under_every_guard(keys: Wire) -> None:
    for record in records(wire_of(keys, None, keys)):
        assert one_way.batch_entry(RULES, record) == {"DeleteRequest": {"Key": keys}}

        operation, request = one_way.item_request(RULES, record)
        assert operation == "DeleteItem"
        assert decode(request)["Key"] == keys

        transaction = decode(one_way.ledger_request(RULES, record, NOW_MS))["TransactItems"]
        assert transaction[1] == {"Delete": {"TableName": "Target", "Key": keys}}


def test_an_earlier_links_marks_are_taken_off() -> None:
    """A chain of mirrors carries only what users wrote."""
    held = {**KEY, "_mirror": {"S": mark(1, 1)}, "_mirror_seq": {"S": mark(1, 2)}}
    for record in records(wire_of(KEY, held, number=5)):
        entry = one_way.batch_entry(RULES, record)
        assert decode(encode(entry)) == {"PutRequest": {"Item": KEY}}
        transaction = decode(one_way.ledger_request(RULES, record, NOW_MS))["TransactItems"]
        assert transaction[1]["Put"]["Item"] == KEY
        _, request = one_way.item_request(RULES, record)
        assert decode(request)["Item"] == {**KEY, "_mirror_seq": {"S": mark(3, 5)}}


@pytest.mark.parametrize("new", [KEY, None])
def test_the_guards_write_only_over_what_is_older(new: Wire | None) -> None:
    record = record_of(wire_of(KEY, new, KEY, number=5))
    _, request = one_way.item_request(RULES, record)
    put = decode(request)
    guard = decode(one_way.ledger_request(RULES, record, NOW_MS))["TransactItems"][0]["Put"]

    for one, name in ((put, "_mirror_seq"), (guard, "q")):
        assert one["ConditionExpression"] == NEWER
        assert one["ExpressionAttributeNames"] == {"#q": name}
        assert one["ExpressionAttributeValues"] == {":q": {"S": mark(3, 5)}}


@pytest.mark.parametrize("new", [KEY, None])
def test_the_ledger_keeps_a_row_of_every_change_for_a_week(new: Wire | None) -> None:
    """Of deletes too: the row is what refuses a late put."""
    record = record_of(wire_of(KEY, new, KEY, number=5))
    guard = decode(one_way.ledger_request(RULES, record, NOW_MS))["TransactItems"][0]["Put"]

    assert guard["TableName"] == "Ledger"
    assert guard["Item"] == {
        "k": {"S": row_key("stories", key_of(KEY))},
        "q": {"S": mark(3, 5)},
        "format": {"N": "1"},
        "expires_at": {"N": str(1_700_000_000 + 7 * 86_400)},
    }


@given(ITEMS.map(clean))
def test_a_backfill_copies_only_where_nothing_has_arrived(item: Wire) -> None:
    keys = {"b": {"S": "x"}, "a": {"N": "1"}}
    copy = record_of(wire_of(keys, {**item, **keys}))
    put, check = decode(one_way.copy_request(RULES, copy))["TransactItems"]

    assert put["Put"]["Item"] == {**item, **keys}
    assert put["Put"]["ConditionExpression"] == "attribute_not_exists(#k)"
    assert put["Put"]["ExpressionAttributeNames"] == {"#k": "a"}
    assert check["ConditionCheck"]["Key"] == {"k": {"S": row_key("stories", key_of(keys))}}
    assert check["ConditionCheck"]["ConditionExpression"] == "attribute_not_exists(#k)"
    assert check["ConditionCheck"]["TableName"] == "Ledger"


@given(st.lists(st.tuples(KEYS.filter(lambda keys: len(keys) == 1), st.booleans()), max_size=5))
def test_what_was_not_processed_is_known_by_its_key(entries: list[tuple[Wire, bool]]) -> None:
    for keys, put in entries:
        entry = record_of(wire_of(keys, {**keys, "further": {"S": "x"}} if put else None, keys))
        answer = encode({"UnprocessedItems": {"Target": [one_way.batch_entry(RULES, entry)]}})
        assert one_way.unprocessed_keys(answer, frozenset(keys)) == {entry.key}


def test_nothing_unprocessed_has_no_keys() -> None:
    assert one_way.unprocessed_keys(b"{}", frozenset(["id"])) == set()
    assert one_way.unprocessed_keys(b'{"UnprocessedItems":{}}', frozenset(["id"])) == set()


def canceled(*codes: str | None, message: str | None = None) -> one_way.Reasons:
    reasons = [{"Code": code, "Message": message} for code in codes]
    body = encode({"CancellationReasons": reasons})
    return reasons_of(TransactionCanceledError("TransactionCanceledException", "", body))


@pytest.mark.parametrize(
    ("codes", "stale", "hopeless"),
    [
        (["ConditionalCheckFailed", "None"], True, False),
        (["ConditionalCheckFailed", None], True, False),
        (["TransactionConflict", "ConditionalCheckFailed"], False, False),
        (["ThrottlingError", "None"], False, False),
        (["None", "None"], False, False),
        ([], False, False),
        (["None", "ValidationError"], False, True),
        (["None", "ItemCollectionSizeLimitExceeded"], False, True),
    ],
)
def test_a_canceled_transactions_reasons_say_what_to_do(
    codes: list[Any], *, stale: bool, hopeless: bool
) -> None:
    reasons = canceled(*codes, message="why")

    assert (reasons.stale, reasons.hopeless) == (stale, hopeless)
    assert reasons.messages == ("why",) * len(codes)
    assert "None" in canceled(None).codes
    assert canceled(None).messages == ("",)


def test_requests_are_bytes_even_of_raw_images() -> None:
    entry = one_way.batch_entry(RULES, record_of(wire_of(KEY, AWKWARD)))
    image = msgspec.Raw(encode(AWKWARD))

    assert one_way.batch_request(RULES, [{"PutRequest": {"Item": image}}]) == (
        one_way.batch_request(RULES, [entry])
    )
