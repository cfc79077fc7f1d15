"""Objects as Lambda puts them into the bucket for batches that could not be applied."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from dynamirror.core.values import Wire

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/Stories/stream/2026-11-01T00:00:00.000"


def wire(
    key: str, number: int, *, new: Wire | None = None, old: Wire | None = None
) -> dict[str, Any]:
    """Return a record of an event: a REMOVE without a new image."""
    keys = {"id": {"S": key}}
    images = {"NewImage": new, "OldImage": old}
    return {
        "eventName": "REMOVE" if new is None else "INSERT" if old is None else "MODIFY",
        "dynamodb": {
            "Keys": keys,
            "SequenceNumber": str(number),
            "ApproximateCreationDateTime": int(time.time()),
            **{name: {**keys, **image} for name, image in images.items() if image is not None},
        },
    }


def letter(records: Sequence[dict[str, Any]], stream: str = STREAM) -> bytes:
    """Return a batch's object (AWS Lambda Developer Guide, 'Retain discarded batch records')."""
    event = {"Records": [{**record, "eventSourceARN": stream} for record in records]}
    told = {
        "requestContext": {
            "requestId": "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5",
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:dynamirror-stories",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 1,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "version": "1.0",
        "timestamp": "2026-11-14T00:13:49.717Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-1",
            "batchSize": len(records),
            "streamArn": stream,
        },
        "payload": json.dumps(event),
    }
    return json.dumps(told).encode()
