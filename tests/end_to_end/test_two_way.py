"""After a two-way storm all replicas are equal, who lost is journaled, and all is quiet."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.storm.two_way import Plan, two_way_storm
from tests.storm.two_way_mapping import handler_storm

HOT, COLD = 8, 100
RATE = 80.0


@pytest.mark.parametrize("replicas", [2, 3])
def test_a_killed_engine_leaves_replicas_equal_and_losers_journaled(
    replicas: int, url: str, tmp_path: Path
) -> None:
    """Writers in every region, with versions and without, faults before all replicas and
    ``kill -9``: equal, no loop, every lost write in a journal, nothing lost that one region wrote.
    """
    plan = Plan(
        seed=1,
        replicas=replicas,
        changes=200 * replicas,
        writers=1,
        hot=HOT,
        cold=COLD,
        kills=2,
        rate=RATE,
    )
    result = two_way_storm(plan, url, tmp_path)

    result.require_clean()
    assert result.lost > 0
    assert result.counts["duplicates"] > 0


def test_functions_leave_replicas_equal_and_losers_journaled(url: str, tmp_path: Path) -> None:
    """The same by a function in each region, which runs out of time; batches come twice."""
    plan = Plan(
        seed=1,
        replicas=2,
        changes=400,
        writers=1,
        hot=HOT,
        cold=COLD,
        kills=0,
        rate=RATE,
        handler=True,
    )
    result = handler_storm(plan, url, tmp_path)

    result.require_clean()
    assert result.lost > 0
    assert result.counts["duplicates"] > 0
