"""Many histories: over a range of seeds, on as many processes as wanted, with what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from dynamirror.simulation import histories
from dynamirror.simulation.histories import Outcome

CHUNK = 500
"""Histories that a process is given at a time: a few seconds' worth."""


class Drawn(NamedTuple):
    """What is asked of every history, the rest being drawn from its seed."""

    steps: int = histories.STEPS
    profile: str | None = None
    replicas: int | None = None


class Tally:
    """What came of the histories of one profile."""

    def __init__(self) -> None:
        self.histories = 0
        self.complaints = 0
        self.lost = 0
        self.missed = 0
        self.false = 0
        self.records = 0.0

    def add(self, one: Outcome) -> None:
        """Count one more."""
        self.histories += 1
        self.complaints += one.failure is not None
        self.lost += one.lost
        self.missed += one.missed
        self.false += one.false
        self.records = max(self.records, one.records)


def swept(seeds: range, drawn: Drawn, jobs: int = 1) -> Iterator[list[Outcome]]:
    """Run the histories of all seeds, in order; yield what came of them, a chunk at a time."""
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    run = partial(_chunk, drawn)
    if jobs == 1:
        yield from map(run, chunks)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(run, chunks)


def _chunk(drawn: Drawn, seeds: range) -> list[Outcome]:
    return [
        histories.outcome(seed, steps=drawn.steps, profile=drawn.profile, replicas=drawn.replicas)
        for seed in seeds
    ]
