"""Facts about a mirror, judged: which state that is, why, and what to type next."""

from __future__ import annotations

import msgspec

from dynamirror.core.facts import Facts, LinkReport, Report
from dynamirror.observe.reasons import behind, paused
from dynamirror.observe.status import GRAVITY, MS_PER_HOUR, Link, State, Status, left_ms

BEHIND_MS = 60_000
"""From this lag on a mirror is behind. A target in good health is never a minute late: polling
takes a quarter of a second, a write across the world another."""

SILENT_MS = 30_000
"""A target that failed and hasn't answered for so long, three heartbeats, is away."""

UNREAD_MS = 5_000
"""A stream that wasn't asked for longer may have changes that nobody has seen."""

COUNTED = ("applied", "in_flight", "retries", "throttles", "stale", "away_since_ms", "waiting_keys")

FULL = "Raise the write capacity of the target's table, or wait: "

HINTS = {
    State.NEW: "Run `dynamirror check CONFIG`, then `dynamirror run CONFIG`.",
    State.ELSEWHERE: "Run `dynamirror run CONFIG`, unless a Lambda function applies the stream.",
    State.PAUSED: "Wait: it ends with the command that asked for it.",
    State.BEHIND: "Wait until it has caught up; `dynamirror status CONFIG --watch` shows it.",
    State.AWAY: "Run `dynamirror check CONFIG`: it tells what can't be reached, and why.",
    State.STOPPED: "Run `dynamirror run CONFIG` before the stream is trimmed.",
}
"""The next command to type where nothing more particular is known."""


def judged(facts: Facts, config: str = "CONFIG") -> Status:
    """Return what is known of a mirror, judged; ``config``: the file's name, for what to type."""
    links = [_link(facts, name, table) for name, table in facts.targets.items()]
    report, lag_ms = facts.report, None
    state = _own_state(facts)
    if state is State.OK and links:
        state = max((link.state for link in links), key=GRAVITY.index)
    if report is not None:
        lag_ms = max((report.lag_ms, *(link.lag_ms or 0 for link in links)))
    elif facts.oldest_ms is not None:
        lag_ms = max(0, facts.at_ms - facts.oldest_ms)
    if state is State.OK and report is not None and report.lag_ms >= BEHIND_MS:
        state = State.BEHIND
    status = Status(
        mirror=facts.mirror,
        name=facts.name,
        link=facts.link,
        two_way=facts.two_way,
        source=facts.source,
        targets=list(facts.targets.values()),
        state=state,
        why=_why(facts, state),
        held_by=facts.held_by,
        lag_ms=lag_ms,
        lag_at_most=report is None and lag_ms is not None,
        hours_left=_hours(left_ms(report.lag_ms if report else lag_ms)),
        per_second=report.per_second if report else None,
        parked_keys=facts.parked_keys,
        changed_views=facts.changed_views,
        unversioned_keys=facts.unversioned_keys,
        conflicts=report.conflicts if report and facts.two_way else None,
        links=links,
        pauses=facts.pauses,
        limit_per_second=report.limit_per_second if report else facts.limit_per_second,
        backfill=facts.backfill,
        verified=facts.verified,
        stream=facts.stream,
        shards_open=sum(not shard.closed for shard in facts.shards if shard.listed),
        positions=facts.shards,
        report=report,
    )
    hint = _hint(facts, status)
    if hint is not None:
        hint = hint.replace("CONFIG", config).replace("NAME", facts.name)
        hint = hint.replace("LINK", facts.link)
    return msgspec.structs.replace(status, hint=hint)


def _own_state(facts: Facts) -> State:
    """Return the state that no target has a part in; OK: the targets decide."""
    if facts.lost is not None:
        return State.LOST
    if facts.held_by is not None:
        paused = facts.report is not None and facts.report.state == "paused"
        return State.PAUSED if paused else State.OK
    if facts.elsewhere:
        return State.ELSEWHERE
    return State.STOPPED if facts.started else State.NEW


def _link(facts: Facts, name: str, table: str) -> Link:
    reports = {one.target: one for one in facts.report.links} if facts.report else {}
    known, state = reports.get(name), _own_state(facts)
    if facts.report is None or known is None:
        return Link(source=facts.source_name, target=name, table=table, state=state)
    lag_ms = max(known.behind_ms(facts.report.at_ms), _unread_ms(facts.report))
    if facts.report.unread_ms > UNREAD_MS:  # as when another target holds up the reading
        lag_ms = max(lag_ms, facts.report.unread_ms)
    asked = next((one for one in facts.pauses if one.target in (None, name)), None)
    silent = _silent_ms(facts.report, known) > SILENT_MS
    if state is State.OK and known.paused:
        state = State.PAUSED
    elif state is State.OK and (known.away_since_ms is not None or (known.trouble and silent)):
        state = State.AWAY
    elif state is State.OK and (lag_ms >= BEHIND_MS or known.waiting_keys):
        state = State.BEHIND
    beats = known.beat_ms is not None and not silent
    return Link(
        source=facts.source_name,
        target=name,
        table=table,
        state=state,
        lag_ms=lag_ms,
        heartbeat_ms=facts.report.unread_ms + (known.beat_ms or 0) if beats else None,
        trouble=known.trouble or None,
        paused_since_ms=asked.since_ms if asked else None,
        **{name: getattr(known, name) for name in COUNTED},
    )


def _unread_ms(report: Report) -> int:
    """Return the part of a lag that no target has a part in: what isn't read yet."""
    applied_ms = max((link.lag_ms for link in report.links), default=0)
    return report.lag_ms if report.lag_ms > applied_ms else 0


def _silent_ms(report: Report, link: LinkReport) -> int:
    """For how long a target has not answered; one that never did was asked since the start."""
    return report.at_ms - (link.beat_at_ms or 0)


def _hours(ms: int | None) -> float | None:
    return None if ms is None else round(ms / MS_PER_HOUR, 1)


def _why(facts: Facts, state: State) -> str | None:
    match state:
        case State.LOST:
            return facts.lost
        case State.STOPPED | State.NEW | State.ELSEWHERE:
            return facts.stopped
        case State.PAUSED:
            return "; ".join(map(paused, facts.pauses)) or None
        case State.AWAY | State.BEHIND:
            return behind(facts)
        case _:
            return None


def _hint(facts: Facts, status: Status) -> str | None:
    if status.state is State.LOST:
        if facts.stream is None:
            return "Run `dynamirror init CONFIG --mirror NAME --yes`, then backfill it."
        return "Run `dynamirror backfill CONFIG --mirror NAME`, then `dynamirror verify CONFIG`."
    waiting = sum(link.waiting_keys for link in status.links)
    if status.parked_keys > waiting and status.state in (State.OK, State.STOPPED, State.PAUSED):
        return "Mend the cause, then run `dynamirror redrive CONFIG`."
    if status.state is State.OK and (status.drift or status.changed_views):
        return "Run `dynamirror verify CONFIG --mirror NAME --repair`: it shows what it would mend."
    return _next(facts, status)


def _next(facts: Facts, status: Status) -> str | None:
    if status.state is State.PAUSED and any(pause.lasting for pause in facts.pauses):
        targets = [pause.target for pause in facts.pauses if pause.lasting]
        one = "" if None in targets else f" --target {targets[0]}"
        return f"Run `dynamirror resume CONFIG --link LINK{one}`."
    if status.state is State.AWAY and _throttled(facts, status):
        return f"{FULL}what is parked is brought to it once it takes writes."
    if status.state is State.BEHIND and status.limit_per_second is not None:
        return "Run `dynamirror limit CONFIG --mirror NAME --max-writes-per-second none`."
    if status.state is State.BEHIND and _throttled(facts, status):
        return f"{FULL}`dynamirror status CONFIG --watch` shows how it catches up."
    return HINTS.get(status.state)


def _throttled(facts: Facts, status: Status) -> bool:
    """Tell whether the targets that make the state would be helped by more capacity."""
    late = {link.target for link in status.links if link.state is status.state}
    reports = facts.report.links if facts.report else []
    # Between two tries nothing fails just now: then what was is the best that is known.
    return any(
        one.throttled or (one.throttles and not one.trouble)
        for one in reports
        if one.target in late
    )
