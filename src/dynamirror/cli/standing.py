"""How a mirror stands, in a terminal: a row of figures, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator

from dynamirror.cli.wording import counted
from dynamirror.observe.reasons import moment
from dynamirror.observe.status import State, Status

HEADER = (
    "MIRROR",
    "STATE",
    "LAG",
    "HEARTBEAT",
    "CHANGES/S",
    "TIME LEFT",
    "PARKED",
    "SOURCE",
    "TARGETS",
)

GRAVE = (State.LOST, State.STOPPED, State.AWAY)


def row(status: Status) -> tuple[str, ...]:
    """Return a mirror's figures; - for what isn't known or doesn't matter."""
    beats = [link.heartbeat_ms for link in status.links]
    known = [beat for beat in beats if beat is not None]
    return (
        status.mirror,
        str(status.state),
        _lag(status),
        span(max(known)) if known and len(known) == len(beats) else "-",
        "-" if status.per_second is None else f"{status.per_second:,.0f}",
        "-" if status.hours_left is None else f"{status.hours_left:.1f} h",
        f"{status.parked_keys:,}" if status.parked_keys else "-",
        status.source,
        ", ".join(status.targets),
    )


def notes(status: Status) -> Iterator[tuple[str, str]]:
    """Yield what is to be said of a mirror, each with a style."""
    name = status.mirror
    if status.held_by:
        # What follows in parentheses is for other processes.
        yield f"{name}: read by {status.held_by.partition(' (')[0]}", ""
    if len(status.links) > 1:
        for link in status.links:
            lag = "" if link.lag_ms is None else f", lag {span(link.lag_ms)}"
            yield (
                f"{name} -> {link.target}: {link.state}{lag}",
                "" if link.state is State.OK else "finding",
            )
    if status.limit_per_second is not None:
        yield (
            f"{name}: writes at most {status.limit_per_second:g} items a second to each target",
            "",
        )
    yield from _lost(status)
    yield from _told(status)
    if status.why:
        style = "bad" if status.state in GRAVE else "finding"
        yield f"{name}: {status.state}: {status.why}", style
    for pause in status.pauses:
        if pause.lasting and pause.until_ms is not None:
            yield f"{name}: the pause ends by itself at {moment(pause.until_ms)}", ""
    if status.hint:
        yield f"{name}: {status.hint}", ""


def _lost(status: Status) -> Iterator[tuple[str, str]]:
    """Say what two-way writes did not reach the others, and where they are listed."""
    name = status.mirror
    if status.conflicts:
        lost = f"{counted(status.conflicts, 'write')} lost a conflict since the engine began"
        yield f"{name}: {lost}; `dynamirror conflicts` lists them", ""
    if status.unversioned_keys:
        told = f"{counted(status.unversioned_keys, 'key')} saved without raising the version"
        yield f"{name}: {told}: they differ; `dynamirror verify` lists them", "bad"


def _told(status: Status) -> Iterator[tuple[str, str]]:
    """Say what the last backfill and the last comparison came to."""
    copying, found = status.backfill, status.verified
    if status.changed_views:
        names = ", ".join(status.changed_views)
        told = f"the view of {names} has changed since it was copied or verified"
        yield f"{status.mirror}: {told}", "bad"
    if copying is not None and copying.finished_ms is None:
        told = f"a backfill began at {moment(copying.began_ms)}: {copying.items:,} items copied"
        yield f"{status.mirror}: {told}", ""
    if found is not None:
        drift = f"{status.drift:,} of {found.items:,} items differed" if status.drift else "equal"
        style = "bad" if status.drift else ""
        yield f"{status.mirror}: verified at {moment(found.at_ms)}: {drift}", style


def _lag(status: Status) -> str:
    if status.lag_ms is None:
        return "-"
    most = "at most " if status.lag_at_most else ""
    return most + span(status.lag_ms)


def span(ms: int) -> str:
    """Return a time in the unit that suits it."""
    seconds = ms / 1_000
    for unit, size in (("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
