"""Why a mirror isn't up to date, in a sentence."""

from __future__ import annotations

from datetime import UTC, datetime

from dynamirror.core.facts import Facts, LinkReport, Pause


def paused(pause: Pause) -> str:
    """Say who asked for a pause, and why."""
    until = "until it is resumed" if pause.until_ms is None else f"until {moment(pause.until_ms)}"
    why = f": {pause.why}" if pause.why else ""
    if not pause.lasting:
        return f"held by {pause.by}{why}"
    which = "" if pause.target is None else f"{pause.target}: "
    since = "" if pause.since_ms is None else f" since {moment(pause.since_ms)}"
    return f"{which}paused by {pause.by}{since} {until}{why}"


def behind(facts: Facts) -> str:
    """Say what holds a mirror up, its targets' reasons first."""
    report = facts.report
    troubles: list[str] = []
    if report is not None:
        troubles = [told for link in report.links if (told := _held_up(link))] or report.trouble
    if troubles:
        return "; ".join(troubles)
    if report is not None and report.limit_per_second is not None:
        return f"writes are limited to {report.limit_per_second:g} a second and target"
    rate = report.per_second if report else 0.0
    return f"it is catching up, at {rate:,.0f} changes a second"


def moment(at_ms: int) -> str:
    """Return a time as people read it."""
    return f"{datetime.fromtimestamp(at_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _held_up(link: LinkReport) -> str:
    """Say what is the matter with a target: what it answers, since when, and what waits for it."""
    told = [link.trouble] if link.trouble else []
    if link.away_since_ms is not None:
        told.append(f"no write was taken since {moment(link.away_since_ms)}")
    if link.waiting_keys:
        told.append(f"keys that wait for it: {link.waiting_keys:,}")
    return f"{link.target}: {'; '.join(told)}" if told else ""
