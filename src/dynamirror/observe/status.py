"""How a mirror stands: what ``judging`` makes of what is known of it, and what to do next.

A state is never better than what is known: an engine that doesn't report is not well, and a stream
that isn't the one we followed is history lost, however quiet everything is. Everything that shows
a state (terminal, page, metrics, alarms) shows this one.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from dynamirror.core.facts import Copying, Pause, Report, ShardFacts, Verified
from dynamirror.core.limits import STREAM_RETENTION_S
from dynamirror.errors import Exit

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
    """Nothing is applied, at one target at least, because somebody asked for that."""
    BEHIND = "behind"
    AWAY = "away"
    """A target can't be written, or doesn't answer."""
    STOPPED = "stopped"
    """Nobody reads the stream, which keeps a change for 24 hours."""
    LOST = "lost"
    """Changes are gone that were never applied."""


GRAVITY = tuple(State)


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
    """Age of the oldest change that isn't applied there, be it parked until the target is back; 0:
    none is known; null: unknown."""
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
    paused_since_ms: int | None = None
    """Since when somebody asks that the target get nothing; null: nobody does."""
    waiting_keys: int = 0
    """Parked keys that the target gets when it is back, or its link is resumed."""


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
    """Age of the oldest change that isn't applied everywhere, be it parked until a target is back;
    0: none is known."""
    lag_at_most: bool = False
    """Whether ``lag_ms`` is only a bound: nobody reads, so nobody knows what has come in."""
    hours_left: float | None = None
    """Until the stream may trim the oldest change that isn't applied, nor parked."""
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
    def left_ms(self) -> int | None:
        """How long the stream still keeps what only it has; None: unknown."""
        return left_ms(self.report.lag_ms if self.report else self.lag_ms)

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


def left_ms(lag_ms: int | None) -> int | None:
    """How long a stream still keeps the oldest change, which is so old; None: unknown."""
    return None if lag_ms is None else max(0, RETENTION_MS - lag_ms)
