"""What a state means, whoever shows it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.observe.statuses import AP, EU, HOUR_MS, NOW_MS, facts, full, link, report

from dynamirror.core.facts import Pause, ShardFacts, Verified
from dynamirror.errors import Exit
from dynamirror.observe.judging import BEHIND_MS, SILENT_MS, judged
from dynamirror.observe.status import GRAVITY, State, Status


def test_what_is_applied_at_once_is_ok() -> None:
    """An engine without lag or trouble: nothing to say, nothing to do."""
    told = judged(facts(running=report(per_second=12.0)))

    assert (told.state, told.why, told.hint, told.exit) == (State.OK, None, None, Exit.DONE)
    assert (told.lag_ms, told.hours_left, told.per_second) == (0, 24.0, 12.0)


def test_silence_is_measured_by_the_heartbeat() -> None:
    """When nobody writes, a link's figure is what a change would need: the time since the stream
    was asked, and the target's answer.
    """
    told = judged(facts(running=report(unread_ms=250)))

    assert [(one.lag_ms, one.heartbeat_ms) for one in told.links] == [(0, 330)]


@pytest.mark.parametrize(("lag_ms", "state"), [(BEHIND_MS - 1, State.OK), (BEHIND_MS, "behind")])
def test_from_a_minute_on_a_mirror_is_behind(lag_ms: int, state: State) -> None:
    """Healthy mirrors are never a minute late, so that is where behind begins."""
    told = judged(facts(running=report(lag_ms=lag_ms, per_second=40.0)))

    assert told.state == state
    assert told.links[0].lag_ms == lag_ms


def test_only_the_slow_target_is_behind() -> None:
    """Of several targets each is told by itself; what isn't read yet is missing at all of them."""
    more = {"throttles": 9, "trouble": "ThrottledError: too fast", "throttled": True}
    slow = link(AP, lag_ms=2 * HOUR_MS, **more)
    both = {EU: "eu-west-1/Stories", AP: "ap-south-1/Stories"}

    told = judged(facts(running=report(lag_ms=2 * HOUR_MS, links=[link(), slow]), targets=both))
    unread = judged(facts(running=report(lag_ms=HOUR_MS, links=[link(), link(AP)]), targets=both))

    assert [one.state for one in told.links] == [State.OK, State.BEHIND]
    assert (told.state, told.hours_left) == (State.BEHIND, 22.0)
    assert told.why == "ap-south-1: ThrottledError: too fast"
    assert "capacity" in str(told.hint)
    assert [one.lag_ms for one in unread.links] == [HOUR_MS, HOUR_MS]


def test_a_target_that_fails_and_is_silent_is_away() -> None:
    """Failing alone is daily life; failing without an answer for three heartbeats is an outage."""
    last = NOW_MS - SILENT_MS - 1
    gone = link(beat_at_ms=last, trouble="TransientError: connection refused")
    slow = link(trouble="ThrottledError: too fast")

    told = judged(facts(running=report(links=[gone])))

    assert (told.state, told.exit) == (State.AWAY, Exit.FINDING)
    assert told.links[0].heartbeat_ms is None
    assert "refused" in str(told.why)
    assert judged(facts(running=report(links=[slow]))).state is State.OK


def test_away_is_told_with_why_since_when_and_what_waits() -> None:
    """A target that throttles answers, and is away all the same: its lag says nothing of it."""
    away = link(trouble="too fast", away_since_ms=NOW_MS - HOUR_MS, waiting_keys=1_234)

    told = judged(facts(running=report(links=[away]), parked_keys=1_234))
    back = judged(facts(running=report(links=[link(waiting_keys=2)]), parked_keys=2))

    since = "2027-01-15 07:00:00 UTC"
    assert told.state is State.AWAY
    assert told.why == (
        f"eu-west-1: too fast; no write was taken since {since}; keys that wait for it: 1,234"
    )
    assert (back.state, back.why) == (State.BEHIND, "eu-west-1: keys that wait for it: 2")


def test_the_lag_of_a_target_that_is_away_is_that_of_what_waits_for_it() -> None:
    """Parked is not applied. But the stream may be trimmed: what is parked is lost no more."""
    waits = link(AP, away_since_ms=NOW_MS - HOUR_MS, waiting_since_ms=NOW_MS - 2 * HOUR_MS)
    both = {EU: "eu-west-1/Stories", AP: "ap-south-1/Stories"}

    told = judged(facts(running=report(lag_ms=250, links=[link(), waits]), targets=both))

    assert [one.lag_ms for one in told.links] == [250, 2 * HOUR_MS]
    assert (told.state, told.lag_ms, told.hours_left) == (State.AWAY, 2 * HOUR_MS, 24.0)


def test_the_remedy_is_the_cause_s() -> None:
    """A target that takes no more needs capacity; one that doesn't answer must be looked for."""
    full_up = link(away_since_ms=1, trouble="ThrottlingException: slow down", throttled=True)
    unreachable = link(away_since_ms=1, throttles=9, trouble="Timeout: no answer")

    told = [str(judged(facts(running=report(links=[one]))).hint) for one in (full_up, unreachable)]

    assert "write capacity" in told[0]
    assert "check" not in told[0]
    assert "dynamirror check CONFIG" in told[1]


def test_one_paused_link_is_told_with_since_when() -> None:
    """And nothing of it makes the others look paused, or asks for a redrive."""
    both = {EU: "eu-west-1/Stories", AP: "ap-south-1/Stories"}
    since_ms = NOW_MS - HOUR_MS
    asked = Pause(by="ada", until_ms=None, since_ms=since_ms, lasting=True, target=AP)
    held = link(AP, paused=True, waiting_keys=7, waiting_since_ms=since_ms)
    running = report(links=[link(), held], parked_keys=7)

    told = judged(facts(running=running, targets=both, pauses=[asked], parked_keys=7))
    asked_for = judged(
        facts(running=report(links=[link(), link(AP)]), targets=both, pauses=[asked])
    )

    assert [one.state for one in told.links] == [State.OK, State.PAUSED]
    assert [one.lag_ms for one in told.links] == [0, HOUR_MS]
    assert told.links[1].paused_since_ms == since_ms
    assert told.state is State.PAUSED
    assert told.why == "ap-south-1: paused by ada since 2027-01-15 07:00:00 UTC until it is resumed"
    assert (
        told.hint == "Run `dynamirror resume CONFIG --link stories/us-east-1 --target ap-south-1`."
    )
    assert asked_for.state is State.OK  # until the engine obeys, it is not


def test_a_pause_says_who_why_and_how_to_end_it() -> None:
    """A person's pause lasts, so it names the command that ends it; a command's own ends itself."""
    asked = Pause(by="ada@ops", until_ms=None, why="index build", lasting=True)
    copying = Pause(by="host process 9 pause 1", until_ms=NOW_MS + 60_000)
    paused = report(state="paused", lag_ms=HOUR_MS)

    lasting = judged(facts(running=paused, pauses=[asked]))
    passing = judged(facts(running=paused, pauses=[copying]))

    assert (lasting.state, lasting.hours_left) == (State.PAUSED, 23.0)
    assert lasting.why == "paused by ada@ops until it is resumed: index build"
    assert lasting.hint == "Run `dynamirror resume CONFIG --link stories/us-east-1`."
    assert passing.state is State.PAUSED
    assert "resume" not in str(passing.hint)


def test_nobody_reading_is_stopped_whoever_paused() -> None:
    """A pause of a link that no process reads doesn't make it a healthy pause."""
    asked = Pause(by="ada", until_ms=None, lasting=True)

    told = judged(facts(pauses=[asked], oldest_ms=NOW_MS - 20 * HOUR_MS, stopped="AccessDenied"))

    assert (told.state, told.why, told.exit) == (State.STOPPED, "AccessDenied", Exit.FINDING)
    assert (told.lag_ms, told.lag_at_most, told.hours_left) == (20 * HOUR_MS, True, 4.0)
    assert [one.state for one in told.links] == [State.STOPPED]


def test_a_limit_that_holds_a_mirror_back_is_named() -> None:
    """Behind because somebody wanted it slow: the way out is the limit, not more capacity."""
    told = judged(facts(running=report(lag_ms=HOUR_MS, limit_per_second=5.0)))

    assert told.why == "writes are limited to 5 a second and target"
    assert "limit CONFIG --mirror stories" in str(told.hint)


@pytest.mark.parametrize(
    ("more", "word", "end"),
    [
        ({"parked_keys": 2}, "redrive", Exit.FINDING),
        (
            {"verified": Verified(at_ms=NOW_MS, items=9, missing=1, extra=0, different=0)},
            "verify CONFIG --mirror stories --repair",
            Exit.FINDING,
        ),
        ({"lost": "trimmed"}, "backfill CONFIG --mirror stories", Exit.HISTORY_LOST),
        ({"lost": "trimmed", "stream": None}, "init CONFIG --mirror stories", Exit.HISTORY_LOST),
    ],
)
def test_what_needs_a_hand_names_the_command(more: dict[str, Any], word: str, end: Exit) -> None:
    """Whatever is found, the next command to type stands beside it, and the exit status says so."""
    told = judged(facts(running=report(), **more))

    assert word in str(told.hint)
    assert told.exit is end


def test_the_hint_can_name_the_file() -> None:
    """Where the file is known, what to type can be copied as it stands."""
    told = judged(facts(), "mirrors.toml")

    assert "dynamirror run mirrors.toml" in str(told.hint)


def test_the_gravest_of_a_mirrors_states_is_the_mirrors() -> None:
    """Lost outranks all, ok nothing."""
    assert (GRAVITY[0], GRAVITY[-1]) == (State.OK, State.LOST)


def test_shards_are_told_open_or_closed() -> None:
    """A shard that the stream no longer lists is history, not an open one."""
    shards = [
        ShardFacts(shard="a", closed=True, done=True),
        ShardFacts(shard="b", parent="a"),
        ShardFacts(shard="0", listed=False),
    ]

    told: Status = judged(facts(shards=shards))

    assert (told.shards_open, len(told.positions)) == (1, 3)


def test_one_status_carries_everything_that_is_shown() -> None:
    """Whatever draws from a status finds the whole of it there."""
    told = full()

    empty = [name for name in Status.__struct_fields__ if getattr(told, name) in (None, [], "")]
    assert empty == []


def test_a_target_is_behind_with_what_another_keeps_from_being_read() -> None:
    """One reader serves all: while one target holds it up, the others' changes are unseen."""
    both = {EU: "eu-west-1/Stories", AP: "ap-south-1/Stories"}
    slow = link(AP, lag_ms=HOUR_MS, trouble="too fast")

    told = judged(
        facts(running=report(lag_ms=HOUR_MS, unread_ms=90_000, links=[link(), slow]), targets=both)
    )

    assert [one.lag_ms for one in told.links] == [90_000, HOUR_MS]
    assert [one.state for one in told.links] == [State.BEHIND, State.BEHIND]
