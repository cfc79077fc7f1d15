"""The simulator's command line; see the package."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from dynamirror.simulation import histories
from dynamirror.simulation.checkers import RECORDS_PER_WRITE
from dynamirror.simulation.histories import Outcome
from dynamirror.simulation.profiles import ONE_WAY, PROFILES, STRICTER
from dynamirror.simulation.sweeps import Drawn, Tally, swept

PROGRESS_S = 10
"""How often a long sweep says how far it is."""


def main(arguments: Sequence[str]) -> int:
    """Run histories; return 0 if all are clean, 1 if a checker complains."""
    given = _parser().parse_args(arguments)
    seeds = range(given.seed, given.seed + given.histories)
    drawn = Drawn(given.steps, given.profile, given.replicas)
    tallies: dict[str, Tally] = defaultdict(Tally)
    started_s = told_s = time.perf_counter()
    done = 0
    for outcomes in swept(seeds, drawn, given.jobs):
        for one in outcomes:
            tallies[one.profile].add(one)
            _tell(one, given)
        done += len(outcomes)
        now_s = time.perf_counter()
        if now_s - told_s >= PROGRESS_S:
            told_s = now_s
            _say(f"seeds {given.seed} to {given.seed + done - 1}: {_summary(tallies, started_s)}")
    if given.rates:
        _say_rates(tallies)
    most = max((tally.records for tally in tallies.values()), default=0.0)
    _say(f"at most {most:.2f} records at each replica for one write, {RECORDS_PER_WRITE} allowed")
    _say(_summary(tallies, started_s))
    return 1 if any(tally.complaints for tally in tallies.values()) else 0


def _summary(tallies: Mapping[str, Tally], started_s: float) -> str:
    count = sum(tally.histories for tally in tallies.values())
    bad = sum(tally.complaints for tally in tallies.values())
    rate = count / (time.perf_counter() - started_s)
    return f"{count} histories, {bad} with complaints, {rate:.0f} a second"


def _say_rates(tallies: Mapping[str, Tally]) -> None:
    _say("| profile | histories | lost | missed | per 10^4 | false | per 10^4 | complaints |")
    _say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in sorted(tallies, key=[*PROFILES, *STRICTER, *ONE_WAY].index):
        tally = tallies[name]
        per = 10_000 / tally.histories
        _say(
            f"| `{name}` | {tally.histories} | {tally.lost} | {tally.missed} "
            f"| {tally.missed * per:.1f} | {tally.false} | {tally.false * per:.1f} "
            f"| {tally.complaints} |"
        )


def _tell(one: Outcome, given: argparse.Namespace) -> None:
    failure = one.failure
    if failure is None:
        return
    setting = failure.setting
    _say(f"seed {one.seed}: {setting.profile.name}, {setting.told}")
    for complaint in failure.complaints:
        _say(f"  {complaint}")
    # Its profile too, for one more profile draws others for all seeds.
    replay = f"python -m dynamirror.simulation --seed {one.seed} --profile {one.profile}"
    replay += f" --steps {given.steps}" if given.steps != histories.STEPS else ""
    replay += f" --replicas {given.replicas}" if given.replicas else ""
    _say(f"replay: {replay}")
    if given.brief:
        return
    small = histories.shrunk(failure)
    _say(f"shrunk from {len(failure.tickets)} to {len(small.tickets)} steps:")
    for line in histories.told(small):
        _say(f"  {line}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dynamirror.simulation",
        description="Simulate histories of a mirror, and check how they end.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first history's seed")
    parser.add_argument("--histories", type=int, default=1, help="how many, from that seed on")
    parser.add_argument("--steps", type=int, default=histories.STEPS, help="steps of each")
    parser.add_argument("--replicas", type=int, choices=(2, 3, 4), help="else drawn from the seed")
    parser.add_argument(
        "--profile",
        choices=[*PROFILES, *STRICTER, *ONE_WAY],
        help="else one of a two-way mirror, drawn from the seed",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at work")
    parser.add_argument("--rates", action="store_true", help="tell of losses, profile by profile")
    parser.add_argument("--brief", action="store_true", help="do not shrink or tell failures")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
