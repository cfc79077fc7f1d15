"""A running engine with its dashboard, on regions in memory, in a thread: what browsers look at.

To look yourself: python -m tests.web.stand
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from dynamirror.cli.arguments import patiently
from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.core.values import Wire
from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import plan
from dynamirror.errors import RefusedError, ThrottledError
from dynamirror.memory import MemoryDynamoDB
from dynamirror.runtimes.process import consumer_of
from dynamirror.runtimes.watching import Watch
from dynamirror.web.app import Dashboard
from dynamirror.web.guard import Guard
from dynamirror.web.http import Server
from dynamirror.wiring import Wiring

US, EU, AP = "us-east-1", "eu-west-1", "ap-southeast-1"

ONE = f"""
[mirrors.stories]
mode = "one-way"
source = {{ region = "{US}", table = "Stories" }}
targets = [{{ region = "{EU}" }}]
"""

THREE = f"""
[mirrors.stories]
mode = "one-way"
on_poison = "park"
backlog_seconds = 3600
source = {{ region = "{US}", table = "Stories" }}
targets = [{{ region = "{EU}" }}, {{ region = "{AP}" }}]

[mirrors.sessions]
mode = "two-way"
replicas = [{{ region = "{US}", table = "Sessions" }}, {{ region = "{EU}" }}]
"""

TOKEN = "a token for tests"

HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=1">'

PATIENCE_S = 30.0

T = TypeVar("T")


class Stand:
    """Regions, an engine and a dashboard; every method may be called from the test's thread."""

    def __init__(self, folder: Path, text: str = ONE, *, writes: bool = True) -> None:
        self.regions = {
            region: MemoryDynamoDB(region, clock=self.now_ms, before=self._before_of(region))
            for region in (US, EU, AP)
        }
        self.throttled: set[str] = set()
        self.refuses = True
        self.asleep = False
        self.ahead_ms = 0
        self.text = text
        self.port = 0
        self.config = folder / "mirrors.toml"
        self.config.write_text(text)
        self._writes = writes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: list[asyncio.Task[Any]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._make_tables()
        config = load(str(self.config))
        self.wiring = Wiring(config, connect=self._connect, clock=self.now_ms)
        self.do(self._furnish)
        self.consumers: list[Consumer] = []
        looking = Wiring(config, connect=patiently(self._connect), clock=self.now_ms)
        self.watch = Watch(looking, "mirrors.toml")
        guard = Guard(host="127.0.0.1", writes=self._writes, token=TOKEN)
        self._dashboard = Dashboard(self.watch, guard)
        self.do(self._open)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.throttled.clear()  # else the engines wait for what they have read to be applied
        self.do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something on the engine's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE_S)

    def run(self) -> None:
        """Start an engine for every mirror."""
        self.do(self._run)

    def halt(self) -> None:
        """Stop the engines."""
        self.do(self._halt)

    def put(self, region: str, table: str, item: Wire) -> None:
        async def work() -> None:
            self.regions[region].perform("PutItem", {"TableName": table, "Item": item})

        self.do(work)

    def items(self, region: str, table: str) -> int:
        return len(self.regions[region].table(table).items)

    def has_page(self, region: str, name: str, page: str) -> bool:
        """Tell whether that is a session's attribute ``page``."""

        async def work() -> Wire:
            request = {"TableName": "Sessions", "Key": {"id": {"S": name}}}
            return self.regions[region].perform("GetItem", request)

        return bool(self.do(work).get("Item", {}).get("page") == {"S": page})

    def watch_states(self) -> dict[str, str]:
        """Return how the mirrors stand, having looked."""
        return {one.name: str(one.state) for one in self.do(self.watch.seen)}

    def drop(self, region: str, table: str) -> None:
        async def work() -> None:
            self.regions[region].perform("DeleteTable", {"TableName": table})

        self.do(work)

    def until(self, so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not so():
            assert time.monotonic() < deadline, "never came to be"
            time.sleep(0.02)

    def serve_no_more(self) -> None:
        """Close the dashboard; the engine goes on."""
        self.do(self._server.close)

    def serve_again(self) -> None:
        self.do(self._open)

    def _connect(self, place: Place, _: Transport) -> MemoryDynamoDB:
        return self.regions[place.region]

    def _before_of(self, region: str) -> Callable[[str, bytes], Awaitable[None]]:
        async def before(operation: str, request: bytes) -> None:
            if self.asleep and operation == "DescribeTable":
                raise ThrottledError("ThrottlingException", "slow down")
            if operation not in ("BatchWriteItem", "PutItem", "DeleteItem"):
                return
            if region in self.throttled and b"-dynamirror-" not in request:
                told = "the table's write capacity is used up"
                raise ThrottledError("ProvisionedThroughputExceededException", told)
            if (
                self.refuses
                and region == EU
                and b'"poison' in request
                and b"-dynamirror-" not in request
            ):
                raise RefusedError("ValidationException", "Item size has exceeded 400 KB")

        return before

    def _make_tables(self) -> None:
        keys = {
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        for table in ("Stories", "Sessions"):
            if f'"{table}"' in self.text:
                self.regions[US].perform("CreateTable", {"TableName": table, **keys})

    async def _furnish(self) -> None:
        mirrors, backoff = self.wiring.config.mirrors, Backoff(base_s=0.0)
        made = plan(mirrors, await observe(mirrors, self.wiring.api, backoff))
        await carry_out(made, self.wiring.api, backoff, lambda _: None)

    async def _open(self) -> None:
        self._server = Server(self._dashboard.respond)
        self.port = await self._server.start("127.0.0.1", self.port)
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self.watch.run()))

    async def _run(self) -> None:
        self.consumers = [consumer_of(self.wiring, one) for one in self.wiring.config.mirrors]
        self.watch.attach(self.consumers)
        self._tasks += [asyncio.create_task(consumer.run()) for consumer in self.consumers]

    async def _halt(self) -> None:
        engines = self._tasks[1:]
        for task in engines:
            task.cancel()
        await asyncio.gather(*engines, return_exceptions=True)
        del self._tasks[1:]
        self.watch.attach([])

    async def _close(self) -> None:
        await self._halt()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close()


def story(name: str, number: int = 0, **more: Wire) -> Wire:
    return {
        "id": {"S": name},
        "title": {"S": f"Story {number}"},
        "words": {"N": str(number)},
        **more,
    }


def session(name: str, version: int, page: str, **more: Wire) -> Wire:
    return {"id": {"S": name}, "version": {"N": str(version)}, "page": {"S": page}, **more}


def eventful(stand: Stand, name: str = HOSTILE, note: str = HOSTILE) -> None:
    """Have it that a region is behind, a key parked, and writes conflict, one of them hostile."""
    stand.ahead_ms = -2 * 3_600_000
    for number in range(40):
        stand.put(US, "Stories", story(f"story-{number:03d}", number))
    stand.ahead_ms = 0
    stand.put(US, "Stories", story("poison-1", 1))
    stand.put(US, "Stories", story("poison-1", 2))
    baskets: tuple[Wire, Wire] = ({"L": [{"N": "7"}]}, {"L": [{"N": "7"}, {"N": "9"}]})
    stand.put(US, "Sessions", session("session-0007", 4, "checkout", basket=baskets[0]))
    stand.put(EU, "Sessions", session("session-0007", 4, "basket", basket=baskets[1]))
    stand.put(US, "Sessions", session(name, 2, "home", note={"S": note}))
    stand.put(EU, "Sessions", session(name, 2, "search", note={"S": f"{note} too"}))
    stand.throttled = {AP}
    stand.run()


def busy(stand: Stand, seconds: float) -> None:
    """Have applications write for so long, at a rate that wavers."""
    began, number = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        number += 1
        stand.put(US, "Stories", story(f"story-{number % 40:03d}", number))
        stand.put(EU, "Sessions", session(f"session-{number % 20}", number, "home"))
        time.sleep(0.04 + 0.03 * math.sin(number / 40))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Stand(Path(folder), THREE) as stand:
        eventful(stand)
        print(f"{stand.url}#token={TOKEN.replace(' ', '%20')}")  # noqa: T201
        busy(stand, float("inf"))


if __name__ == "__main__":
    main()
