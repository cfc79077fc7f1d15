"""What a consumer feels of its targets between two reports: how far behind each is, whether it
answers though nobody writes, and how many changes a second get through.

A heartbeat asks the target's endpoint something cheap every ten seconds. It tells that region,
network, credentials and table are there and how long an answer takes; that a write would be taken
only a write can tell. On the source's side the renewal of the lease is the heartbeat.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from dynamirror.config.model import Place
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import encode
from dynamirror.engine.stream.shard import HandOver
from dynamirror.errors import AccessDeniedError, ServiceError
from dynamirror.ports import Clock, DynamoDB

BEAT_S = 10.0
"""Time between two heartbeats of a target: a requests' count that nobody notices."""

RATE_S = 10
"""Seconds over which throughput is told."""


class Ageing:
    """Passes pages on to one target, and knows since when the oldest that isn't applied waits."""

    def __init__(self, submit: HandOver) -> None:
        self._submit = submit
        self._waiting: deque[list[int]] = deque()

    @property
    def oldest_ms(self) -> int | None:
        """When the first change of the oldest page was made; None: nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def submit(self, records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        """Pass a page on."""
        if not records:
            self._submit(records, on_done)
            return
        page = [int(records[0].created_at * 1_000), 0]
        self._waiting.append(page)

        def done() -> None:
            page[1] = 1
            while self._waiting and self._waiting[0][1]:
                self._waiting.popleft()
            on_done()

        self._submit(records, done)


class Heartbeat:
    """Asks a target again and again whether it is there."""

    def __init__(self, api: DynamoDB, place: Place, clock: Clock) -> None:
        self.name = place.name
        self.took_ms: int | None = None
        self.at_ms: int | None = None
        self.trouble = ""
        self._api = api
        self._request = encode({"TableName": place.table})
        self._clock = clock

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self._beat()
            await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        try:
            await self._api.call("DescribeTable", self._request)
        except AccessDeniedError:
            pass  # it answers; whether what is needed is allowed will show
        except ServiceError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        self.took_ms = round((loop.time() - sent_at) * 1_000)
        self.at_ms = self._clock()


class Rate:
    """Changes a second, over the last ten."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._seen: deque[tuple[float, int]] = deque(maxlen=RATE_S + 1)

    @property
    def per_second(self) -> float:
        """The mean; 0 in the first second."""
        if len(self._seen) < 2:  # noqa: PLR2004 - two points make a slope
            return 0.0
        (since_s, before), (at_s, now) = self._seen[0], self._seen[-1]
        return round((now - before) / max(0.001, at_s - since_s), 1)

    async def run(self) -> None:
        """Count every second until cancelled."""
        while True:
            self._seen.append((asyncio.get_running_loop().time(), self._count()))
            await asyncio.sleep(1.0)
