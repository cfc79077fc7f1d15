"""The handler, driven as an event source mapping drives it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest
from tests.core.images import wire_of
from tests.engine.virtual_time import VirtualLoop, now_ms, run
from tests.engine.world import SOURCE, Faults, Watch, World, create, item, key
from tests.event_source_mapping import EventSourceMapping

from dynamirror.config.load import load
from dynamirror.config.model import Guard, OnPoison, Place, Transport
from dynamirror.core.record import records_of
from dynamirror.core.values import Wire
from dynamirror.engine.item_log import show_keys
from dynamirror.errors import (
    ConfigError,
    HistoryLostError,
    RefusedError,
    ThrottledError,
    TransientError,
)
from dynamirror.memory.dynamodb import MemoryDynamoDB
from dynamirror.observe.emf import UNITS
from dynamirror.ports import DynamoDB
from dynamirror.runtimes import aws_lambda
from dynamirror.runtimes.aws_lambda import Function, handler
from dynamirror.wiring import Wiring

GUARDS = list(Guard)
RESERVE_MS = 2_000

STORIES = """
[mirrors.stories]
mode = "one-way"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}]
guard = "{guard}"
on_poison = "{on_poison}"
"""


class Environment:
    """An execution environment on the running loop; its connections are the world's."""

    def __init__(
        self,
        world: World,
        text: str | None = None,
        connect: Callable[[Place, Transport], DynamoDB] | None = None,
    ) -> None:
        self.world = world
        mirror = world.mirror
        text = text or STORIES.format(guard=mirror.guard, on_poison=mirror.on_poison)
        self.function = Function(text)
        self.function._loop.close()
        self.function.wiring = Wiring(
            load(text), connect=connect or self.connect, clock=now_ms, backoff=world.backoff
        )

    def connect(self, place: Place, _: Transport) -> DynamoDB:
        db = self.world.source if place.region == SOURCE.region else self.world.target
        return self.world.connect(db)

    async def invoke(self, event: Wire, timeout_s: float = 900.0) -> Wire:
        """Do what ``Function.invoke`` does, on the loop of the test."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        lowest = await self.function._apply(
            aws_lambda._stream_arn(event),
            records_of(event),
            lambda: round((ends_s - loop.time()) * 1_000),
        )
        failures = [] if lowest is None else [{"itemIdentifier": str(lowest)}]
        return {"batchItemFailures": failures}


def stories(*changes: Any) -> Wire:
    arn = "arn:aws:dynamodb:us-east-1:000000000000:table/Stories/stream/2026-01-01T00:00:00.000"
    return {"Records": [{**one, "eventSourceARN": arn} for one in changes]}


def put(name: str, number: int) -> Wire:
    return wire_of(key(name), item(name, number), number=number)


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("guard", GUARDS)
def test_after_the_storm_the_tables_are_equal(guard: Guard, seed: int, lanes: int) -> None:
    """Throttles, 5xx, lost answers, time-outs of the function, batches delivered twice."""

    async def main() -> None:
        world = World(guard, seed=seed, shards=2)
        for _ in range(6):
            world.write_at_random(60, 25)
            world.split_at_random()
        world.write_at_random(60, 25)
        faults = Faults(seed, 0.1)
        world.target.before, world.target.after = faults.before, faults.after
        environment = Environment(world)
        mapping = EventSourceMapping(
            world.source,
            "Stories",
            partial(environment.invoke, timeout_s=2.5),
            Random(seed),
            again=0.2,
            lanes=1,
        )
        mapping.lanes = lanes
        await mapping.run()
        assert world.differences() == [], f"guard {guard}, seed {seed}, lanes {lanes}"
        assert mapping.errors == []
        assert mapping.deliveries > 10

    run(main)


@pytest.mark.parametrize("seed", range(12))
def test_the_ledger_holds_against_older_deliveries_beside_newer_ones(seed: int) -> None:
    """A second handler is given 30 % of the batches again, while newer ones run."""

    async def main() -> None:
        world = World(Guard.LEDGER, seed=seed, shards=2)
        for _ in range(5):
            world.write_at_random(60, 15)
            world.split_at_random()
        faults, chance = Faults(seed, 0.05), Random(seed)
        world.target.before, world.target.after = faults.before, faults.after
        first, second = Environment(world), Environment(world)
        late: list[asyncio.Task[Wire]] = []

        async def again(event: Wire) -> Wire:
            await asyncio.sleep(chance.random() * 10)
            return await second.invoke(event)

        async def invoke(event: Wire) -> Wire:
            if chance.random() < 0.3:
                late.append(asyncio.create_task(again(event)))
            return await first.invoke(event)

        await EventSourceMapping(world.source, "Stories", invoke, chance, again=0.1).run()
        await asyncio.gather(*late)
        assert late
        assert world.differences() == [], f"seed {seed}"

    run(main)


class Hanging:
    """A connection whose requests sometimes hang, and land long after nobody waits any more."""

    def __init__(self, db: DynamoDB, chance: Random) -> None:
        self.db = db
        self.chance = chance
        self.landing: set[asyncio.Task[bytes]] = set()

    async def call(self, operation: str, request: bytes) -> bytes:
        task = asyncio.create_task(self._land(operation, request))
        self.landing.add(task)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(task)

    async def _land(self, operation: str, request: bytes) -> bytes:
        hangs = self.chance.random() < 0.1
        await asyncio.sleep(self.chance.random() * (60 if hangs else 0.1))
        return await self.db.call(operation, request)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("seed", range(12))
def test_the_ledger_holds_when_requests_land_after_the_function_has_ended(seed: int) -> None:
    async def main() -> None:
        world, chance = World(Guard.LEDGER, seed=seed), Random(seed)
        world.write_at_random(300, 10)
        hanging = Hanging(world.target, chance)
        world.connect = lambda db: hanging if db is world.target else db
        environment = Environment(world)
        mapping = EventSourceMapping(
            world.source, "Stories", partial(environment.invoke, timeout_s=3), chance
        )
        await mapping.run()
        await asyncio.gather(*hanging.landing, return_exceptions=True)
        assert asyncio.get_running_loop().time() > 30  # some did time out
        assert world.differences() == [], f"seed {seed}"

    run(main)


@pytest.mark.parametrize("guard", GUARDS)
def test_nothing_is_sent_after_the_deadline_and_the_lowest_unapplied_number_is_returned(
    guard: Guard,
) -> None:
    async def main() -> None:
        world = World(guard)
        watch = Watch(world.target, delay_s=0.4)
        world.connect = lambda db: watch if db is world.target else db
        environment = Environment(world)
        watch.refuses = lambda name: (
            ThrottledError("ThrottlingException", "") if name == "k7" else None
        )
        loop = asyncio.get_running_loop()
        answer = await environment.invoke(
            stories(*(put(f"k{n}", 1_000 + n) for n in range(60))), timeout_s=10
        )
        assert loop.time() <= 10 - RESERVE_MS / 1_000 + 0.001
        assert max(watch.times_s) <= 8
        lowest = "1000" if guard is Guard.ORDER else "1007"  # its whole batch was refused
        assert answer == {"batchItemFailures": [{"itemIdentifier": lowest}]}
        sent = len(watch.requests)
        await asyncio.sleep(1_000)
        assert len(watch.requests) == sent

    run(main)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("timeout_s", [0.0, 1.0, 2.0])
def test_an_invocation_that_begins_too_late_sends_nothing(guard: Guard, timeout_s: float) -> None:
    async def main() -> None:
        world = World(guard)
        watch = Watch(world.target)
        world.connect = lambda db: watch if db is world.target else db
        environment = Environment(world)
        answer = await environment.invoke(stories(put("a", 5), put("b", 6)), timeout_s)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "5"}]}
        await asyncio.sleep(100)
        assert watch.requests == []

    run(main)


@pytest.mark.parametrize("on_poison", list(OnPoison))
@pytest.mark.parametrize("guard", GUARDS)
def test_the_deadline_holds_for_our_own_tables_too(guard: Guard, on_poison: OnPoison) -> None:
    """The checkpoint and parked tables throttle without end."""

    async def main() -> None:
        world = World(guard, on_poison=on_poison)
        world.source.before = Faults(1, 1.0).before
        environment = Environment(world)
        answer = await environment.invoke(stories(put("a", 5), put("b", 6)), timeout_s=10)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "5"}]}
        assert asyncio.get_running_loop().time() <= 8.001

    run(main)


def test_a_hung_request_is_given_up_at_the_deadline() -> None:
    async def main() -> None:
        world = World()
        watch = Watch(world.target, delay_s=10_000)
        world.connect = lambda db: watch if db is world.target else db
        answer = await Environment(world).invoke(stories(put("a", 5)), timeout_s=10)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "5"}]}
        assert asyncio.get_running_loop().time() <= 8.001

    run(main)


def refusing(name: str) -> Callable[[str], Exception | None]:
    error = RefusedError("ValidationException", "never")
    return lambda asked: error if asked == name else None


def test_a_bad_item_is_told_by_its_number_and_blocks_nothing_before_it() -> None:
    async def main() -> None:
        world = World(Guard.ITEM)
        watch = Watch(world.target)
        watch.refuses = lambda name: (
            RefusedError("ValidationException", "") if name == "b" else None
        )
        world.connect = lambda db: watch if db is world.target else db
        environment = Environment(world)
        event = stories(put("a", 1), put("b", 2), put("c", 3))
        for _ in range(2):
            answer = await environment.invoke(event)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}
        assert "a" in world.at_target()

    run(main)


def test_a_mirror_that_parks_gets_on() -> None:
    async def main() -> None:
        world = World(on_poison=OnPoison.PARK)
        watch = Watch(world.target)
        watch.refuses = lambda name: (
            RefusedError("ValidationException", "") if name == "b" else None
        )
        world.connect = lambda db: watch if db is world.target else db
        environment = Environment(world)
        answer = await environment.invoke(stories(put("a", 1), put("b", 2), put("c", 3)))
        assert answer == {"batchItemFailures": []}
        assert world.at_target().keys() == {"a", "c"}
        watch.refuses = lambda _: None
        await Environment(world).invoke(stories(put("b", 4), put("c", 5)))  # another, cold one
        assert world.at_target().keys() == {"a", "c"}
        assert len(world.parked) == 2

    run(main)


TWO_MIRRORS = """
[mirrors.one]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }, { region = "ap-south-1" }]

[mirrors.other]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "us-west-2" }]
guard = "ledger"
checkpoint_table = "Stories-other-checkpoints"

[mirrors.unrelated]
mode = "one-way"
source = { region = "us-east-1", table = "Authors" }
targets = [{ region = "us-west-2" }]
"""


class Regions:
    """A target in each of several regions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dbs = {SOURCE.region: world.source}
        create(world.source, "Stories-other-checkpoints", "link", "shard")
        for region in ("eu-west-1", "ap-south-1", "us-west-2"):
            db = self.dbs[region] = MemoryDynamoDB(region, clock=now_ms)
            create(db, "Stories", "id")
            create(db, "Stories-dynamirror-ledger", "k")

    def connect(self, place: Place, _: Transport) -> DynamoDB:
        return self.dbs[place.region]

    def keys(self, region: str) -> list[str]:
        return sorted(one["id"]["S"] for one in self.dbs[region].table("Stories").contents())


def test_every_mirror_of_a_stream_gets_its_changes_and_the_lowest_number_counts() -> None:
    async def main() -> None:
        world = World()
        regions = Regions(world)
        environment = Environment(world, TWO_MIRRORS, regions.connect)
        event = stories(put("a", 1), put("b", 2))
        assert await environment.invoke(event) == {"batchItemFailures": []}
        for region in ("eu-west-1", "ap-south-1", "us-west-2"):
            assert regions.keys(region) == ["a", "b"]

        regions.dbs["ap-south-1"].before = Faults(1, 1.0).before
        answer = await environment.invoke(stories(put("c", 3)), timeout_s=5)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "3"}]}
        assert regions.keys("us-west-2") == ["a", "b", "c"]

    run(main)


def test_a_mirror_that_fails_leaves_nothing_of_the_others_running() -> None:
    """What went on after the answer would land beside the next delivery, out of order."""

    async def main() -> None:
        world = World()
        regions = Regions(world)
        environment = Environment(world, TWO_MIRRORS, regions.connect)
        watch = Watch(regions.dbs["eu-west-1"], delay_s=100)
        regions.dbs["eu-west-1"] = watch  # type: ignore[assignment]
        event = stories(put("a", 1))
        checkpoints = environment.function.wiring.checkpoints(
            environment.function.wiring.config.mirrors[1]
        )
        await checkpoints.enroll(await checkpoints.load(), "another stream's ARN", now_ms())
        with pytest.raises(HistoryLostError, match="re-created"):
            await environment.invoke(event)
        assert watch.in_flight.total() == 0

    run(main)


@pytest.mark.parametrize("guard", [Guard.ITEM, Guard.LEDGER])
def test_a_stream_that_is_not_the_tables_known_one_is_history_lost(guard: Guard) -> None:
    async def main() -> None:
        world = World(guard)
        environment = Environment(world)
        assert await environment.invoke(stories(put("a", 1))) == {"batchItemFailures": []}
        other = stories(put("b", 2))
        for record in other["Records"]:
            record["eventSourceARN"] = record["eventSourceARN"].replace("2026-01", "2026-02")
        for one in (environment, Environment(world)):
            with pytest.raises(HistoryLostError, match="re-created"):
                await one.invoke(other)
        assert world.at_target().keys() == {"a"}

    run(main)


def test_an_answer_lost_before_the_fact_is_asked_again_within_the_invocation() -> None:
    async def main() -> None:
        world = World()
        watch = Watch(world.target)
        watch.answers = [TransientError("InternalServerError", "")] * 3
        world.connect = lambda db: watch if db is world.target else db
        assert await Environment(world).invoke(stories(put("a", 1))) == {"batchItemFailures": []}
        assert len(watch.requests) == 4

    run(main)


class Context:
    def __init__(self, remaining_ms: int) -> None:
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, MemoryDynamoDB]]:
    """Lambda's own way in: the handler, an environment variable, memory in place of a network."""
    clock = VirtualLoop()
    dbs = {name: MemoryDynamoDB(name, clock=clock.clock) for name in ("us-east-1", "eu-west-1")}
    create(dbs["eu-west-1"], "Stories", "id")
    monkeypatch.setattr(
        aws_lambda, "Wiring", lambda config: Wiring(config, connect=lambda p, _: dbs[p.region])
    )
    monkeypatch.setattr(aws_lambda, "_function", None)
    text = STORIES.format(guard="order", on_poison="stop")
    monkeypatch.setenv(aws_lambda.CONFIG_VARIABLE, text)
    yield dbs
    clock.close()
    if aws_lambda._function is not None:
        aws_lambda._function[1].close()


def test_the_handler_applies_an_event(warm: dict[str, MemoryDynamoDB]) -> None:
    for context in (Context(60_000), None):
        assert handler(stories(put("a", 1)), context) == {"batchItemFailures": []}
    assert warm["eu-west-1"].table("Stories").contents() == [item("a", 1)]
    late = handler(stories(put("b", 2)), Context(1_000))
    assert late == {"batchItemFailures": [{"itemIdentifier": "2"}]}


@pytest.mark.parametrize("asked", ["", "0", "1"])
def test_a_key_is_logged_only_where_the_environment_asks_for_it(
    asked: str,
    warm: dict[str, MemoryDynamoDB],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """DYNAMIRROR_LOG_KEYS=1 is what --log-keys is for `run`."""

    async def refuse(_: str, __: bytes) -> None:
        raise RefusedError("ValidationException", "too large")

    warm["eu-west-1"].before = refuse
    monkeypatch.setenv(aws_lambda.KEYS_VARIABLE, asked)
    monkeypatch.setattr(logging.getLogger("dynamirror"), "propagate", True)  # to who captures

    handler(stories(put("carol@example.org", 1)), None)

    assert any("too large" in line for line in caplog.messages)
    assert any("carol" in line for line in caplog.messages) == (asked == "1")
    show_keys(asked=False)


def test_a_table_of_a_pattern_is_mirrored_without_being_named(
    warm: dict[str, MemoryDynamoDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event says which table it is; nobody need be asked."""
    text = STORIES.format(guard="order", on_poison="stop").replace('"Stories"', '"St*s"')
    monkeypatch.setenv(aws_lambda.CONFIG_VARIABLE, text)

    assert handler(stories(put("a", 1)), None) == {"batchItemFailures": []}
    assert warm["eu-west-1"].table("Stories").contents() == [item("a", 1)]


def test_the_environment_stays_warm_until_its_configuration_changes(
    warm: dict[str, MemoryDynamoDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert warm
    handler({"Records": []}, None)
    first = aws_lambda._function
    handler({"Records": []}, None)
    assert aws_lambda._function is first
    text = STORIES.format(guard="item", on_poison="stop")
    monkeypatch.setenv(aws_lambda.CONFIG_VARIABLE, text)
    handler({"Records": []}, None)
    assert aws_lambda._function is not first


def test_a_failed_numbers_spelling_is_the_events(warm: dict[str, MemoryDynamoDB]) -> None:
    """What isn't found in the batch counts as a failure of all of it."""
    assert warm
    padded = put("a", 5)
    padded["dynamodb"]["SequenceNumber"] = "000000000000000000005"
    late = handler(stories(padded), Context(0))
    assert late == {"batchItemFailures": [{"itemIdentifier": "000000000000000000005"}]}


MALFORMED: list[Any] = [
    None,
    [],
    {},
    {"Records": [{}]},
    {"Records": [None]},
    {"Records": [put("a", 1)]},
    {"Records": [{**put("a", 1), "eventSourceARN": "arn:aws:sqs:us-east-1:0:queue"}]},
    {"Records": [{**put("a", 1), "eventSourceARN": 7}]},
    {"Records": [*stories(put("a", 1))["Records"], {**put("b", 2), "eventSourceARN": "x"}]},
]


@pytest.mark.parametrize("event", MALFORMED)
def test_a_malformed_event_is_a_value_error(event: Any, warm: dict[str, MemoryDynamoDB]) -> None:
    with pytest.raises(ValueError, match=r"event|record|ARN"):
        handler(event, None)
    assert warm["eu-west-1"].table("Stories").contents() == []


@pytest.mark.parametrize(
    ("known", "other"), [("us-east-1", "us-east-2"), ("table/Stories", "table/Authors")]
)
def test_a_table_of_no_mirror_is_a_value_error(
    known: str, other: str, warm: dict[str, MemoryDynamoDB]
) -> None:
    assert warm
    event = stories(put("a", 1))
    event["Records"][0]["eventSourceARN"] = event["Records"][0]["eventSourceARN"].replace(
        known, other
    )
    with pytest.raises(ValueError, match="no mirror"):
        handler(event, None)


def test_without_a_configuration_it_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(aws_lambda.CONFIG_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="DYNAMIRROR_CONFIG"):
        handler({"Records": []}, None)


def test_each_delivery_writes_one_line_of_metrics() -> None:
    """The embedded metric format: names, units and dimensions as docs/metrics.md has them."""

    async def main() -> None:
        world = World(Guard.ITEM, on_poison=OnPoison.PARK)
        environment = Environment(world)
        lines: list[str] = []
        environment.function._emit = lines.append

        def refuse(operation: str, request: bytes) -> None:
            if operation == "PutItem" and b"bad" in request and b'Stories"' in request:
                raise RefusedError("ValidationException", "seeded")

        async def before(operation: str, request: bytes) -> None:
            refuse(operation, request)
            await asyncio.sleep(0.25)

        world.target.before = before
        await asyncio.sleep(1_000_000_000 / 1_000)
        await environment.invoke(stories(put("a", 1), put("b", 2), put("bad", 3)))
        (told,) = map(json.loads, lines)

        (directive,) = told["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == (
            "dynamirror",
            [["Mirror", "Link"]],
        )
        assert (told["Mirror"], told["Link"]) == ("stories", "stories/us-east-1")
        assert {one["Name"]: one["Unit"] for one in directive["Metrics"]} == {
            name: unit for name, unit in UNITS.items() if name != "Conflicts"
        }
        assert all(isinstance(told[one["Name"]], int) for one in directive["Metrics"])
        assert told["_aws"]["Timestamp"] == now_ms()
        assert (told["Records"], told["Unapplied"], told["ParkedChanges"]) == (3, 0, 1)
        assert told["Lag"] >= 1_000_000_000
        assert told["Duration"] >= 250
        assert "bad" not in lines[0]

    run(main)


def test_what_is_handed_back_is_counted() -> None:
    """A target that takes nothing shows as changes not applied, and as throttles."""

    async def main() -> None:
        world = World()
        environment = Environment(world)
        lines: list[str] = []
        environment.function._emit = lines.append

        async def before(_: str, __: bytes) -> None:
            raise ThrottledError("ProvisionedThroughputExceededException", "seeded")

        world.target.before = before
        await environment.invoke(stories(put("a", 1), put("b", 2)), timeout_s=5)
        (told,) = map(json.loads, lines)

        assert (told["Records"], told["Unapplied"], told["Writes"]) == (2, 2, 0)
        assert told["Throttles"] > 0

    run(main)


def test_metrics_go_to_the_log_on_lambda_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere nobody reads them."""
    text = STORIES.format(guard="order", on_poison="stop")
    monkeypatch.setenv("DYNAMIRROR_CONFIG", text)
    monkeypatch.setattr(aws_lambda, "_function", None)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "dynamirror-stories")

    handler({"Records": []}, None)
    assert aws_lambda._function is not None
    made = aws_lambda._function[1]
    assert made._emit is not None
    made._emit("{}")

    assert capsys.readouterr().out == "{}\n"
    made.close()
