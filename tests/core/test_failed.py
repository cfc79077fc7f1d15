"""What Lambda keeps of a batch that failed is read whole, or it is said why it can't be."""

from __future__ import annotations

import json

import pytest
from tests.failed import STREAM, letter, wire

from dynamirror.core.failed import UnfitBatchError, failed_batch


def test_a_batch_is_read_with_its_images() -> None:
    """The payload is the event as text within the object's JSON."""
    batch = failed_batch(letter([wire("a", 7, new={"n": {"N": "1"}}), wire("b", 8)]))

    assert batch.stream == STREAM
    assert batch.why == "RetryAttemptsExhausted at 2026-11-14T00:13:49.717Z"
    assert [(one.sequence_number, one.keys["id"]["S"]) for one in batch.records] == [
        (7, "a"),
        (8, "b"),
    ]
    assert batch.records[0].new_image == {"id": {"S": "a"}, "n": {"N": "1"}}
    assert batch.records[1].new_image is None


def without(name: str) -> bytes:
    return json.dumps(
        {k: v for k, v in json.loads(letter([wire("a", 1)])).items() if k != name}
    ).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no batch of a DynamoDB stream"),
        (b"\xff", "no batch of a DynamoDB stream"),
        (b"[]", "no batch of a DynamoDB stream"),
        (without("DDBStreamBatchInfo"), "DDBStreamBatchInfo"),
        (without("payload"), "no payload"),
        (letter([]), "no records"),
        (letter([{"dynamodb": {}}]), "its payload: Records[0]"),
    ],
)
def test_what_is_no_batch_is_told(body: bytes, why: str) -> None:
    with pytest.raises(UnfitBatchError) as told:
        failed_batch(body)
    assert why in str(told.value)
    assert "verify CONFIG --repair" in told.value.hint
