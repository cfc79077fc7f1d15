"""What Lambda puts into a bucket when a batch of a stream could not be applied.

Source: AWS Lambda Developer Guide, 'Retain discarded batch records' of 'Using AWS Lambda with
Amazon DynamoDB': an object has what is known of the invocation and, in S3 alone, ``payload``, the
whole event as JSON text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dynamirror.core.record import StreamRecord, records_of
from dynamirror.errors import DynamirrorError, MalformedRecordError


class UnfitBatchError(DynamirrorError):
    """An object of the bucket from which nothing can be redriven."""

    hint = "Compare the tables instead: `dynamirror verify CONFIG --repair --yes`."


class FailedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that could not be applied."""

    stream: str
    """The ARN of the stream."""
    why: str
    """Lambda's word for it, such as ``RetryAttemptsExhausted``; and since when, if it says so."""
    records: list[StreamRecord]


class _Batch(msgspec.Struct):
    streamArn: str  # noqa: N815 - Lambda's spelling


class _Request(msgspec.Struct, frozen=True):
    condition: str = "unknown"


class _Object(msgspec.Struct):
    DDBStreamBatchInfo: _Batch
    requestContext: _Request = _Request()  # noqa: N815
    timestamp: str = ""
    payload: Any = None


_decode = msgspec.json.Decoder(_Object).decode


def failed_batch(body: bytes) -> FailedBatch:
    """Return the batch in an object. Raises UnfitBatchError, which says why there is none."""
    try:
        told = _decode(body)
        event = msgspec.json.decode(told.payload) if isinstance(told.payload, str) else told.payload
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnfitBatchError(f"no batch of a DynamoDB stream: {error}") from None
    if event is None:
        raise UnfitBatchError("it has no payload: only who failed is told, not what")
    try:
        records = records_of(event)
    except MalformedRecordError as error:
        raise UnfitBatchError(f"its payload: {error}") from None
    if not records:
        raise UnfitBatchError("its payload has no records")
    since = f" at {told.timestamp}" if told.timestamp else ""
    return FailedBatch(
        stream=told.DDBStreamBatchInfo.streamArn,
        why=f"{told.requestContext.condition}{since}",
        records=records,
    )
