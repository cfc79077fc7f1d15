"""The handler's storm: driven as an event source mapping drives it, on a server's stream.

Batches come in order per shard; a partial response is honoured by delivering again from the lowest
number; a whole batch is sometimes delivered again. A second handler, in a thread with an event loop
of its own, applies old batches once more while newer ones run; some requests hang past the
function's time-out and land late.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import boto3
from tests.storm.engine import Plan, Result
from tests.storm.weather import Weather
from tests.storm.world import SOURCE, TARGET, Ended, World, replayable

from dynamirror.core.values import Wire
from dynamirror.runtimes import aws_lambda
from dynamirror.runtimes.aws_lambda import CONFIG_VARIABLE, Function

RESERVE_MS = 200
LATE_S = 0.5
"""What hangs lands so long after the function's time-out, while a later invocation runs."""

SECOND_DELAY_S_MAX = 1.0
QUEUED_MAX = 20
"""Old batches that wait for the second handler: more would be no delivery of this day."""


class Context:
    """What Lambda hands a function besides the event."""

    def __init__(self, timeout_ms: int) -> None:
        self._until = time.monotonic() + timeout_ms / 1_000

    def get_remaining_time_in_millis(self) -> int:
        return int((self._until - time.monotonic()) * 1_000)


class Tabled(Protocol):
    """A table on a server."""

    url: str
    table: str

    def api(self, region: str) -> Any: ...


class Stream:
    """A table's stream, in the spelling of Lambda's events."""

    def __init__(self, world: Tabled, region: str = SOURCE) -> None:
        # A session of the streams API, raw: images must come as the wire has them.
        table = world.api(region).describe_table(TableName=world.table)["Table"]
        self._arn = table["LatestStreamArn"]
        self._api = boto3.client(
            "dynamodbstreams",
            region_name=region,
            endpoint_url=world.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        shards = self._api.describe_stream(StreamArn=self._arn)["StreamDescription"]["Shards"]
        (shard,) = shards  # the embedded server has but one
        self._iterator = self._api.get_shard_iterator(
            StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]

    def read(self) -> list[Wire]:
        """Return the next records; none: there are none just now."""
        page = self._api.get_records(ShardIterator=self._iterator, Limit=1_000)
        self._iterator = page["NextShardIterator"]
        return [self._event(record) for record in page["Records"]]

    def close(self) -> None:
        self._api.close()

    def _event(self, record: Wire) -> Wire:
        body = {**record["dynamodb"]}
        body["ApproximateCreationDateTime"] = int(body["ApproximateCreationDateTime"].timestamp())
        for name in {"Keys", "NewImage", "OldImage"} & body.keys():
            body[name] = {key: _wire(value) for key, value in body[name].items()}
        return {**record, "dynamodb": body, "eventSourceARN": self._arn}


def _wire(value: Wire) -> Wire:
    """Spell boto3's binary as the wire does: base64 text."""
    ((kind, body),) = value.items()
    match kind:
        case "B":
            return {kind: b64encode(body).decode()}
        case "BS":
            return {kind: [b64encode(one).decode() for one in body]}
        case "L":
            return {kind: [_wire(one) for one in body]}
        case "M":
            return {kind: {name: _wire(one) for name, one in body.items()}}
        case _:
            return value


class Second:
    """Another execution environment, to which the mapping delivers old batches once more."""

    def __init__(self, config: str, plan: Plan) -> None:
        self._config = config
        self._plan = plan
        self._dice = random.Random(f"{plan.seed}/second")
        self._batches: queue.Queue[tuple[float, list[Wire]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, name="second handler")
        self._thread.start()
        self.delivered = 0
        self.error: BaseException | None = None

    def deliver_later(self, batch: list[Wire]) -> None:
        if self._batches.qsize() < QUEUED_MAX:
            at = time.monotonic() + self._dice.uniform(0.0, SECOND_DELAY_S_MAX)
            self._batches.put((at, batch))

    def close(self) -> None:
        """Deliver what waits, and end."""
        self._batches.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _serve(self) -> None:
        function = Function(self._config)
        try:
            while (waiting := self._batches.get()) is not None:
                at, batch = waiting
                time.sleep(max(0.0, at - time.monotonic()))
                context = Context(self._plan.timeout_ms)
                function.invoke({"Records": batch}, context.get_remaining_time_in_millis)
                self.delivered += 1
        except BaseException as error:  # noqa: BLE001 - raised again by close
            self.error = error
        finally:
            function.close()


class Mapping:
    """Delivers a stream's records to the handler, in order, until every one is applied."""

    def __init__(self, plan: Plan, second: Second | None) -> None:
        self._plan = plan
        self._second = second
        self._dice = random.Random(f"{plan.seed}/mapping")
        self.counts: Counter[str] = Counter()

    def deliver(self, records: Sequence[Wire]) -> None:
        """Deliver records until the handler says that all are applied."""
        size = self._plan.batch
        for at in range(0, len(records), size):
            batch = list(records[at : at + size])
            self._until_applied(batch)
            if self._dice.random() < self._plan.duplicates:
                self.counts["duplicates"] += 1
                self._until_applied(batch)
            if self._second is not None and self._dice.random() < self._plan.second:
                self._second.deliver_later(batch)

    def _until_applied(self, batch: list[Wire]) -> None:
        while batch:
            self.counts["invocations"] += 1
            answer: Any = aws_lambda.handler({"Records": batch}, Context(self._plan.timeout_ms))
            failures = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
            if not failures:
                return
            self.counts["partial"] += 1
            numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
            lowest = min(failures, key=int)
            batch = batch[numbers.index(lowest) :]


def handler_storm(plan: Plan, url: str, folder: Path) -> Result:
    """Drive the handler through a storm, and compare."""
    with (
        replayable(plan.replay),
        Weather(url, seed=plan.seed, source=SOURCE, target=TARGET) as weather,
        World(
            url,
            folder,
            plan.guard,
            proxy=weather.endpoint,
            options=f"deadline_reserve_ms = {RESERVE_MS}",
        ) as world,
        environment(world.text),
    ):
        weather.proxy.drop_orphans = not plan.orphans_land
        began = time.monotonic()
        writer = world.writer(seed=plan.seed, keys=plan.keys, changes=plan.changes, rate=plan.rate)
        stream = Stream(world)
        second = Second(world.text, plan) if plan.second else None
        mapping = Mapping(plan, second)
        _rage(weather, plan)
        delivered = 0
        try:
            while delivered < plan.changes:
                records = stream.read()
                mapping.deliver(records)
                delivered += len(records)
                if not records:
                    time.sleep(0.1)
                    if writer.ended and writer.end():
                        raise Ended(f"the writer failed: {writer.said}")
            writer.end()
        finally:
            stream.close()
            if second is not None:
                second.close()
        seconds = time.monotonic() - began
        weather.calm()
        return Result(
            plan=plan,
            seconds=seconds,
            counts={
                **weather.counts,
                **mapping.counts,
                "second": second.delivered if second else 0,
            },
            differences=world.differences(),
            verified=world.command("verify")[0],
        )


def _rage(weather: Weather, plan: Plan) -> None:
    """As the engine's storm, but what hangs outlasts the function only, not our patience."""
    rate = plan.hang_rate
    weather.storm(plan.faults, duplicates=0.0, batches=plan.guard == "order", hang_rate=rate)
    weather.blow(weather.proxy.rules[0].rates, hang_s=plan.timeout_ms / 1_000 + LATE_S)


@contextmanager
def environment(config: str) -> Iterator[None]:
    """Set what a function's environment has, and leave no function behind."""
    names = {
        CONFIG_VARIABLE: config,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text
        if aws_lambda._function is not None:
            aws_lambda._function[1].close()
            aws_lambda._function = None
