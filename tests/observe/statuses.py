"""A status that has everything in it, for whatever draws from one."""

from __future__ import annotations

from typing import Any

from dynamirror.core.facts import (
    Copying,
    Facts,
    LinkReport,
    Pause,
    Report,
    ShardFacts,
    Verified,
)
from dynamirror.observe.judging import judged
from dynamirror.observe.status import Status

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000

EU, AP = "eu-west-1", "ap-south-1"


def report(**told: Any) -> Report:
    names = ("records", "lag_ms", "applied", "writes", "stale")
    more = ("in_flight", "retries", "throttles", "parked_keys")
    known = {
        **dict.fromkeys((*names, *more), 0),
        "state": "following",
        "at_ms": NOW_MS,
        "trouble": [],
        "links": [link()],
    }
    return Report(**{**known, **told})


def link(target: str = EU, **told: Any) -> LinkReport:
    return LinkReport(**{"target": target, "beat_ms": 80, "beat_at_ms": NOW_MS - 2_000, **told})


def facts(*, running: Report | None = None, **told: Any) -> Facts:
    known: dict[str, Any] = {
        "at_ms": NOW_MS,
        "mirror": "stories",
        "name": "stories",
        "link": "stories/us-east-1",
        "source": "us-east-1/Stories",
        "source_name": "us-east-1",
        "targets": {EU: "eu-west-1/Stories"},
        "stream": "arn:stream",
        "started": True,
        "oldest_ms": NOW_MS,
    }
    if running is not None:
        known |= {"held_by": "host process 7", "report": running}
    return Facts(**{**known, **told})


def full() -> Status:
    """Two targets, one of them slow; paused, limited, parked, drifting, copied, two-way."""
    links = [
        link(applied=900, in_flight=3, stale=1),
        link(AP, lag_ms=2 * HOUR_MS, applied=400, throttles=7, retries=9, trouble="too fast"),
    ]
    running = report(
        records=1_000,
        lag_ms=2 * HOUR_MS,
        applied=400,
        links=links,
        conflicts=2,
        unread_ms=250,
        limit_per_second=50.0,
    )
    return judged(
        facts(
            running=running,
            targets={EU: "eu-west-1/Stories", AP: "ap-south-1/Stories"},
            two_way=True,
            parked_keys=4,
            changed_views=[EU],
            pauses=[Pause(by="ada", until_ms=None, lasting=True)],
            shards=[ShardFacts(shard="a", closed=True, done=True), ShardFacts(shard="b")],
            backfill=Copying(
                began_ms=1, finished_ms=2, items=3, expected_items=3, shares_done=1, shares=1
            ),
            verified=Verified(at_ms=NOW_MS, items=9, missing=1, extra=2, different=3),
        )
    )
