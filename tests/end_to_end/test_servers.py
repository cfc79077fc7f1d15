"""The storms through an imitation of ScyllaDB Alternator, over HTTP: as source and as target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.imitation import ImitationProxy, imitating
from tests.storm.engine import planned, run_storm
from tests.storm.two_way import Plan, two_way_storm

SERVER = "alternator"


@pytest.fixture
def alternator(url: str) -> Iterator[ImitationProxy]:
    """The imitation, before the server; its streams hold changes back for a second."""
    clock = lambda: time.time_ns() // 1_000_000  # noqa: E731
    with imitating(url, clock, shards=8, visible_after_s=1.0) as proxy:
        yield proxy


def test_a_one_way_storm_ends_equal(alternator: ImitationProxy, tmp_path: Path) -> None:
    """Both ends there; faults, pages that come twice, ``kill -9``: equal, and verify says so."""
    plan = planned("engine", "item", seed=1, changes=1_000, keys=100, kills=1, rate=400.0)

    result = run_storm(plan, alternator.endpoint, tmp_path, server=SERVER)

    result.require_equal()
    assert result.counts["duplicates"] > 0
    assert alternator.pairs > 100


def test_a_two_way_storm_ends_equal_and_losers_are_journaled(
    alternator: ImitationProxy, tmp_path: Path
) -> None:
    """Writers in both regions, with versions and without, faults and ``kill -9``: equal, no loop,
    every lost write in a journal, nothing lost that one region wrote.
    """
    plan = Plan(
        seed=1,
        replicas=2,
        changes=300,
        writers=1,
        hot=8,
        cold=100,
        kills=1,
        rate=40.0,
        server=SERVER,
    )
    result = two_way_storm(plan, alternator.endpoint, tmp_path)

    result.require_clean()
    assert result.lost > 0
    assert alternator.pairs > 100
