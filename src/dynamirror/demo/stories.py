"""What the demonstration's application stores, and how it goes on changing it.

Every type that DynamoDB has is in a story, so that the comparison at the end means something.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from collections.abc import Sequence

from dynamirror.core.limits import BATCH_WRITE_ITEMS_MAX
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.writing.limiter import Pace
from dynamirror.ports import DynamoDB

TABLE = "Stories"

WRITES_AT_ONCE = 8

_WORDS = (
    "river lantern orchard signal harbour winter thread copper meadow engine letter glass".split()  # noqa: SIM905
)


def schema(table: str) -> Wire:
    """Return the CreateTable request of the application's table."""
    return {
        "TableName": table,
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }


def story(number: int, draw: random.Random) -> Wire:
    """Return a story in wire form, about 500 bytes."""
    words = draw.choices(_WORDS, k=24)
    return {
        "id": _id(number),
        "title": {"S": " ".join(words[:3]).capitalize()},
        "text": {"S": " ".join(words[3:])},
        "tags": {"SS": sorted(set(words[:4]))},
        "likes": {"N": str(draw.randrange(10**6))},
        "price": {"N": f"{draw.randrange(10**4)}.{draw.randrange(1, 10)}"},
        "marks": {"NS": [str(number), f"-{number}.5"]},
        "cover": {"B": base64.b64encode(draw.randbytes(48)).decode()},
        "pages": {
            "BS": [base64.b64encode(bytes([page, number % 256])).decode() for page in (1, 2)]
        },
        "draft": {"BOOL": bool(number % 2)},
        "editor": {"NULL": True},
        "subtitle": {"S": ""},
        "chapters": {
            "L": [{"M": {"name": {"S": word}, "length": {"N": "12"}}} for word in words[:2]]
        },
    }


async def populate(api: DynamoDB, items: int, seed: int) -> None:
    """Put that many stories into the table."""
    draw = random.Random(seed)
    await put_all(api, TABLE, [story(number, draw) for number in range(items)])


async def put_all(api: DynamoDB, table: str, items: Sequence[Wire]) -> None:
    """Put items into a table."""
    for first in range(0, len(items), BATCH_WRITE_ITEMS_MAX):
        chunk = items[first : first + BATCH_WRITE_ITEMS_MAX]
        entries = [{"PutRequest": {"Item": item}} for item in chunk]
        while entries:
            request = encode({"RequestItems": {table: entries}})
            answer = decode(await send(api, "BatchWriteItem", request))
            entries = answer.get("UnprocessedItems", {}).get(table, [])


_KINDS = {"new": 15, "edited": 45, "replaced": 20, "deleted": 10, "made again": 10}


class Writer:
    """An application at work: saves, edits, deletes, and brings deleted stories back."""

    def __init__(self, api: DynamoDB, stories: int, seed: int) -> None:
        self.writes: Counter[str] = Counter()
        self._api = api
        self._draw = random.Random(seed)
        self._there = set(range(stories))
        self._next = stories

    async def run(self, seconds: float, per_second: float) -> None:
        """Write for so long at that rate."""
        loop = asyncio.get_running_loop()
        pace, end = Pace(per_second), loop.time() + seconds

        async def one_after_another() -> None:
            while loop.time() < end:
                await pace.take(1)
                await self._write()

        await asyncio.gather(*(one_after_another() for _ in range(WRITES_AT_ONCE)))

    async def _write(self) -> None:
        (kind,) = self._draw.choices(list(_KINDS), list(_KINDS.values()))
        number = self._draw.randrange(self._next)
        if kind == "new":
            number, self._next = self._next, self._next + 1
        elif kind == "made again":
            number = next((n for n in range(number, self._next) if n not in self._there), number)
        self.writes[kind] += 1
        if kind == "deleted":
            self._there.discard(number)
            await send(
                self._api, "DeleteItem", encode({"TableName": TABLE, "Key": {"id": _id(number)}})
            )
            return
        self._there.add(number)
        if kind == "edited":
            request = {
                "TableName": TABLE,
                "Key": {"id": _id(number)},
                "UpdateExpression": "SET title = :t ADD likes :one",
                "ExpressionAttributeValues": {
                    ":t": {"S": " ".join(self._draw.choices(_WORDS, k=3))},
                    ":one": {"N": "1"},
                },
            }
            await send(self._api, "UpdateItem", encode(request))
        else:
            request = {"TableName": TABLE, "Item": story(number, self._draw)}
            await send(self._api, "PutItem", encode(request))


def _id(number: int) -> Wire:
    return {"S": f"story-{number:06d}"}


async def send(api: DynamoDB, operation: str, request: bytes) -> bytes:
    """Send a request until it is answered."""
    return await persist(lambda: api.call(operation, request), Backoff())
