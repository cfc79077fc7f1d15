"""Both spellings of a stream record mean the same; what is no record says what it is and where."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.images import ITEMS, KEYS, SEQUENCE_NUMBERS, wire_of

from dynamirror.core.record import StreamRecord, page_of, record_of, records_of
from dynamirror.core.values import Wire, encode, opened
from dynamirror.errors import MalformedRecordError

SECRET = "the user's secret"
KEY = {"id": {"S": "a"}}
ITEM = {**KEY, "text": {"S": SECRET}}


def page(*records: Wire, **members: Any) -> bytes:
    return encode({"Records": records, **members})


def parsed(record: StreamRecord) -> StreamRecord:
    """Return the record with its images parsed, to compare both spellings."""
    return msgspec.structs.replace(
        record,
        new_image=None if record.new_image is None else opened(record.new_image),
        old_image=None if record.old_image is None else opened(record.old_image),
    )


@given(KEYS, ITEMS | st.none(), ITEMS | st.none(), SEQUENCE_NUMBERS, st.booleans())
def test_both_spellings_mean_the_same(
    keys: Wire,
    new: Wire | None,
    old: Wire | None,
    number: int,
    by_ttl: bool,  # noqa: FBT001
) -> None:
    principal = "dynamodb.amazonaws.com"
    lambda_wire, api_wire = (
        wire_of(keys, new, old, number=number),
        wire_of(keys, new, old, number=number),
    )
    if by_ttl:
        lambda_wire["userIdentity"] = {"type": "Service", "principalId": principal}
        api_wire["userIdentity"] = {"Type": "Service", "PrincipalId": principal}

    (record,) = page_of(page(api_wire)).records

    assert record_of(lambda_wire) == parsed(record)
    assert record.sequence_number == number
    assert record.by_ttl == by_ttl
    assert record.known


@given(ITEMS)
def test_an_image_is_passed_on_as_it_came(item: Wire) -> None:
    """From the API as the very bytes, from Lambda as the very dict."""
    (record,) = page_of(page(wire_of(KEY, item, item))).records

    assert bytes(record.new_image) == bytes(record.old_image) == encode(item)  # type: ignore[arg-type]
    assert record_of(wire_of(KEY, item)).new_image is item


def test_a_page_tells_whether_the_shard_goes_on() -> None:
    assert page_of(page(NextShardIterator="it")).next_iterator == "it"
    assert page_of(page()).next_iterator is None


def test_expiry_is_told_by_its_principal_alone() -> None:
    """Others act for themselves, with an identity or without."""
    assert not record_of(wire_of(KEY)).by_ttl
    assert not record_of(wire_of(KEY, userIdentity=None)).by_ttl
    assert not record_of(wire_of(KEY, userIdentity={"principalId": "someone"})).by_ttl


def test_an_event_of_unknown_name_is_a_record_that_says_so() -> None:
    """A later kind of event must reach whoever parks it, with or without images."""
    wire = wire_of(KEY, ITEM, eventName="REWRITE")

    assert not record_of(wire).known
    assert not page_of(page(wire)).records[0].known


@pytest.mark.parametrize("name", ["INSERT", "MODIFY"])
def test_a_stream_without_new_images_is_refused(name: str) -> None:
    """Taking it for a delete would empty the target."""
    wire = wire_of(KEY, eventName=name)

    with pytest.raises(MalformedRecordError, match=f"{name} without NewImage.*NEW_AND_OLD_IMAGES"):
        record_of(wire)
    with pytest.raises(MalformedRecordError, match=f"{name} without NewImage.*NEW_AND_OLD_IMAGES"):
        page_of(page(wire))


def without(name: str) -> Wire:
    wire = wire_of(KEY, ITEM, ITEM)
    del (wire if name in wire else wire["dynamodb"])[name]
    return wire


def with_(**members: Any) -> Wire:
    wire = wire_of(KEY, ITEM, ITEM)
    for name, value in members.items():
        (wire if name in wire or name == "userIdentity" else wire["dynamodb"])[name] = value
    return wire


MALFORMED: list[tuple[Any, str]] = [
    (without("dynamodb"), "dynamodb"),
    (without("eventName"), "eventName"),
    (without("Keys"), "Keys"),
    (without("SequenceNumber"), "SequenceNumber"),
    (with_(SequenceNumber=""), "SequenceNumber"),
    (with_(SequenceNumber="-1"), "SequenceNumber"),
    (with_(SequenceNumber="1.5"), "SequenceNumber"),
    (with_(SequenceNumber="\u0661"), "SequenceNumber"),
    (with_(SequenceNumber="9" * 41), "SequenceNumber"),
    (with_(SequenceNumber=17), "SequenceNumber"),
    (with_(eventName=None), "eventName"),
    (with_(eventName=["INSERT"]), "eventName"),
    (with_(Keys={}), "key"),
    (with_(Keys=[KEY]), "Keys"),
    (with_(Keys={"id": {"M": {}}}), "key attribute"),
    (with_(Keys={"id": "a"}), "key attribute"),
    (with_(NewImage=SECRET), "NewImage"),
    (with_(NewImage=[ITEM]), "NewImage"),
    (with_(OldImage=SECRET), "OldImage"),
    (with_(ApproximateCreationDateTime="today"), "ApproximateCreationDateTime"),
    (with_(dynamodb=[]), "dynamodb"),
    (with_(userIdentity="me"), "userIdentity"),
]


@pytest.mark.parametrize(("wire", "what"), MALFORMED)
def test_a_malformed_record_says_what_was_wrong_and_nothing_of_the_item(
    wire: Wire, what: str
) -> None:
    with pytest.raises(MalformedRecordError, match=what) as caught:
        record_of(wire)
    assert "eventID 'e1'" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, ValueError)


# An image that isn't parsed is the target's to judge.
MALFORMED_FOR_THE_API = [one for one in MALFORMED if one[1] not in ("NewImage", "OldImage")]


@pytest.mark.parametrize("wire", [wire for wire, _ in MALFORMED_FOR_THE_API])
def test_a_malformed_page_says_so_and_nothing_of_the_item(wire: Wire) -> None:
    with pytest.raises(MalformedRecordError, match="GetRecords that can't be read") as caught:
        page_of(page(wire))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("wire", [None, "x", 7, [], [ITEM]])
def test_what_is_no_object_is_no_record(wire: Any) -> None:
    with pytest.raises(MalformedRecordError, match=f"is an object, not a {type(wire).__name__}"):
        record_of(wire)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"Records":{}}', b'{"Records":[1]}'])
def test_what_is_no_page_is_refused(answer: bytes) -> None:
    with pytest.raises(MalformedRecordError, match="GetRecords that can't be read"):
        page_of(answer)


@pytest.mark.parametrize("event", [None, [], {}, {"Records": None}, {"records": []}, "x"])
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(MalformedRecordError, match=r'is \{"Records": '):
        records_of(event)


def test_an_events_records_keep_their_order_and_the_bad_one_is_named_by_its_place() -> None:
    good = [wire_of(KEY, ITEM, number=number) for number in (3, 1, 2)]

    assert [one.sequence_number for one in records_of({"Records": good})] == [3, 1, 2]
    with pytest.raises(MalformedRecordError, match=r"Records\[3\]: .*SequenceNumber") as caught:
        records_of({"Records": [*good, without("SequenceNumber")]})
    assert SECRET not in str(caught.value)
