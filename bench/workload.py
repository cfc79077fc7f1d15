"""What is applied: Lambda events of a table's stream, the same for every contender.

Standard library only, for it runs in the peers' virtual environment too. The items are those of
stub/stub.c and stub/floor.c: ten attributes of seven types, filled up to the size asked for.
"""

from __future__ import annotations

import base64
import json
import random
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

TABLE = "Bench"
SOURCE_REGION = "us-east-1"
TARGET_REGION = "eu-west-1"
STREAM_ARN = (
    f"arn:aws:dynamodb:{SOURCE_REGION}:000000000000:table/{TABLE}/stream/2026-01-01T00:00:00.000"
)

ZIPF_KEYS = 10_000
HOT_KEYS = 10

# Size of the item without its note, by DynamoDB's own rule (names and values as UTF-8, a number one
# byte per two digits and one more, three bytes per list or map and one per member).
ITEM_BYTES_BARE = 192

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The shape of the events."""

    batch: int = 1_000
    keys: str = "unique"
    item_bytes: int = 300


def image_text(views: int, note_bytes: int) -> str:
    """Return an item as DynamoDB JSON, with ``%s`` where its key's number belongs."""
    item = {
        "id": {"S": "item-%s"},
        "title": {"S": "A stream of consciousness, in three parts"},
        "author": {"S": "Ada Lovelace"},
        "published": {"BOOL": True},
        "score": {"N": "1.25"},
        "views": {"N": str(1_234_560 + views)},
        "tags": {"SS": ["essay", "history", "long"]},
        "place": {"M": {"city": {"S": "London"}, "zip": {"N": "12345"}}},
        "digest": {"B": "q83vASNFZ4mrze8BI0VniavN7wEjRWeJ"},
        "note": {"S": "n" * note_bytes},
    }
    return json.dumps(item, separators=(",", ":"))


class Events:
    """Events one after the other; no sequence number comes twice."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._count = 0
        self._random = random.Random(17)
        note = max(1, load.item_bytes - ITEM_BYTES_BARE)
        self._record = (
            '{"eventID":"%032x","eventName":"MODIFY","eventVersion":"1.1",'
            f'"eventSource":"aws:dynamodb","awsRegion":"{SOURCE_REGION}","dynamodb":{{'
            '"ApproximateCreationDateTime":1767225600.0,"Keys":{"id":{"S":"item-%s"}},'
            f'"NewImage":{image_text(7, note)},"OldImage":{image_text(6, note)},'
            f'"SequenceNumber":"44215845000000%014d","SizeBytes":{2 * load.item_bytes + 20},'
            f'"StreamViewType":"NEW_AND_OLD_IMAGES"}},"eventSourceARN":"{STREAM_ARN}"}}'
        )
        self._reach = list(accumulate(1 / rank for rank in range(1, ZIPF_KEYS + 1)))

    def next(self, records: int | None = None) -> tuple[Event, int]:
        """Return the next event, parsed as Lambda's runtime does, and how many keys it touches."""
        numbers = range(self._count, self._count + (records or self._load.batch))
        self._count = numbers.stop
        keys = [f"{self._key(number):012d}" for number in numbers]
        texts = (
            self._record % (number, key, key, key, (number + 1) * 97)
            for number, key in zip(numbers, keys, strict=True)
        )
        return json.loads(f'{{"Records":[{",".join(texts)}]}}'), len(set(keys))

    def _key(self, number: int) -> int:
        match self._load.keys:
            case "unique":
                return number
            case "hot":
                return number % HOT_KEYS
            case "zipf":
                return bisect_left(self._reach, self._random.random() * self._reach[-1])
            case other:
                raise ValueError(f"keys are unique, zipf or hot, not {other!r}")


def item_bytes(item: dict[str, Any]) -> int:
    """Return an item's size by DynamoDB's rule."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    kind: str
    body: Any
    ((kind, body),) = value.items()
    match kind:
        case "S":
            return len(str(body).encode())
        case "N":
            return (len(body.lstrip("-").replace(".", "").strip("0")) + 1) // 2 + 1
        case "B":
            return len(base64.b64decode(body))
        case "SS":
            return sum(len(member.encode()) for member in body)
        case "M":
            return 3 + len(body) + item_bytes(body)
        case _:
            return 1


class Context:
    """What Lambda passes beside the event."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"
    function_name = "bench"
    function_version = "$LATEST"
    invoked_function_arn = f"arn:aws:lambda:{TARGET_REGION}:000000000000:function:bench"
    memory_limit_in_mb = "512"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000
