"""The simulator's command line; see the package."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from dynamirror.simulation import histories
from dynamirror.simulation.histories import Failure
from dynamirror.simulation.profiles import PROFILES, STRICTER


def main(arguments: Sequence[str]) -> int:
    """Run histories; return 0 if all are clean, 1 if a checker complains."""
    given = _parser().parse_args(arguments)
    started_s = time.perf_counter()
    bad = 0
    for seed in range(given.seed, given.seed + given.histories):
        failure = histories.run(
            seed, steps=given.steps, profile=given.profile, replicas=given.replicas
        )
        if failure is not None:
            bad += 1
            _tell(seed, failure, given)
    took_s = time.perf_counter() - started_s
    rate = given.histories / took_s
    _say(f"{given.histories} histories, {bad} with complaints, {rate:.0f} a second")
    return 1 if bad else 0


def _tell(seed: int, failure: Failure, given: argparse.Namespace) -> None:
    setting = failure.setting
    _say(f"seed {seed}: {setting.profile.name}, {setting.replicas} replicas")
    for complaint in failure.complaints:
        _say(f"  {complaint}")
    replay = f"python -m dynamirror.simulation --seed {seed} --steps {given.steps}"
    replay += f" --profile {given.profile}" if given.profile else ""
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
        description="Simulate histories of a two-way mirror, and check how they end.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first history's seed")
    parser.add_argument("--histories", type=int, default=1, help="how many, from that seed on")
    parser.add_argument("--steps", type=int, default=histories.STEPS, help="steps of each")
    parser.add_argument("--replicas", type=int, choices=(2, 3, 4), help="else drawn from the seed")
    parser.add_argument(
        "--profile", choices=[*PROFILES, *STRICTER], help="else drawn from the seed"
    )
    parser.add_argument("--brief", action="store_true", help="do not shrink or tell failures")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
