"""Our client alone: bodies made beforehand, sent over as many connections as the floor in C has.

``work`` takes ``operation``, ``loop`` (asyncio or uvloop), ``connections`` and a budget.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from itertools import cycle
from typing import Any

from bench.job import Meter
from bench.workload import ITEM_BYTES_BARE, TARGET_REGION, image_text

from dynamirror.aws.client import Client, connect
from dynamirror.config.model import Place
from dynamirror.core.marks import mark

BATCH = 25
BODIES = 200


def put_body(number: int, item_bytes: int) -> bytes:
    """Return what guard ``item`` sends, of an item that already carries its mark."""
    item = _item(number, item_bytes)
    return (
        f'{{"TableName":"Bench","Item":{item},'
        '"ConditionExpression":"attribute_not_exists(#q) OR #q < :q",'
        '"ExpressionAttributeNames":{"#q":"_mirror_seq"},'
        f'"ExpressionAttributeValues":{{":q":{{"S":"{mark(1, 97)}"}}}}}}'
    ).encode()


def batch_body(number: int, item_bytes: int) -> bytes:
    entries = (
        f'{{"PutRequest":{{"Item":{_item(number * BATCH + place, item_bytes)}}}}}'
        for place in range(BATCH)
    )
    return f'{{"RequestItems":{{"Bench":[{",".join(entries)}]}}}}'.encode()


def _item(number: int, item_bytes: int) -> str:
    return image_text(7, max(1, item_bytes - ITEM_BYTES_BARE)) % f"{number:012d}"


class Sender:
    """The client and its loop, kept from round to round."""

    def __init__(self, ask: dict[str, Any]) -> None:
        self.operation = ask["operation"]
        self.connections = ask["connections"]
        self.items = BATCH if self.operation == "BatchWriteItem" else 1
        made = batch_body if self.items > 1 else put_body
        self.bodies = cycle([made(number, ask["item_bytes"]) for number in range(BODIES)])
        if ask["loop"] == "uvloop":
            import uvloop  # noqa: PLC0415 -- an extra

            self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        else:
            self.loop = asyncio.new_event_loop()
        place = Place(region=TARGET_REGION, table="Bench", name="target")
        self.client: Client = connect(place, connections_max=self.connections)

    def send(self, budget_s: float) -> dict[str, Any]:
        with Meter() as meter:
            requests = self.loop.run_until_complete(self._send(time.perf_counter() + budget_s))
        return meter.cost(requests * self.items)

    async def _send(self, until_s: float) -> int:
        return sum(await asyncio.gather(*(self._worker(until_s) for _ in range(self.connections))))

    async def _worker(self, until_s: float) -> int:
        sent = 0
        while time.perf_counter() < until_s:
            await self.client.call(self.operation, next(self.bodies))
            sent += 1
        return sent


@cache
def sender(_: None, **ask: Any) -> Sender:
    return Sender(ask)


def work(ask: dict[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in ask.items() if name != "budget_s"}
    return sender(None, **options).send(ask["budget_s"])
