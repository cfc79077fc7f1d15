"""The demonstration's second application: sessions, written in both regions at once.

Most of its saves raise the version, some know nothing of versions. Mostly a region keeps to its own
sessions; a few busy ones are written by both, so that true conflicts occur.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from dynamirror.core.values import Wire, encode
from dynamirror.demo.stories import put_all, send
from dynamirror.engine.writing.limiter import Pace
from dynamirror.ports import DynamoDB

TABLE = "Sessions"

BUSY = 12
"""Sessions that both regions write."""

BUSY_SHARE = 0.12
"""Of all writes, those to a busy session."""

WRITES_AT_ONCE = 4

_KINDS = {
    "saved": 45,
    "saved without a version": 15,
    "replaced without a version": 10,
    "deleted": 15,
    "made again": 15,
}

_PAGES = "home search basket checkout account help orders".split()  # noqa: SIM905


async def populate(api: DynamoDB, sessions: int, seed: int) -> None:
    """Put that many sessions into the table, the busy ones among them; some have no version."""
    draw = random.Random(seed)
    await put_all(
        api, TABLE, [_session(number, draw, version=number % 4) for number in range(sessions)]
    )


class Writer:
    """The application in one region."""

    def __init__(self, api: DynamoDB, region: int, sessions: int, seed: int) -> None:
        """``region``: its number of two, by which the sessions are shared."""
        self.writes: Counter[str] = Counter()
        self._api = api
        self._draw = random.Random(seed)
        self._mine = [number for number in range(BUSY, sessions) if number % 2 == region]
        self._gone: list[int] = []

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
        number = self._draw.choice(self._mine)
        if self._draw.random() < BUSY_SHARE:
            number = self._draw.randrange(BUSY)
        elif kind == "made again" and self._gone:
            number = self._gone.pop(0)
        self.writes[kind] += 1
        key = {"TableName": TABLE, "Key": {"id": _id(number)}}
        if kind == "deleted":
            self._gone.append(number)
            await send(self._api, "DeleteItem", encode(key))
        elif kind == "replaced without a version":
            request = {"TableName": TABLE, "Item": _session(number, self._draw)}
            await send(self._api, "PutItem", encode(request))
        else:
            await send(self._api, "UpdateItem", encode({**key, **self._update(kind)}))

    def _update(self, kind: str) -> Wire:
        update = "SET page = :page ADD clicks :one"
        values = {":page": {"S": self._draw.choice(_PAGES)}, ":one": {"N": "1"}}
        if kind == "saved without a version":
            return {"UpdateExpression": update, "ExpressionAttributeValues": values}
        return {
            "UpdateExpression": update.replace(
                " ADD", ", #v = if_not_exists(#v, :now) + :one ADD", 1
            ),
            "ExpressionAttributeNames": {"#v": "version"},
            "ExpressionAttributeValues": {**values, ":now": {"N": str(time.time_ns() // 10**6)}},
        }


def _session(number: int, draw: random.Random, version: int = 0) -> Wire:
    versioned = {"version": {"N": str(version)}} if version else {}
    return {
        **versioned,
        "id": _id(number),
        "page": {"S": draw.choice(_PAGES)},
        "clicks": {"N": str(draw.randrange(100))},
        "basket": {"L": [{"M": {"book": {"N": str(draw.randrange(999))}}} for _ in range(2)]},
    }


def _id(number: int) -> Wire:
    return {"S": f"session-{number:04d}"}
