"""A position never passes what isn't applied, in whatever order pages settle."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.limits import STREAM_RETENTION_S
from dynamirror.core.progress import Position, Progress

HOUR_MS = 60 * 60 * 1_000


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.data())
def test_a_position_is_the_last_page_before_the_first_unsettled_one(
    times: list[int], data: st.DataObject
) -> None:
    progress = Progress(Position(0, read_until_ms=50))
    pages = [progress.hand_in(place + 1, at_ms) for place, at_ms in enumerate(times)]
    settled: set[int] = set()
    for place in data.draw(st.permutations(range(len(pages)))):
        progress.settle(pages[place])
        settled.add(place)
        without_gap = next((n for n in range(len(pages)) if n not in settled), len(pages))
        until_ms = max([50, *times[:without_gap]])
        assert progress.position == Position(without_gap, read_until_ms=until_ms)
        assert progress.idle == (without_gap == len(pages))
        oldest_ms = None if progress.idle else times[without_gap]
        assert progress.oldest_ms == oldest_ms


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=12))
def test_read_until_never_goes_back(steps: list[tuple[bool, int]]) -> None:
    progress = Progress(Position())
    for number, (quiet, at_ms) in enumerate(steps):
        before = progress.position.read_until_ms
        if quiet:
            progress.quiet_since(at_ms)
        else:
            progress.settle(progress.hand_in(number, at_ms))
        assert progress.position.read_until_ms == max(before, at_ms)


def test_quiet_moves_the_time_and_not_the_number() -> None:
    progress = Progress(Position(7, read_until_ms=10))

    progress.quiet_since(20)

    assert progress.position == Position(7, read_until_ms=20)


def test_the_end_of_a_shard_keeps_number_and_time() -> None:
    progress = Progress(Position(7, read_until_ms=10))

    progress.finish()

    assert progress.position == Position(7, done=True, read_until_ms=10)


def test_a_gap_is_possible_an_hour_before_the_stream_may_be_trimmed() -> None:
    """24 hours are certain (Developer Guide); an hour is for clocks that differ."""
    read_until_ms = 10**12
    safe_ms = STREAM_RETENTION_S * 1_000 - HOUR_MS

    def possible(age_ms: int) -> Any:
        return Position(read_until_ms=read_until_ms).gap_possible(read_until_ms + age_ms)

    assert not possible(0)
    assert not possible(safe_ms)
    assert possible(safe_ms + 1)


def test_what_is_read_again_does_not_move_the_position_back() -> None:
    """A shard read from its trim horizon again repeats what was applied."""
    progress = Progress(Position(42, read_until_ms=10))

    progress.settle(progress.hand_in(7, 5))

    assert progress.position == Position(42, read_until_ms=10)
