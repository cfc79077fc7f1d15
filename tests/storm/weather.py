"""The network of a storm: the fault proxy in a thread of its own, which also repeats pages.

A page of GetRecords is delivered twice by handing out the iterator it was asked with once more.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Self

import uvloop
from tests.fault_proxy import (
    _CHECKSUM,
    _LENGTH,
    WRITES,
    Answer,
    Fault,
    FaultProxy,
    Request,
    Rule,
    _Client,
    _Server,
    spread,
)
from tests.storm.world import Child

SOURCE_OPERATIONS = frozenset({"DescribeStream", "GetRecords", "GetShardIterator"})
SOURCE_FAULTS = (
    Fault.THROTTLE,
    Fault.ERROR_BEFORE,
    Fault.RESET_BEFORE,
    Fault.TRUNCATE,
    Fault.DELAY,
)
SOURCE_RATE = 0.01

ENGINE_DEADLINE_S = 10.0
"""After so long the engine gives a request up."""

SETTLE_S_MAX = 60.0

SQUALL_S_MAX = 0.4
LATE_S_MAX = 6.0
"""What hung as an engine was killed lands so long after, at most."""

_NEXT = re.compile(rb'"NextShardIterator": ?"[^"]*"')
_ASKED = re.compile(rb'"ShardIterator": ?"([^"]*)"')


class StormProxy(FaultProxy):
    """Repeats pages with a probability; counts what was written and what a guard refused."""

    duplicates = 0.0

    def __init__(self, upstream: str, *, seed: int, targets: frozenset[str]) -> None:
        super().__init__(upstream, seed=seed)
        self._dice = random.Random(f"{seed}/pages")
        self._targets = targets

    async def _forward(self, request: Request, client: _Client, server: _Server) -> Answer:
        answer = await super()._forward(request, client, server)
        if request.operation == "GetRecords":
            return self._repeated(request, answer)
        if request.operation in WRITES and request.region in self._targets:
            self.counts["written"] += request.body.count(b'Request":') or 1
            self.counts["stale"] += b"ConditionalCheckFailed" in answer.body
        return answer

    def _repeated(self, request: Request, answer: Answer) -> Answer:
        asked = _ASKED.search(request.body)
        if asked is None or b'"SequenceNumber"' not in answer.body:
            return answer
        if self._dice.random() >= self.duplicates:
            return answer
        body = _NEXT.sub(b'"NextShardIterator":"%b"' % asked[1], answer.body)
        if body == answer.body:
            return answer
        self.counts["duplicates"] += 1
        head = _LENGTH.sub(b"\r\nContent-Length: %d" % len(body), answer.head)
        return Answer(_CHECKSUM.sub(b"\r\nx-amz-crc32: %d" % zlib.crc32(body), head), body)


class Weather:
    """The proxy, running in a thread while in its context; it is calm until told otherwise."""

    def __init__(
        self,
        upstream: str,
        *,
        seed: int,
        source: str = "",
        target: str = "",
        two_way: Iterable[str] = (),
    ) -> None:
        """``two_way``: regions each of which is source and target."""
        self._upstream = upstream
        self._seed = seed
        self._sources = frozenset(two_way) or frozenset({source})
        self._targets = frozenset(two_way) or frozenset({target})
        self._stricken = WRITES | {"GetItem"} if two_way else WRITES
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="weather")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return self.proxy.endpoint

    @property
    def counts(self) -> Counter[str]:
        return self.proxy.counts

    def storm(self, rate: float, *, duplicates: float, batches: bool, hang_rate: float) -> None:
        """Let faults befall the target's writes and, rarely, reading the source's stream."""
        faults = [fault for fault in Fault if fault is not Fault.HANG]
        if not batches:
            faults.remove(Fault.UNPROCESSED)
        self.blow({**spread(rate - hang_rate, faults), Fault.HANG: hang_rate})
        self.proxy.duplicates = duplicates

    def blow(self, rates: Mapping[Fault, float], *, hang_s: float = ENGINE_DEADLINE_S + 1) -> None:
        """Let these faults befall the target's writes."""
        self.proxy.hang_s = hang_s
        self.proxy.rules = [
            Rule(rates=rates, operations=self._stricken, regions=self._targets),
            Rule(
                rates=spread(SOURCE_RATE, SOURCE_FAULTS),
                operations=SOURCE_OPERATIONS,
                regions=self._sources,
            ),
        ]

    def strike(self, engine: Child, squall: Mapping[Fault, float], dice: random.Random) -> None:
        """Kill an engine in a squall, while much of what it sent hangs, to land late."""
        self.blow(squall, hang_s=dice.uniform(0.5, LATE_S_MAX))
        time.sleep(dice.uniform(0.02, SQUALL_S_MAX))
        engine.require_running()
        engine.kill()

    def calm(self) -> None:
        """End all faults, and wait until whatever was kept back has landed."""
        self.proxy.rules = []
        self.proxy.duplicates = 0.0
        asyncio.run_coroutine_threadsafe(self.proxy.settle(), self._loop).result(SETTLE_S_MAX)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with StormProxy(self._upstream, seed=self._seed, targets=self._targets) as proxy:
            self.proxy = proxy
            self._ready.set()
            await self._over.wait()
