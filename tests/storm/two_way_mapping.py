"""The handler's two-way storm: a function in every region, driven as a mapping drives it.

Each has an execution environment of its own, a thread with an event loop. Batches come in order,
some twice; functions run out of time, and what they left unanswered lands late.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from pathlib import Path

from tests.storm.mapping import LATE_S, RESERVE_MS, Context, Stream, environment
from tests.storm.two_way import (
    REGIONS,
    WRITERS_S_MAX,
    Plan,
    Regions,
    Result,
    Streams,
    judged,
)
from tests.storm.weather import Weather
from tests.storm.world import Ended, Wire, replayable

from dynamirror.runtimes.aws_lambda import Function

TIMEOUT_MS = 2_000
BATCH = 50
HANGS = 0.002


class Environment:
    """A function and its mapping, in a thread."""

    def __init__(self, plan: Plan, world: Regions, region: str) -> None:
        self._plan = plan
        self._dice = random.Random(f"{plan.seed}/{region}/mapping")
        self._stream = Stream(world, region)
        self._function = Function(world.text)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self.delivered = 0
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._serve, name=region)
        self._thread.start()

    def require_running(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._stream.close()
        self._function.close()

    def _serve(self) -> None:
        try:
            while not self._over.is_set():
                records = self._stream.read()
                for at in range(0, len(records), BATCH):
                    batch = records[at : at + BATCH]
                    self._deliver(batch)
                    if self._dice.random() < self._plan.duplicates:
                        self.counts["duplicates"] += 1
                        self._deliver(batch)
                    self.delivered += len(batch)
                if not records:
                    time.sleep(0.1)
        except BaseException as error:  # noqa: BLE001 - raised again by require_running
            self._error = error

    def _deliver(self, batch: list[Wire]) -> None:
        """Deliver a batch until the function says that all of it is applied."""
        while batch and not self._over.is_set():
            context = Context(TIMEOUT_MS)
            answer = self._function.invoke({"Records": batch}, context.get_remaining_time_in_millis)
            failures = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
            if not failures:
                return
            self.counts["partial"] += 1
            numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
            batch = batch[numbers.index(min(failures, key=int)) :]


def handler_storm(plan: Plan, url: str, folder: Path) -> Result:
    """Run functions in all regions through a storm, and check all that is promised."""
    with (
        replayable(plan.replay),
        Weather(url, seed=plan.seed, two_way=REGIONS[: plan.replicas]) as weather,
        Regions(
            url,
            folder,
            plan.replicas,
            proxy=weather.endpoint,
            options=f"deadline_reserve_ms = {RESERVE_MS}",
        ) as world,
        environment(world.text),
    ):
        functions = [Environment(plan, world, region) for region in world.names]
        try:
            return _through(plan, weather, world, functions)
        finally:
            for function in functions:
                function.close()


def _through(plan: Plan, weather: Weather, world: Regions, functions: list[Environment]) -> Result:
    began = time.monotonic()
    writers = world.region_writers(plan)
    weather.storm(plan.faults, duplicates=0.0, batches=False, hang_rate=HANGS)
    hang_s = TIMEOUT_MS / 1_000 + LATE_S
    weather.blow(weather.proxy.rules[0].rates, hang_s=hang_s)
    for writer in writers:
        if writer.end(WRITERS_S_MAX) != 0:
            raise Ended(f"a writer failed: {writer.said[-3_000:]}")
    streams = Streams(world)

    def alive() -> None:
        for function in functions:
            function.require_running()

    def delivered() -> bool:
        alive()
        return sum(function.delivered for function in functions) == streams.read()

    streams.wait_quiet(alive)
    weather.calm()  # what was kept back has landed now
    world.wait(delivered, within_s=120)
    streams.wait_quiet(alive)
    world.wait(delivered)
    parked = len(world.parked())
    if parked:  # a busy machine's target was away: no invocation comes any more to bring it that
        status, said = world.command("redrive")
        if status != 0:
            raise Ended(f"redrive failed:\n{said[-3_000:]}")
        streams.wait_quiet(alive)
        world.wait(delivered)
    seconds = time.monotonic() - began
    streams.close()
    counts = Counter(weather.counts)
    counts["parked"] = parked
    for function in functions:
        counts += function.counts
    log = [json.loads(line) for writer in writers for line in writer.said.splitlines()]
    return judged(plan, world, log, records=streams.count, seconds=seconds, counts=dict(counts))
