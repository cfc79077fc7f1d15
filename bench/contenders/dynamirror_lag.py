"""The engine beside a writer, on a real server: how late each change is acknowledged at the target.

``work`` takes ``config`` (TOML), ``pace`` (changes a second), ``batch`` (items to a write) and
``seconds``. Every item carries the time just before it was written to the source, so the lag is
from there to the target's answer. Writer and engine share a process, and so a clock.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from bench.workload import ITEM_BYTES_BARE, image_text

from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.core.values import encode
from dynamirror.errors import ServiceError
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import mirror_all, run
from dynamirror.wiring import Wiring, connected

TIME = re.compile(rb'"at(\d{20})')
ITEM_BYTES = 300
CATCH_UP_S = 10.0

# An item with places for its key's number and the time: 22 letters of its note make room for it.
TEMPLATE = image_text(7, ITEM_BYTES - ITEM_BYTES_BARE).replace(f'"{"n" * 22}', '"at%s')


class Watched:
    """A target's client that notes how old every change was when its write was answered."""

    def __init__(self, api: DynamoDB, lags_us: list[int]) -> None:
        self._api = api
        self._lags_us = lags_us
        self.close = api.close

    async def call(self, operation: str, request: bytes) -> bytes:
        answer = await self._api.call(operation, request)
        if operation == "BatchWriteItem":
            now_ns = time.monotonic_ns()
            self._lags_us += [(now_ns - int(text)) // 1_000 for text in TIME.findall(request)]
        return answer


def work(ask: dict[str, Any]) -> dict[str, Any]:
    return run(_work(ask))


async def _work(ask: dict[str, Any]) -> dict[str, Any]:
    config = load(ask["config"])
    (mirror,) = config.mirrors
    lags_us: list[int] = []

    def connect(place: Place, transport: Transport) -> DynamoDB:
        api = connected(place, transport)
        return Watched(api, lags_us) if place.region == mirror.targets[0].region else api

    wiring = Wiring(config, connect=connect)
    writer = connected(mirror.source, mirror.transport)
    target = connected(mirror.targets[0], mirror.transport)
    await make(writer, mirror.source.table, "HASH", stream=True)
    await make(target, mirror.source.table, "HASH")
    await make(writer, mirror.checkpoints, "RANGE")
    engine = asyncio.create_task(mirror_all(wiring))
    try:
        await asyncio.sleep(1.0)  # until it follows
        kept = await _write(writer, mirror.source.table, ask)
        changes = ask["pace"] * ask["seconds"] // ask["batch"] * ask["batch"]
        for _ in range(int(CATCH_UP_S / 0.05)):
            if len(lags_us) >= changes or engine.done():
                break
            await asyncio.sleep(0.05)
    finally:
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)
        await writer.close()
        await target.close()
    if len(lags_us) < changes:
        raise RuntimeError(f"{len(lags_us)} changes of {changes} had arrived {CATCH_UP_S:g} s late")
    lags_us.sort()
    return {
        "changes": len(lags_us),
        "p50_us": lags_us[len(lags_us) // 2],
        "p99_us": lags_us[len(lags_us) * 99 // 100],
        "max_us": lags_us[-1],
        "pace_kept": kept,
    }


async def _write(api: DynamoDB, table: str, ask: dict[str, Any]) -> float:
    """Write at the pace asked for; return the share of it that was reached."""
    batch, count = ask["batch"], ask["pace"] * ask["seconds"] // ask["batch"]
    begun = time.perf_counter()
    for number in range(count):
        due_s = begun + number * batch / ask["pace"] - time.perf_counter()
        if due_s > 0:
            await asyncio.sleep(due_s)
        await write_items(api, table, number * batch, batch)
    seconds: int = ask["seconds"]
    return seconds / max(seconds, time.perf_counter() - begun)


async def write_items(api: DynamoDB, table: str, first: int, count: int) -> None:
    """Write some items that carry the time."""
    at = f"{time.monotonic_ns():020d}"
    items = [TEMPLATE % (f"{number:012d}", at) for number in range(first, first + count)]
    if count == 1:
        await api.call("PutItem", f'{{"TableName":"{table}","Item":{items[0]}}}'.encode())
        return
    entries = ",".join(f'{{"PutRequest":{{"Item":{item}}}}}' for item in items)
    await api.call("BatchWriteItem", f'{{"RequestItems":{{"{table}":[{entries}]}}}}'.encode())


async def make(api: DynamoDB, table: str, kind: str, *, stream: bool = False) -> None:
    names = ["id"] if kind == "HASH" else ["link", "shard"]
    request: dict[str, Any] = {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in names],
        "KeySchema": [
            {"AttributeName": name, "KeyType": role}
            for name, role in zip(names, ("HASH", "RANGE"), strict=False)
        ],
    }
    if stream:
        request["StreamSpecification"] = {
            "StreamEnabled": True,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
    for _ in range(3):
        try:
            await api.call("CreateTable", encode(request))
        except ServiceError:
            continue
        return
