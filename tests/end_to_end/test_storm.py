"""After the storm both tables are equal. A red run prints the command that replays it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.storm.engine import Plan, planned, run_storm
from tests.storm.mapping import handler_storm

CHANGES = 4_000
"""A fiftieth of what ``make soak`` does."""

WRITES_PER_S = 800.0
"""So that the engine is killed while it has something to do."""


def of_engine(guard: str, *, seed: int, unexcused: bool = False) -> Plan:
    return planned(
        "engine",
        guard,
        seed=seed,
        changes=CHANGES,
        keys=1_000 if unexcused else 200,
        kills=3,
        rate=WRITES_PER_S,
        unexcused=unexcused,
    )


def of_handler(guard: str, *, seed: int, unexcused: bool = False) -> Plan:
    changes = CHANGES if guard == "ledger" else CHANGES // 2
    return planned(
        "handler", guard, seed=seed, changes=changes, keys=100, kills=0, unexcused=unexcused
    )


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_a_killed_engine_loses_nothing_and_its_duplicates_do_no_harm(
    guard: str, url: str, tmp_path: Path
) -> None:
    """Faults, pages delivered twice, and ``kill -9`` with requests in flight: both tables are
    equal. For ``ledger`` also when those requests land after their successors.
    """
    result = run_storm(of_engine(guard, seed=1), url, tmp_path)

    result.require_equal()
    assert result.kills == 3
    assert result.counts["duplicates"] > 0


@pytest.mark.parametrize("guard", ["order", "item"])
def test_batches_delivered_again_in_order_do_no_harm(guard: str, url: str, tmp_path: Path) -> None:
    """A mapping delivers batches in order, some of them twice, and goes on where the handler
    says: both tables are equal.
    """
    result = handler_storm(of_handler(guard, seed=1), url, tmp_path)

    result.require_equal()
    assert result.counts["duplicates"] > 0


def test_the_ledger_refuses_what_comes_late_from_anywhere(url: str, tmp_path: Path) -> None:
    """Old batches applied by a second handler while newer ones run, and requests that land after
    their function's time-out, change nothing under guard ``ledger``.
    """
    result = handler_storm(of_handler("ledger", seed=1), url, tmp_path)

    result.require_equal()
    assert result.counts["second"] > 0
    assert result.counts["landed_late"] > 0
    assert result.counts["partial"] > 0


def test_the_engines_storm_bites(url: str, tmp_path: Path) -> None:
    """Guard ``order`` relies on requests that don't land after their successors: where they do,
    the storm finds items that are wrong. So it would find them under ``ledger``.
    """
    found = []
    for seed in range(1, 9):
        result = run_storm(of_engine("order", seed=seed, unexcused=True), url, tmp_path)
        found.append(len(result.differences))
        assert (result.verified == 0) == (not result.differences), "verify sees what a scan sees"
        if result.differences:
            break

    assert any(found)


def test_the_handlers_storm_bites(url: str, tmp_path: Path) -> None:
    """Guard ``order`` relies on one delivery at a time: a second handler beside it is seen."""
    found = []
    for seed in range(1, 9):
        result = handler_storm(of_handler("order", seed=seed, unexcused=True), url, tmp_path)
        found.append(len(result.differences))
        if result.differences:
            break

    assert any(found)
