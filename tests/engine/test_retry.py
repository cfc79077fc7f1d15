"""Delays are drawn from nothing to a ceiling that doubles; what can't succeed isn't tried again."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.virtual_time import run

from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import AccessDeniedError, RefusedError, ServiceError, TransientError


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_full_jitter(attempt: int, drawn: float) -> None:
    ceiling_s = min(20.0, 0.05 * 2 ** min(attempt, 20))

    assert Backoff(draw=lambda: drawn).delay_s(attempt) == pytest.approx(drawn * ceiling_s)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base_s=1, cap_s=10, draw=lambda: 1.0)

    assert [backoff.delay_s(attempt) for attempt in (1, 2, 3, 4, 999)] == [2, 4, 8, 10, 10]


class Failing:
    def __init__(self, *errors: ServiceError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_what_may_pass_is_tried_until_it_does() -> None:
    async def main() -> tuple[str, int, float]:
        call = Failing(*(TransientError("InternalServerError", "") for _ in range(30)))
        answer = await persist(call, Backoff(draw=lambda: 1.0))
        return answer, call.calls, asyncio.get_running_loop().time()

    answer, calls, took_s = run(main)

    assert (answer, calls) == ("done", 31)
    assert took_s == pytest.approx(sum(min(20.0, 0.05 * 2**n) for n in range(1, 31)))


@pytest.mark.parametrize("error", [AccessDeniedError("x", ""), RefusedError("x", "")])
def test_what_can_never_succeed_is_tried_once(error: ServiceError) -> None:
    call = Failing(error)

    with pytest.raises(type(error)):
        run(lambda: persist(call, Backoff()))
    assert call.calls == 1


def test_attempts_may_be_limited() -> None:
    call = Failing(*(TransientError("x", "") for _ in range(9)))

    with pytest.raises(TransientError):
        run(lambda: persist(call, Backoff(), attempts_max=3))
    assert call.calls == 3
