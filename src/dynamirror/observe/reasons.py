"""Why a mirror isn't up to date, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from dynamirror.core.facts import Facts, Pause


def paused(pause: Pause) -> str:
    """Say who asked for a pause, and why."""
    until = "until it is resumed" if pause.until_ms is None else "for a while"
    why = f": {pause.why}" if pause.why else ""
    return f"paused by {pause.by} {until}{why}" if pause.lasting else f"held by {pause.by}{why}"


def behind(facts: Facts, troubles: Sequence[str]) -> str:
    """Say what holds a mirror up; ``troubles``: what its targets say."""
    report = facts.report
    if not troubles and report is not None:
        troubles = report.trouble
    if troubles:
        return "; ".join(troubles)
    if report is not None and report.limit_per_second is not None:
        return f"writes are limited to {report.limit_per_second:g} a second and target"
    rate = report.per_second if report else 0.0
    return f"it is catching up, at {rate:,.0f} changes a second"
