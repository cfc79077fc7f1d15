"""Order per key, whatever runs in parallel; and each kind of answer gets what it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from msgspec import structs
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, Watch, World, change, item

from dynamirror.config.model import Guard, OnPoison
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, encode, opened
from dynamirror.engine.writing.apply import Applier
from dynamirror.engine.writing.limiter import Limiter, Pace
from dynamirror.engine.writing.targets import Squash, target_of
from dynamirror.errors import (
    AccessDeniedError,
    PoisonError,
    RefusedError,
    ServiceError,
    ThrottledError,
    TransientError,
    UnfitError,
)

GUARDS = list(Guard)


class Bench:
    """An applier on a watched target in memory."""

    def __init__(
        self, guard: Guard = Guard.ORDER, *, limit: int = 8, seed: int = 0, park: bool = False
    ) -> None:
        self.world = World(guard, seed=seed, on_poison=OnPoison.PARK if park else OnPoison.STOP)
        self.watch = Watch(self.world.target, seed=seed)
        self.limiter = Limiter(1_000, start=limit)
        links = self.world.links
        rules = links.rules(TARGET, 1)
        self.target = target_of(guard, TARGET.name, self.watch, rules, now_ms)
        self.parking = links.parking_of(1) if park else None
        self.failures: list[BaseException] = []
        self.over = asyncio.Event()
        self.done: list[int] = []
        self.applier = self.new_applier()

    def new_applier(
        self, pace: Pace | None = None, may_write: Callable[[], bool] = lambda: True
    ) -> Applier:
        return Applier(
            self.target,
            self.limiter,
            on_failure=self.fail,
            may_write=may_write,
            backoff=self.world.backoff,
            pace=pace,
            parking=self.parking,
        )

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.over.set()

    def submit(self, *records: StreamRecord) -> None:
        number = len(self.done)
        self.done.append(0)

        def on_done() -> None:
            self.done[number] += 1
            if all(self.done):
                self.over.set()

        self.over.clear()
        self.applier.submit(records, on_done)

    async def settle(self, *records: StreamRecord) -> None:
        if records:
            self.submit(*records)
        await asyncio.wait_for(self.over.wait(), 100_000)

    @property
    def values(self) -> dict[str, str]:
        return {name: held["value"]["N"] for name, held in self.world.at_target().items()}


def expected(records: Sequence[StreamRecord]) -> dict[str, str]:
    held: dict[str, str] = {}
    for record in records:
        name = record.key[1]
        if record.new_image is None:
            held.pop(name, None)
        else:
            held[name] = record.new_image["value"]["N"]  # type: ignore[call-overload]
    return held


def history(chance: Random, changes: int, keys: int) -> list[StreamRecord]:
    return [
        change(f"k{chance.randrange(keys)}", number, None if chance.random() < 0.3 else number)
        for number in range(1, changes + 1)
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("guard", GUARDS)
def test_the_last_change_of_each_key_stays_whatever_runs_in_parallel(
    guard: Guard, seed: int
) -> None:
    """And no key is in flight twice, though throttles, lost answers and 5xx rain."""

    async def main() -> None:
        bench, chance = Bench(guard, seed=seed, limit=16), Random(seed)
        for _ in range(60):
            bench.watch.answers.append(
                chance.choice(
                    [
                        None,
                        None,
                        ThrottledError("ThrottlingException", ""),
                        TransientError("InternalServerError", ""),
                    ]
                )
            )
        records = history(chance, 400, 40)
        at = 0
        while at < len(records):
            size = chance.randrange(1, 60)
            bench.submit(*records[at : at + size])
            at += size
            await asyncio.sleep(chance.random() * 0.1)
        await bench.settle()

        assert bench.values == expected(records)
        assert bench.watch.twice == []
        assert set(bench.done) == {1}
        assert bench.failures == []
        assert bench.applier.unapplied == frozenset()

    run(main)


def test_different_keys_are_sent_in_parallel() -> None:
    async def main() -> None:
        bench = Bench(Guard.ITEM, limit=8)
        await bench.settle(*(change(f"k{n}", n) for n in range(40)))
        assert bench.watch.in_flight_max >= 8

    run(main)


def test_a_long_queue_makes_use_of_a_limit_that_grows() -> None:
    """One delivery of Lambda's may bring 10,000 records and nothing after them."""

    async def main() -> None:
        bench = Bench(Guard.ITEM, limit=8)
        bench.watch.delay_s = 0.05
        bench.watch.chance = Random(1)
        await bench.settle(*(change(f"k{n}", n) for n in range(2_000)))
        assert bench.watch.in_flight_max >= 100

    run(main)


class Instant:
    """A target whose answers are there at once, as a judgement that asks nobody is."""

    name = "instant"
    records_max = 1
    squash: Squash | None = None
    stale = 0

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        del records
        return ()

    async def probe(self, keys: Wire) -> None:
        raise NotImplementedError


def test_where_sending_takes_no_time_one_worker_does_all() -> None:
    """A worker for each change would cost more than the change."""

    async def main() -> None:
        done, failures = list[int](), list[BaseException]()
        limiter = Limiter(1_024)
        applier = Applier(Instant(), limiter, on_failure=failures.append)
        applier.submit([change(f"k{n}", n) for n in range(2_000)], lambda: done.append(1))
        hired = len(asyncio.all_tasks())
        while not done:
            await asyncio.sleep(0)
            hired = max(hired, len(asyncio.all_tasks()))
        assert hired <= 3  # this one, that worker, and one that it hired
        assert failures == []

    run(main)


def test_workers_that_left_for_a_throttle_are_missed_by_nobody() -> None:
    """All requests are answered at one moment, the first of them by a throttle."""

    async def main() -> None:
        bench = Bench(Guard.ITEM, limit=8)
        bench.watch.delay_s = 0.0
        bench.watch.answers = [ThrottledError("ThrottlingException", "")]
        bench.world.backoff = type(bench.world.backoff)(base_s=3_600, cap_s=3_600, draw=lambda: 1.0)
        bench.applier = bench.new_applier()
        bench.submit(*(change(f"k{n}", n) for n in range(50)))
        await asyncio.sleep(60)
        assert len(bench.values) == 49  # only the throttled one waits for its hour

        await bench.settle()

    run(main)


def test_a_batch_is_squashed_to_the_last_change_per_key() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.settle(*(change("hot", n, n) for n in range(1, 1_000)), change("b", 1_000))
        assert bench.watch.requests == [("BatchWriteItem", ["hot", "b"])]
        assert bench.values["hot"] == "999"

    run(main)


def test_a_hot_key_costs_one_request_at_a_time_and_not_a_queue() -> None:
    """What comes while it is in flight is squashed behind it, over as many batches as come."""

    async def main() -> None:
        bench = Bench()
        for number in range(1, 101):
            bench.submit(change("hot", number, number))
            await asyncio.sleep(0.0001)
        await bench.settle()
        assert bench.values == {"hot": "100"}
        assert len(bench.watch.requests) == 2
        assert bench.done == [1] * 100

    run(main)


def test_a_batch_is_done_once_and_only_when_all_of_it_is_applied() -> None:
    async def main() -> None:
        bench = Bench(Guard.ITEM, limit=1)
        bench.submit(change("a", 1), change("b", 2))
        bench.submit(change("c", 3))
        bench.submit(change("d", 4))
        await asyncio.sleep(0.16)
        assert bench.done[0] == 1
        assert {"a", "b"} <= bench.values.keys()
        await bench.settle()
        assert bench.done == [1, 1, 1]

    run(main)


def test_nothing_to_apply_is_done_at_once() -> None:
    async def main() -> None:
        bench = Bench()
        bench.submit()
        assert bench.done == [1]
        assert bench.watch.requests == []

    run(main)


def test_only_what_was_not_processed_is_sent_again() -> None:
    async def main() -> None:
        bench = Bench()
        left = [{"PutRequest": {"Item": item(name)}} for name in ("k3", "k7")]
        left.append({"DeleteRequest": {"Key": {"id": {"S": "k9"}}}})
        bench.watch.answers = [encode({"UnprocessedItems": {"Stories": left}})]
        await bench.settle(*(change(f"k{n}", n, None if n == 9 else n) for n in range(10)))
        assert [sorted(names) for _, names in bench.watch.requests] == [
            [f"k{n}" for n in range(10)],
            ["k3", "k7", "k9"],
        ]
        assert bench.limiter.limit == 4

    run(main)


@pytest.mark.parametrize(
    "error",
    [ThrottledError("ThrottlingException", ""), TransientError("InternalServerError", "")],
)
def test_a_refusal_that_may_pass_halves_what_is_in_flight_and_waits_ever_longer(
    error: ServiceError,
) -> None:
    async def main() -> None:
        bench = Bench(limit=8)
        bench.world.backoff = type(bench.world.backoff)(draw=lambda: 1.0)
        bench.applier = bench.new_applier()
        bench.watch.delay_s = 0
        bench.watch.answers = [error] * 4
        await bench.settle(change("a", 1, 7))
        assert bench.values == {"a": "7"}
        assert bench.limiter.limit == 2  # 8, 4, 2, 1, and an answer
        gaps = [
            round(b - a, 3)
            for a, b in zip(bench.watch.times_s, bench.watch.times_s[1:], strict=False)
        ]
        assert gaps == [0.1, 0.2, 0.4, 0.8]
        assert bench.applier.throttles == 4

    run(main)


def test_other_keys_go_on_while_one_waits() -> None:
    async def main() -> None:
        bench = Bench(Guard.ITEM, limit=2)
        bench.watch.answers = [ThrottledError("ThrottlingException", "")]
        bench.submit(change("slow", 1))
        await asyncio.sleep(0.08)
        await bench.settle(change("quick", 2))
        assert bench.done == [1, 1]

    run(main)


@pytest.mark.parametrize("guard", GUARDS)
def test_access_denied_stops_and_is_not_tried_again(guard: Guard) -> None:
    async def main() -> None:
        bench = Bench(guard, limit=1)
        bench.watch.refuses = lambda _: AccessDeniedError("AccessDeniedException", "")
        bench.submit(*(change(f"k{n}", n) for n in range(60)))
        await bench.settle()
        await asyncio.sleep(100)
        assert [type(error) for error in bench.failures] == [AccessDeniedError]
        assert len(bench.watch.requests) == 1
        assert bench.done == [0]

    run(main)


def poison(*names: str) -> Callable[[str], Exception | None]:
    def refuses(name: str) -> Exception | None:
        return RefusedError("ValidationException", "too large") if name in names else None

    return refuses


@pytest.mark.parametrize("guard", GUARDS)
def test_one_bad_item_of_a_batch_is_parked_and_the_others_are_applied(guard: Guard) -> None:
    async def main() -> None:
        bench = Bench(guard, park=True)
        bench.watch.refuses = poison("k13")
        await bench.settle(*(change(f"k{n}", n) for n in range(25)))
        assert sorted(bench.values) == sorted(f"k{n}" for n in range(25) if n != 13)
        assert [row["keys"]["M"]["id"]["S"] for row in bench.world.parked] == ["k13"]
        assert bench.failures == []
        if guard is Guard.ORDER:
            assert len(bench.watch.requests) == 26

    run(main)


@pytest.mark.parametrize("guard", GUARDS)
def test_a_mirror_that_does_not_park_stops_at_a_bad_item_and_names_it(guard: Guard) -> None:
    async def main() -> None:
        bench = Bench(guard, limit=1)
        bench.watch.refuses = poison("k13")
        bench.submit(*(change(f"k{n}", 1_000 + n) for n in range(25)))
        await bench.settle()
        (error,) = bench.failures
        assert isinstance(error, PoisonError)
        assert "1013" in str(error)
        assert "eu-west-1" in str(error)
        assert bench.done == [0]
        assert ("S", "k13") in bench.applier.unapplied

    run(main)


def unknown(name: str, number: int) -> StreamRecord:
    return change(name, number, number, eventName="REWRITE")


@pytest.mark.parametrize("spread", [True, False], ids=["one batch each", "one batch"])
def test_an_event_of_unknown_kind_is_parked_and_never_squashed_away(*, spread: bool) -> None:
    async def main() -> None:
        bench = Bench(park=True)
        records = [change("a", 1, 1), unknown("a", 2), change("a", 3, 3), change("b", 4, 4)]
        if spread:
            for record in records:
                bench.submit(record)
        else:
            bench.submit(*records)
        await bench.settle()
        parked = bench.world.parked
        assert [row["sequence_number"]["S"] for row in parked] == ["2", "3"]
        assert bench.values == {"a": "1", "b": "4"}

    run(main)


def test_an_event_of_unknown_kind_stops_a_mirror_that_does_not_park() -> None:
    async def main() -> None:
        bench = Bench()
        bench.submit(change("a", 1, 1), unknown("a", 2), change("a", 3, 3))
        await bench.settle()
        (error,) = bench.failures
        assert "'REWRITE'" in str(error)
        assert bench.values == {"a": "1"}

    run(main)


def test_what_waits_behind_a_parked_change_waits_until_it_is_released() -> None:
    """Other keys go on; released, the key's changes pass again."""

    async def main() -> None:
        bench = Bench(park=True)
        bench.watch.refuses = poison("a")
        await bench.settle(change("a", 1, 1), change("b", 2, 2))
        bench.watch.refuses = poison()
        await bench.settle(change("a", 3, 3), change("b", 4, 4), change("a", 5, 5))
        assert bench.values == {"b": "4"}
        assert bench.parking is not None

        rows = [row async for row in bench.parking.rows()]
        assert [row["code"] for row in rows] == ["ValidationException", "NoneType"]
        rows = [row async for row in bench.parking.rows_of(("S", "a"))]
        await bench.parking.release("eu-west-1", ("S", "a"), rows, None)
        await bench.settle(change("a", 6, 6))
        assert bench.values == {"a": "6", "b": "4"}
        assert not bench.parking.holds("eu-west-1", ("S", "a"))

    run(main)


@pytest.mark.parametrize("guard", [Guard.ITEM, Guard.LEDGER])
def test_late_and_duplicate_changes_are_refused_and_counted(guard: Guard) -> None:
    async def main() -> None:
        bench = Bench(guard)
        await bench.settle(change("a", 10, 10))
        await bench.settle(change("a", 10, 10))
        await bench.settle(change("a", 9, 9))
        await bench.settle(change("a", 8, None))
        assert bench.values == {"a": "10"}
        assert bench.target.stale == 3

    run(main)


def test_the_ledger_refuses_a_late_put_after_a_delete() -> None:
    async def main() -> None:
        bench = Bench(Guard.LEDGER)
        await bench.settle(change("a", 10, None))
        await bench.settle(change("a", 9, 9))
        assert bench.values == {}

    run(main)


@pytest.mark.parametrize("guard", [Guard.ITEM, Guard.LEDGER])
def test_a_re_created_streams_changes_outrank_those_before(guard: Guard) -> None:
    async def main() -> None:
        bench = Bench(guard)
        await bench.settle(change("a", 10**30, 1))
        rules = bench.world.links.rules(TARGET, 2)
        bench.target = target_of(guard, TARGET.name, bench.watch, rules, now_ms)
        bench.applier = bench.new_applier()
        await bench.settle(change("a", 1, 2))
        assert bench.values == {"a": "2"}

    run(main)


def test_no_more_is_written_a_second_than_the_mirror_allows() -> None:
    async def main() -> None:
        bench = Bench()
        bench.applier = bench.new_applier(Pace(100))
        await bench.settle(*(change(f"k{n}", n) for n in range(500)))
        assert 4.5 <= bench.watch.times_s[-1] <= 5

    run(main)


def test_stopped_it_sends_nothing_more() -> None:
    async def main() -> None:
        bench = Bench(Guard.ITEM, limit=4)
        bench.watch.answers = [ThrottledError("ThrottlingException", "")]
        bench.submit(*(change(f"k{n}", n) for n in range(40)))
        await asyncio.sleep(0.12)
        await bench.applier.stop()
        sent = len(bench.watch.requests)
        bench.submit(change("late", 99))
        await asyncio.sleep(1_000)
        assert len(bench.watch.requests) == sent
        assert bench.failures == []

    run(main)


def test_a_batch_larger_than_a_request_is_sent_in_parts() -> None:
    async def main() -> None:
        bench = Bench(limit=1)
        large: Any = {"S": "\\" * 350_000}  # twice as long in JSON: 17 MB of 9 MB of items
        await bench.settle(*(enlarged(change(f"k{n}", n), large) for n in range(25)))
        assert len(bench.values) == 25
        assert [len(names) for _, names in bench.watch.requests] == [12, 13]

    run(main)


def enlarged(record: StreamRecord, value: Any) -> StreamRecord:
    return structs.replace(record, new_image={**opened(record.new_image or {}), "big": value})


def test_nothing_is_sent_while_writing_is_not_allowed() -> None:
    """A process that woke up after its lease has ended waits until it holds one again."""

    async def main() -> None:
        bench = Bench()
        allowed = False
        bench.applier = bench.new_applier(may_write=lambda: allowed)
        bench.submit(change("a", 1, 1))
        await asyncio.sleep(60)
        assert bench.values == {}
        allowed = True
        await bench.settle()
        assert bench.values == {"a": "1"}

    run(main)


def test_trouble_is_told_as_long_as_it_lasts() -> None:
    async def main() -> None:
        bench = Bench()
        refusing = True

        async def refuse(_operation: str, _request: bytes) -> None:
            if refusing:
                raise TransientError("HTTP 503", "not now")

        bench.world.target.before = refuse
        bench.submit(change("a", 1, 1))
        await asyncio.sleep(5)
        assert str(bench.applier.trouble) == "HTTP 503: not now"
        refusing = False
        await bench.settle()
        assert bench.applier.trouble is None

    run(main)


def test_a_key_parked_for_one_target_does_not_wait_at_another() -> None:
    async def main() -> None:
        bench = Bench(park=True)
        assert bench.parking is not None
        await bench.parking.park(change("a", 1, 1), "ap-south-1", UnfitError("no"))
        await bench.settle(change("a", 2, 2))
        assert bench.values == {"a": "2"}

    run(main)
