"""How many requests may be in flight: more while answers come fast, half at each throttle."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from tests.engine.virtual_time import run

from dynamirror.engine.writing.limiter import Limiter, Pace


def grown(limiter: Limiter, answers: int, took_s: float = 0.01, now_s: float = 0.0) -> int:
    for _ in range(answers):
        limiter.answered(took_s, limiter.limit, now_s)
    return limiter.limit


def test_answers_raise_the_limit_by_one_each_until_the_first_throttle() -> None:
    limiter = Limiter(100, start=4)

    assert grown(limiter, 4) == 8


def test_a_throttle_halves_the_limit() -> None:
    limiter = Limiter(100, start=8)

    limiter.throttled(1.0, 0.1)

    assert limiter.limit == 4


def test_requests_sent_before_the_cut_do_not_cut_again() -> None:
    """Those in flight at a throttle are throttled together; that is one event, not eight."""
    limiter = Limiter(100, start=64)

    limiter.throttled(1.0, 0.1)
    for late in range(1, 9):
        limiter.throttled(1.0 + late / 100, 0.1)
    assert limiter.limit == 32

    limiter.throttled(2.0, 0.1)
    assert limiter.limit == 16


def test_after_a_throttle_it_takes_a_round_of_answers_to_gain_one() -> None:
    limiter = Limiter(100, start=16)
    limiter.throttled(1.0, 0.1)

    assert grown(limiter, 7) == 8
    assert grown(limiter, 2) == 9


def test_slower_answers_do_not_raise_the_limit() -> None:
    """More in flight that only makes each slower is a queue."""
    limiter = Limiter(100, start=8)
    grown(limiter, 1)

    assert grown(limiter, 20, took_s=0.1) == 9


def test_a_limit_that_is_not_used_is_not_raised() -> None:
    limiter = Limiter(100, start=8)

    for _ in range(20):
        limiter.answered(0.01, 7, 0.0)

    assert limiter.limit == 8


def test_a_slower_network_is_learned_in_time() -> None:
    limiter = Limiter(100, start=8)
    grown(limiter, 1)

    assert grown(limiter, 5_000, took_s=0.05, now_s=5.0) == 9
    for second in range(11, 40):
        grown(limiter, 10, took_s=0.05, now_s=second)
    assert limiter.limit == 100


@given(st.integers(1, 200), st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=200))
def test_the_limit_stays_between_one_and_the_most(
    maximum: int, answers: list[tuple[bool, float]]
) -> None:
    limiter = Limiter(maximum)
    for place, (throttled, took_s) in enumerate(answers):
        if throttled:
            limiter.throttled(float(place), took_s)
        else:
            limiter.answered(took_s, limiter.limit, 0.0)
        assert 1 <= limiter.limit <= maximum


def test_no_more_items_a_second_than_allowed_in_the_order_of_asking() -> None:
    async def main() -> list[tuple[int, float]]:
        pace, passed = Pace(10), []
        clock = asyncio.get_running_loop().time

        async def ask(number: int) -> None:
            await pace.take(5)
            passed.append((number, clock()))

        await asyncio.gather(*(ask(number) for number in range(4)))
        await asyncio.sleep(100)  # what was not used is not saved up
        await asyncio.gather(*(ask(number) for number in range(4, 6)))
        return passed

    assert [(number, round(at, 6)) for number, at in run(main)] == [
        (0, 0.0),
        (1, 0.5),
        (2, 1.0),
        (3, 1.5),
        (4, 101.5),
        (5, 102.0),
    ]


def test_what_was_not_sent_after_all_does_not_slow_down_others() -> None:
    """A function's deadline cancels what waits; its next invocations use the same pace."""

    async def main() -> None:
        pace = Pace(10)
        await pace.take(10)
        waiting = [asyncio.create_task(pace.take(100)) for _ in range(9)]
        await asyncio.sleep(0.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        before_s = asyncio.get_running_loop().time()
        await pace.take(1)
        assert asyncio.get_running_loop().time() - before_s <= 1

    run(main)
