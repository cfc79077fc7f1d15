"""Histories by their seeds: drawing, running, shrinking and telling them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from dynamirror.core.two_way import TwoWay
from dynamirror.simulation.chance import tickets
from dynamirror.simulation.link import VIEWS
from dynamirror.simulation.one_way import OneWaySetting, OneWayWorld
from dynamirror.simulation.profiles import ONE_WAY, PROFILES, STRICTER
from dynamirror.simulation.world import Rules, Setting, World

STEPS = 160
REPLICAS = (2, 2, 3, 3, 4)


class Failure(msgspec.Struct, frozen=True):
    """A history that a checker complains about."""

    complaints: list[str]
    setting: Setting | OneWaySetting
    tickets: list[int]


class Outcome(msgspec.Struct, frozen=True):
    """How the history of a seed ended."""

    seed: int
    profile: str
    lost: int
    """Saves that lost against others."""
    missed: int
    """Those of them that are in no journal."""
    false: int
    """Saves that are in a journal, though they lost against nothing."""
    records: float
    """Records at each replica for one of the applications' writes."""
    failure: Failure | None


def setting_of(
    seed: int, profile: str | None = None, replicas: int | None = None
) -> Setting | OneWaySetting:
    """Return what the history of a seed starts from.

    Of a given profile, it stays the same whatever profiles there are besides.
    """
    if profile in ONE_WAY:
        view = Random(f"view {seed}").choice(list(VIEWS))
        return OneWaySetting(ONE_WAY[profile], view)
    drawn = Random(f"profile {seed}").choice(list(PROFILES.values()))
    chance = Random(f"setting {seed}")
    chance.randrange(15)  # once drew the profile; without it every seed would tell another story
    count = chance.choice(REPLICAS)
    count = replicas or count
    lazy = tuple(chance.choice((0, 0, 4, 7)) for _ in range(count))
    known = {**PROFILES, **STRICTER}
    return Setting(known[profile] if profile else drawn, count, lazy)


def world_of(
    setting: Setting | OneWaySetting, rules: Rules = TwoWay, *, talking: bool = False
) -> World | OneWayWorld:
    """Return a world in which nothing has happened yet; ``rules`` are a two-way mirror's."""
    if isinstance(setting, OneWaySetting):
        return OneWayWorld(setting, talking=talking)
    return World(setting, rules=rules, talking=talking)


def outcome(
    seed: int,
    *,
    steps: int = STEPS,
    profile: str | None = None,
    replicas: int | None = None,
    rules: Rules = TwoWay,
) -> Outcome:
    """Run the history of a seed; return how it ended."""
    setting = setting_of(seed, profile, replicas)
    numbers = tickets(seed, steps)
    world = world_of(setting, rules)
    complaints = world.run(numbers)
    failure = Failure(complaints, setting, numbers) if complaints else None
    return Outcome(seed, setting.profile.name, *world.losses, world.records_per_write, failure)


def run(
    seed: int,
    *,
    steps: int = STEPS,
    profile: str | None = None,
    replicas: int | None = None,
    rules: Rules = TwoWay,
) -> Failure | None:
    """Run the history of a seed; return it if a checker complains."""
    return outcome(seed, steps=steps, profile=profile, replicas=replicas, rules=rules).failure


def kinds(complaints: Sequence[str]) -> set[str]:
    """Return what sorts of complaints these are."""
    return {complaint.partition(":")[0] for complaint in complaints}


def shrunk(failure: Failure, rules: Rules = TwoWay, tries: int = 3_000) -> Failure:
    """Return the history with every step left out that it can do without (ddmin, Zeller 2002)."""
    numbers, wanted = failure.tickets, kinds(failure.complaints)
    size = max(1, len(numbers) // 2)
    while size and tries > 0:
        at = 0
        while at < len(numbers) and tries > 0:
            fewer = [*numbers[:at], *numbers[at + size :]]
            tries -= 1
            if kinds(world_of(failure.setting, rules).run(fewer)) & wanted:
                numbers = fewer
            else:
                at += size
        size //= 2
    complaints = world_of(failure.setting, rules).run(numbers)
    return Failure(complaints, failure.setting, numbers)


def told(failure: Failure, rules: Rules = TwoWay) -> list[str]:
    """Return a history line by line, and what checkers say of its end."""
    world = world_of(failure.setting, rules, talking=True)
    complaints = world.run(failure.tickets)
    return [*world.story, *(f"COMPLAINT: {one}" for one in complaints)]


def sweep(
    seeds: Sequence[int], *, profile: str | None = None, rules: Rules = TwoWay
) -> dict[int, Failure]:
    """Run the histories of many seeds; return those that a checker complains about."""
    found = {}
    for seed in seeds:
        failure = run(seed, profile=profile, rules=rules)
        if failure is not None:
            found[seed] = failure
    return found
