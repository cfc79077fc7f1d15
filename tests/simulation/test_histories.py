"""Simulated histories of the shipped rules; each checker and each rule is shown to matter."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pytest
from tests.servers import ROOT
from tests.simulation.mutants import KILLERS, MUTANTS

from dynamirror.core.two_way import TwoWay
from dynamirror.simulation import histories
from dynamirror.simulation.__main__ import main
from dynamirror.simulation.profiles import PROFILES

SEEDS = int(os.environ.get("DYNAMIRROR_SEEDS", "250"))
"""Histories per profile."""

HERE = Path(__file__).parent

REGRESSIONS = json.loads((HERE / "regressions.json").read_text())
"""Histories that once ended badly, by a fault of the rules."""

LOSERS = json.loads((HERE / "losers.json").read_text())
"""Histories in which a save lost that no version told from others, and was missed once."""


def fresh_base() -> int:
    """Return the first of seeds that no other commit, or day, has tried."""
    given = os.environ.get("DYNAMIRROR_SEED_BASE")
    if given:
        return int(given)
    told = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    text = told.stdout.strip() or str(datetime.now(tz=UTC).date())
    return crc32(text.encode()) * 1_000


BASE = fresh_base()


@pytest.mark.parametrize("profile", PROFILES)
def test_whatever_happens_replicas_end_equal_and_nothing_is_lost_unseen(profile: str) -> None:
    """Under crashes, replays, late and lost requests: equal at rest, losers journaled, no loop.
    Every commit tries seeds of its own.
    """
    failures = histories.sweep(range(BASE, BASE + SEEDS), profile=profile)

    told = [
        f"python -m dynamirror.simulation --seed {seed} --profile {profile}: {failure.complaints}"
        for seed, failure in failures.items()
    ]
    assert told == []


@pytest.mark.parametrize(("profile", "seed"), REGRESSIONS)
def test_what_once_ended_badly_ends_well(profile: str, seed: int) -> None:
    assert histories.run(seed, profile=profile) is None


@pytest.mark.parametrize(("profile", "seed"), LOSERS)
def test_what_was_missed_once_is_journaled(profile: str, seed: int) -> None:
    """Where versions don't tell, what the consumer remembers of a key does."""
    assert histories.outcome(seed, profile=profile).missed == 0


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    """A checker complains of every mutant: no rule is there in vain, and none goes unwatched."""
    profile, seed = KILLERS[name]

    assert histories.run(seed, profile=profile, rules=MUTANTS[name]) is not None
    assert histories.run(seed, profile=profile) is None


def test_a_history_is_its_seed() -> None:
    """The same seed tells the same story, or a failure could not be replayed."""
    name = "DeleteAnything"
    profile, seed = KILLERS[name]
    stories = []
    for _ in range(2):
        failure = histories.run(seed, profile=profile, rules=MUTANTS[name])
        assert failure is not None
        stories.append(histories.told(failure, MUTANTS[name]))

    assert stories[0] == stories[1]


def test_a_failure_is_shrunk() -> None:
    """A failing history loses every step that it can do without, and still fails the same way."""
    name = "DeleteAnything"
    profile, seed = KILLERS[name]
    failure = histories.run(seed, profile=profile, rules=MUTANTS[name])
    assert failure is not None
    small = histories.shrunk(failure, MUTANTS[name])

    assert len(small.tickets) < len(failure.tickets) / 4
    assert histories.kinds(small.complaints) & histories.kinds(failure.complaints)


def test_a_failure_tells_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever sees a history fail can run it again, and reads its steps without the rest."""
    profile, seed = KILLERS["NoReconcile"]
    monkeypatch.setattr(TwoWay, "_reconcile", MUTANTS["NoReconcile"]._reconcile)

    assert main(["--seed", str(seed), "--profile", profile]) == 1
    told = capsys.readouterr().out
    assert f"replay: python -m dynamirror.simulation --seed {seed} --profile {profile}\n" in told
    assert "COMPLAINT: " in told


def test_a_sweep_is_the_same_on_several_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds stand for themselves: however they are divided, as much comes of them."""
    told = []
    for jobs in ("1", "2"):
        assert main(["--histories", "600", "--steps", "20", "--rates", "--jobs", jobs]) == 0
        told.append([line for line in capsys.readouterr().out.splitlines() if line[0] == "|"])

    assert told[0] == told[1]


def test_the_command_says_whether_all_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 means that no checker complained."""
    assert main(["--seed", "1", "--steps", "50", "--replicas", "2"]) == 0
    assert "1 histories, 0 with complaints" in capsys.readouterr().out
