"""How a mirror stands, judged from what is known of it, and what to do next.

A state is never better than what is known: an engine that doesn't report is not well, and a stream
that isn't the one we followed is history lost, however quiet everything is. Everything that shows
a state (terminal, page, metrics, alarms) shows this one.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from dynamirror.core.facts import Copying, Facts, LinkReport, Pause, Report, ShardFacts, Verified
from dynamirror.core.limits import STREAM_RETENTION_S
from dynamirror.errors import Exit
from dynamirror.observe.reasons import behind, paused

BEHIND_MS = 60_000
"""From this lag on a mirror is behind. A target in good health is never a minute late: polling
takes a quarter of a second, a write across the world another."""

SILENT_MS = 30_000
"""A target that failed and hasn't answered for so long, three heartbeats, is away."""

UNREAD_MS = 5_000
"""A stream that wasn't asked for longer may have changes that nobody has seen."""

RETENTION_MS = STREAM_RETENTION_S * 1_000

MS_PER_HOUR = 3_600_000


class State(StrEnum):
    """How a mirror or a link stands, the best first."""

    OK = "ok"
    NEW = "new"
    """The stream was never read."""
    ELSEWHERE = "elsewhere"
    """No process of ours ever read the stream: a function may, which keeps its positions itself."""
    PAUSED = "paused"
    """Nothing is applied, because somebody asked for that."""
    BEHIND = "behind"
    AWAY = "away"
    """A target can't be written, or doesn't answer."""
    STOPPED = "stopped"
    """Nobody reads the stream, which keeps a change for 24 hours."""
    LOST = "lost"
    """Changes are gone that were never applied."""


GRAVITY = tuple(State)
COUNTED = ("applied", "in_flight", "retries", "throttles", "stale", "away_since_ms", "waiting_keys")

HINTS = {
    State.NEW: "Run `dynamirror check CONFIG`, then `dynamirror run CONFIG`.",
    State.ELSEWHERE: "Run `dynamirror run CONFIG`, unless a Lambda function applies the stream.",
    State.PAUSED: "Wait: it ends with the command that asked for it.",
    State.BEHIND: "Wait until it has caught up; `dynamirror status CONFIG --watch` shows it.",
    State.AWAY: "Run `dynamirror check CONFIG`: it tells what can't be reached, and why.",
    State.STOPPED: "Run `dynamirror run CONFIG` before the stream is trimmed.",
}
"""The next command to type where nothing more particular is known."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a mirror, as it stands."""

    source: str
    """The source's short name."""
    target: str
    """The target's."""
    table: str
    """Where the target is: region and table."""
    state: State
    lag_ms: int | None = None
    """Age of the oldest change that isn't applied there; 0: none is known; null: unknown."""
    heartbeat_ms: int | None = None
    """What a change made now would need, at the least, though nobody writes: since when the stream
    wasn't asked, and how long the target takes to answer; null: it doesn't answer."""
    applied: int = 0
    in_flight: int = 0
    retries: int = 0
    throttles: int = 0
    stale: int = 0
    trouble: str | None = None
    """Why requests are being tried again just now, if they are."""
    away_since_ms: int | None = None
    waiting_keys: int = 0
    """Parked keys that the target gets when it is back."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One mirror, as it stands."""

    mirror: str
    """Its title: of a two-way mirror, one side's."""
    name: str
    """Its name in the configuration."""
    link: str
    """What ``pause`` and ``resume`` know it by."""
    two_way: bool = False
    source: str
    targets: list[str]
    state: State
    why: str | None = None
    """What makes it that state, in a sentence; null where nothing is to be said."""
    hint: str | None = None
    """The next command to type, if something is to be done."""
    held_by: str | None = None
    """The process that reads the stream."""
    lag_ms: int | None = None
    """Age of the oldest change that isn't applied everywhere; 0: none is known."""
    lag_at_most: bool = False
    """Whether ``lag_ms`` is only a bound: nobody reads, so nobody knows what has come in."""
    hours_left: float | None = None
    """Until the stream may trim the oldest change that isn't applied."""
    per_second: float | None = None
    """Changes applied everywhere, a second; null: nobody tells."""
    parked_keys: int = 0
    changed_views: list[str] = []  # see ``Facts``
    unversioned_keys: int = 0
    """Keys whose last save raised no version, where that is only reported: they differ."""
    conflicts: int | None = None
    """Writes that lost a conflict since the engine started; null: nobody counts."""
    links: list[Link] = []
    pauses: list[Pause] = []
    limit_per_second: float | None = None
    """Items that may be written a second to each target; null: no limit is known."""
    backfill: Copying | None = None
    """The last one; null: none is known."""
    verified: Verified | None = None
    """What the last comparison found; null: none is known."""
    stream: str | None = None
    """The ARN of the source's stream; null where it is off."""
    shards_open: int = 0
    positions: list[ShardFacts] = []
    report: Report | None = None
    """What the running engine last told of itself."""

    @property
    def drift(self) -> int:
        """How many items differed when the tables were last compared."""
        found = self.verified
        return 0 if found is None else found.missing + found.extra + found.different

    @property
    def exit(self) -> Exit:
        """What ``status`` ends with for this mirror."""
        if self.state is State.LOST:
            return Exit.HISTORY_LOST
        failed = self.state is State.STOPPED and self.why is not None
        differs = self.parked_keys or self.unversioned_keys or self.drift or self.changed_views
        found = differs or failed or self.state is State.AWAY
        return Exit.FINDING if found else Exit.DONE


def judged(facts: Facts, config: str = "CONFIG") -> Status:
    """Return what is known of a mirror, judged; ``config``: the file's name, for what to type."""
    links = [_link(facts, name, table) for name, table in facts.targets.items()]
    report, lag_ms = facts.report, None
    state = _own_state(facts)
    if state is State.OK and links:
        state = max((link.state for link in links), key=GRAVITY.index)
    if report is not None:
        lag_ms = report.lag_ms
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
        hours_left=_hours_left(lag_ms),
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
    lag_ms = max(known.lag_ms, _unread_ms(facts.report))
    if facts.report.unread_ms > UNREAD_MS:  # as when another target holds up the reading
        lag_ms = max(lag_ms, facts.report.unread_ms)
    silent = _silent_ms(facts.report, known) > SILENT_MS
    if state is State.OK and (known.away_since_ms is not None or (known.trouble and silent)):
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
        **{name: getattr(known, name) for name in COUNTED},
    )


def _unread_ms(report: Report) -> int:
    """Return the part of a lag that no target has a part in: what isn't read yet."""
    applied_ms = max((link.lag_ms for link in report.links), default=0)
    return report.lag_ms if report.lag_ms > applied_ms else 0


def _silent_ms(report: Report, link: LinkReport) -> int:
    """For how long a target has not answered; one that never did was asked since the start."""
    return report.at_ms - (link.beat_at_ms or 0)


def _hours_left(lag_ms: int | None) -> float | None:
    return None if lag_ms is None else round(max(0, RETENTION_MS - lag_ms) / MS_PER_HOUR, 1)


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
    if status.parked_keys and status.state in (State.OK, State.STOPPED, State.PAUSED):
        return "Mend the cause, then run `dynamirror redrive CONFIG`."
    if status.state is State.OK and (status.drift or status.changed_views):
        return "Run `dynamirror verify CONFIG --mirror NAME --repair`: it shows what it would mend."
    return _next(facts, status)


def _next(facts: Facts, status: Status) -> str | None:
    if status.state is State.PAUSED and any(pause.lasting for pause in facts.pauses):
        return "Run `dynamirror resume CONFIG --link LINK`."
    if status.state is State.BEHIND and status.limit_per_second is not None:
        return "Run `dynamirror limit CONFIG --mirror NAME --max-writes-per-second none`."
    if status.state is State.BEHIND and any(link.throttles for link in status.links):
        return (
            "Raise the write capacity of the target's table, or wait: "
            "`dynamirror status CONFIG --watch` shows how it catches up."
        )
    return HINTS.get(status.state)
