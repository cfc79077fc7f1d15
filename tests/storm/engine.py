"""The engine's storm: writers, faults, pages delivered twice, ``kill -9``; then both are equal."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault_proxy import Fault
from tests.storm.weather import Weather
from tests.storm.world import SOURCE, TARGET, Child, Ended, World, replayable

STILL_S = 3.0
"""An engine that has written nothing for so long may be killed as well."""

LONG = 50_000
"""Changes from which a storm has all of a long one's faults; a short one has no time to wait for
requests that outlast the engine's patience, and so few pages that more of them come twice."""

ENDED_S_MAX = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One storm, told whole by these."""

    storm: str
    """``engine`` or ``handler``."""
    guard: str
    seed: int
    changes: int
    keys: int
    kills: int = 0
    faults: float = 0.05
    duplicates: float = 0.1
    rate: float | None = None
    """The writer's, changes a second; None: as fast as the server takes them."""
    hang_rate: float = 0.0
    """Requests that outlast the engine's patience of 10 s, or the function's time-out."""
    orphans_land: bool = False
    """Whether what a killed or timed-out client left unanswered lands late, or is dropped."""
    second: float = 0.0
    """Share of batches that a second handler delivers again (the handler's storm)."""
    batch: int = 100
    """Records per invocation (the handler's storm)."""
    timeout_ms: int = 1_000
    """The function's (the handler's storm)."""

    @property
    def replay(self) -> str:
        """The command that runs this storm again."""
        return (
            f"python -m tests.soak --storms {self.storm} --guards {self.guard} --seed {self.seed}"
            f" --changes {self.changes} --keys {self.keys} --kills {self.kills}"
            + (f" --rate {self.rate:g}" if self.rate else "")
            + (" --unexcused" if self.orphans_land and self.guard != "ledger" else "")
        )


def planned(
    storm: str,
    guard: str,
    *,
    seed: int,
    changes: int,
    keys: int,
    kills: int,
    rate: float | None = None,
    unexcused: bool = False,
) -> Plan:
    """Return the plan that these tell; the rest follows from the size and the guard.

    What a killed or timed-out client left unanswered is dropped for guards ``order`` and ``item``,
    unless they are to be seen to fail.
    """
    long = changes >= LONG
    engine = storm == "engine"
    requests = changes / (20 if guard == "order" else 2)
    hangs = (8 / requests if long else 0.0) if engine else max(8, changes / 10_000) / changes
    return Plan(
        storm=storm,
        guard=guard,
        seed=seed,
        changes=changes,
        keys=keys,
        kills=kills if engine else 0,
        rate=rate,
        duplicates=0.1 if long or not engine else 0.3,
        hang_rate=hangs,
        orphans_land=guard == "ledger" or unexcused,
        second=0.3 if not engine and (guard == "ledger" or unexcused) else 0.0,
        batch=1_000 if long else 100,
        timeout_ms=5_000 if long else 1_000,
    )


@dataclass(slots=True, kw_only=True)
class Result:
    """How a storm went."""

    plan: Plan
    seconds: float = 0.0
    kills: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    verified: int | None = None
    """The exit status of ``dynamirror verify``."""

    @property
    def rate(self) -> float:
        return self.plan.changes / self.seconds

    def require_equal(self) -> None:
        """Raise with what differs, and the command that replays it."""
        if self.differences or self.verified != 0:
            shown = "\n".join(self.differences[:10])
            raise AssertionError(
                f"{len(self.differences)} differences, verify ended with {self.verified}\n{shown}\n"
                f"replay: {self.plan.replay}"
            )


def run_storm(plan: Plan, url: str, folder: Path, *, server: str | None = None) -> Result:
    """Run the engine through a storm, and compare; ``server``: what the configuration says."""
    with (
        replayable(plan.replay),
        Weather(url, seed=plan.seed, source=SOURCE, target=TARGET) as weather,
        World(url, folder, plan.guard, proxy=weather.endpoint, server=server) as world,
    ):
        return _Storm(plan, weather, world).run()


class _Storm:
    def __init__(self, plan: Plan, weather: Weather, world: World) -> None:
        self._plan = plan
        self._weather = weather
        self._world = world
        self._dice = random.Random(f"{plan.seed}/kills")
        self._kills = 0

    def run(self) -> Result:
        plan, world = self._plan, self._world
        self._weather.proxy.drop_orphans = not plan.orphans_land
        began = time.monotonic()
        writer = world.writer(seed=plan.seed, keys=plan.keys, changes=plan.changes, rate=plan.rate)
        self._rage()
        engine = world.start("run")
        for _ in range(plan.kills):
            engine = self._killed(engine)
        if writer.end(ENDED_S_MAX) != 0 or int(writer.said) != plan.changes:
            raise Ended(f"the writer failed: {writer.said}")
        world.wait(lambda: "starting" in engine.said)
        if engine.terminate() != 0:
            raise Ended(f"SIGTERM did not end the engine well:\n{engine.said[-3_000:]}")
        self._drain()
        seconds = time.monotonic() - began
        self._weather.calm()
        counts = dict(self._weather.counts)
        self._drain()
        return Result(
            plan=plan,
            seconds=seconds,
            kills=self._kills,
            counts=counts,
            differences=world.differences(),
            verified=world.command("verify")[0],
        )

    def _rage(self) -> None:
        self._weather.storm(
            self._plan.faults,
            duplicates=self._plan.duplicates,
            batches=self._plan.guard == "order",
            hang_rate=self._plan.hang_rate,
        )

    def _drain(self) -> None:
        once = self._world.start("run", "--once")
        if once.end(ENDED_S_MAX) != 0:
            raise Ended(f"run --once failed:\n{once.said[-3_000:]}")

    def _killed(self, engine: Child) -> Child:
        """Kill the engine at a moment when much is on its way, and start it again."""
        self._wait_for_writes(engine)
        squall = {Fault.HANG: 0.8, Fault.RESET_AFTER: 0.05}
        self._weather.strike(engine, squall, self._dice)
        self._kills += 1
        self._rage()
        return self._world.start("run")

    def _wait_for_writes(self, engine: Child) -> None:
        step = self._dice.randint(1, max(2, self._plan.changes // (2 * self._plan.kills)))
        counts = self._weather.counts
        goal, last, since = counts["written"] + step, -1, time.monotonic()
        while counts["written"] < goal:
            engine.require_running()
            if counts["written"] != last:
                last, since = counts["written"], time.monotonic()
            if time.monotonic() - since > STILL_S + self._dice.random():
                return
            time.sleep(0.01)
