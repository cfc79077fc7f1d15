"""Stream records, from either of their spellings: the API's answer to GetRecords, Lambda's event.

The two differ in little: Lambda writes ``userIdentity`` with small initials and hands over parsed
dicts, the API's pages we read as bytes and never parse the images in them. What a record means is
judged by its images, not by its event name: some servers name events unreliably (ScyllaDB
Alternator), none of them invents an image.

Sources: DynamoDB Streams API reference (Record, StreamRecord, Identity); AWS Lambda Developer
Guide, 'Using AWS Lambda with Amazon DynamoDB' (event JSON).
"""

from __future__ import annotations

from types import NoneType
from typing import Any

import msgspec

from dynamirror.core.values import SHOWN_MAX, Image, Key, Wire, key_of
from dynamirror.errors import MalformedRecordError

EVENT_NAMES = frozenset({"INSERT", "MODIFY", "REMOVE"})
SEQUENCE_NUMBER_DIGITS_MAX = 40

_IMAGE: frozenset[type] = frozenset({dict, NoneType})
_TIME: frozenset[type] = frozenset({float, int})
_TYPES: dict[str, frozenset[type]] = {
    "dynamodb": frozenset({dict}),
    "eventName": frozenset({str}),
    "SequenceNumber": frozenset({str}),
    "Keys": frozenset({dict}),
    "NewImage": _IMAGE,
    "OldImage": _IMAGE,
    "ApproximateCreationDateTime": _TIME,
    "userIdentity": _IMAGE,
}

_TTL_PRINCIPAL = "dynamodb.amazonaws.com"


class StreamRecord(msgspec.Struct, frozen=True, gc=False):
    """One entry of a table's stream.

    ``gc=False``: records are many, short-lived and never part of a cycle, so the collector need
    not walk them.
    """

    sequence_number: int
    """Position in its shard: up to 40 decimal digits, comparable only within one stream."""
    event_name: str
    key: Key
    keys: Wire
    """The key attributes in wire form."""
    new_image: Image | None
    old_image: Image | None
    created_at: float
    """The stream's own time of the change, seconds since the epoch, floored to the second."""
    by_ttl: bool
    """Whether the service removed the item because it had expired."""

    @property
    def known(self) -> bool:
        """Whether the event is of a kind that this version understands."""
        return self.event_name in EVENT_NAMES


class Page(msgspec.Struct, frozen=True):
    """One answer of GetRecords."""

    records: list[StreamRecord]
    next_iterator: str | None
    """None: the shard is closed and this was its end."""
    digits: int = 0
    """To how many digits the server pads sequence numbers with zeros, if it does."""
    size: int = 0
    """Bytes of the answer, which its records' images are views of."""


def record_of(wire: Wire) -> StreamRecord:
    """Return the record that a parsed dict spells, be it the API's or Lambda's.

    Raises MalformedRecordError, saying what was wrong where.
    """
    try:
        body, name = wire["dynamodb"], wire["eventName"]
        keys, new, old = body["Keys"], body.get("NewImage"), body.get("OldImage")
        at, identity = body.get("ApproximateCreationDateTime", 0.0), wire.get("userIdentity")
        number = body["SequenceNumber"]
        if (
            type(new) not in _IMAGE
            or type(old) not in _IMAGE
            or type(at) not in _TIME
            or type(name) is not str
            or type(keys) is not dict
            or type(number) is not str
        ):
            raise TypeError  # noqa: TRY301 - _mistyped finds the words
        by_ttl = identity is not None and _is_ttl(identity)
        record = StreamRecord(
            _sequence_number(number), name, key_of(keys), keys, new, old, at, by_ttl
        )
    except KeyError as error:
        raise MalformedRecordError(
            f"a stream record without {error.args[0]}: {_brief(wire)}"
        ) from None
    except ValueError as error:
        raise MalformedRecordError(f"{error}: {_brief(wire)}") from None
    except (TypeError, AttributeError):
        raise MalformedRecordError(_mistyped(wire)) from None
    if new is None and name in ("INSERT", "MODIFY"):
        raise _without_image(name)
    return record


def records_of(event: Any) -> list[StreamRecord]:
    """Return the records of a Lambda event, ``{"Records": [...]}``, in their order.

    Raises MalformedRecordError, naming the record at fault by its place.
    """
    wires = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(wires, list):
        raise MalformedRecordError(
            'an event of DynamoDB Streams is {"Records": [...]}, this is not'
        )
    records = []
    for place, wire in enumerate(wires):
        try:
            records.append(record_of(wire))
        except MalformedRecordError as error:
            raise MalformedRecordError(f"Records[{place}]: {error}") from None
    return records


def page_of(answer: bytes) -> Page:
    """Return the records of a GetRecords answer; their images stay raw bytes.

    Raises MalformedRecordError, saying what was wrong where.
    """
    try:
        page = _decode_page(answer)
        records = [_of_api(record) for record in page.Records]
        last = page.Records[-1].dynamodb.SequenceNumber if records else ""
        digits = len(last) if last.startswith("0") else 0
        return Page(records, page.NextShardIterator, digits, len(answer))
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedRecordError(f"an answer of GetRecords that can't be read: {error}") from None


class _ApiStreamRecord(msgspec.Struct, gc=False):
    SequenceNumber: str
    Keys: dict[str, dict[str, str]]
    NewImage: msgspec.Raw = msgspec.Raw()
    OldImage: msgspec.Raw = msgspec.Raw()
    ApproximateCreationDateTime: float = 0.0


class _ApiRecord(msgspec.Struct, gc=False):
    eventName: str  # noqa: N815 - the API's spelling
    dynamodb: _ApiStreamRecord
    userIdentity: dict[str, str] | None = None  # noqa: N815


class _ApiPage(msgspec.Struct):
    Records: list[_ApiRecord]
    NextShardIterator: str | None = None


_decode_page = msgspec.json.Decoder(_ApiPage).decode


def _of_api(record: _ApiRecord) -> StreamRecord:
    body, identity = record.dynamodb, record.userIdentity
    if not body.NewImage and record.eventName in ("INSERT", "MODIFY"):
        raise _without_image(record.eventName)
    return StreamRecord(
        _sequence_number(body.SequenceNumber),
        record.eventName,
        key_of(body.Keys),
        body.Keys,
        body.NewImage or None,
        body.OldImage or None,
        body.ApproximateCreationDateTime,
        identity is not None and _is_ttl(identity),
    )


def _sequence_number(text: str) -> int:
    if text.isdecimal() and text.isascii() and len(text) <= SEQUENCE_NUMBER_DIGITS_MAX:
        return int(text)
    raise ValueError(f"SequenceNumber is 1 to 40 decimal digits, not {text[:SHOWN_MAX]!r}")


def _is_ttl(identity: Wire) -> bool:
    principal = identity.get("principalId") or identity.get("PrincipalId")
    return principal == _TTL_PRINCIPAL


def _without_image(event_name: str) -> MalformedRecordError:
    return MalformedRecordError(
        f"{event_name} without NewImage: the stream's view type must be NEW_AND_OLD_IMAGES "
        "(a stream's view type can't be changed; disable it and enable a new one)"
    )


def _mistyped(wire: Any) -> str:
    """Say which member of a record is of a type that it can't be."""
    if not isinstance(wire, dict):
        return f"a stream record is an object, not a {type(wire).__name__}"
    body = wire.get("dynamodb")
    members = {**wire, **(body if isinstance(body, dict) else {})}
    found = (
        f"{name} can't be a {type(members[name]).__name__}"
        for name, types in _TYPES.items()
        if name in members and type(members[name]) not in types
    )
    return f"{', '.join(found)}: {_brief(wire)}"


def _brief(wire: Wire) -> str:
    """Name a malformed record without its images: they may be secret, or 400 KB."""
    return f"eventID {wire.get('eventID')!r}, eventName {wire.get('eventName')!r}"
