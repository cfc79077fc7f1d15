"""What is known of how a mirror runs: numbers and texts, as the engine tells them.

Nothing here says whether that is good: ``observe`` does.
"""

from __future__ import annotations

import msgspec


class LinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a running consumer tells of one of its targets."""

    target: str
    """The place's short name."""
    lag_ms: int = 0
    """Age of the oldest change read that isn't applied there nor parked; 0: none."""
    applied: int = 0
    """Changes applied there, those that a newer one made idle left out."""
    stale: int = 0
    in_flight: int = 0
    retries: int = 0
    throttles: int = 0
    beat_ms: int | None = None
    """How long the target's last answer took to come; null: it never answered."""
    beat_at_ms: int | None = None
    """When the target was last known to answer."""
    trouble: str = ""
    """Why requests to it are being tried again just now; empty: they aren't."""
    away_since_ms: int | None = None
    """Since when it takes no writes, so that its changes are parked; null: it does."""
    throttled: bool = False
    """Whether ``trouble`` is that it takes no more just now, so that more capacity would help."""
    paused: bool = False
    """Whether nothing is written to it because somebody asked for that."""
    waiting_keys: int = 0
    """Parked keys that are brought to it once it is back, or its link is resumed."""
    waiting_since_ms: int | None = None
    """When the oldest change was made that is parked for that; null: there is none."""

    def behind_ms(self, at_ms: int) -> int:
        """Age of the oldest change that isn't applied there: in our hands, or parked until the
        target is back. What is parked for people isn't counted: it waits for them.
        """
        waits_ms = 0 if self.waiting_since_ms is None else at_ms - self.waiting_since_ms
        return max(self.lag_ms, waits_ms)


class ShardReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a running consumer tells of one shard that it is behind with."""

    shard: str
    lag_ms: int
    trouble: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a running consumer tells of itself."""

    state: str
    """``starting``, ``following``, ``paused`` or ``stopped``."""
    at_ms: int
    records: int
    """Stream records read since it started."""
    lag_ms: int
    """Age of the oldest change that only the stream has: not applied everywhere, nor parked; 0:
    none. Where a shard can't be read, the time for which that has not been known."""
    applied: int
    """Of these, how many every target has; those that a newer change of their key made idle too."""
    writes: int
    """Items put or deleted, all targets together."""
    stale: int
    """Changes that a guard refused: late or delivered twice."""
    in_flight: int
    retries: int
    throttles: int
    parked_keys: int
    trouble: list[str]
    """Why requests are being tried again just now, if they are."""
    per_second: float = 0.0
    """Changes applied everywhere, a second, over the last ten."""
    unread_ms: int = 0
    """Since when the shard that waits longest for an answer of the stream has had none: a change
    made before that has been seen."""
    conflicts: int = 0
    """Writes that lost a conflict, since it started."""
    links: list[LinkReport] = []
    shards: list[ShardReport] = []
    """Those most behind."""
    limit_per_second: float | None = None
    """Items a second and target that may be written; null: as many as the targets take."""

    @property
    def behind_ms(self) -> int:
        """Age of the oldest change that is not applied everywhere, be it parked meanwhile."""
        return max((self.lag_ms, *(link.behind_ms(self.at_ms) for link in self.links)))


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks that links be paused: all that are read from a source, or one."""

    by: str
    """Who: a process, or a person."""
    until_ms: int | None
    """When it ends by itself; null: it lasts until somebody resumes the link."""
    why: str = ""
    since_ms: int | None = None
    lasting: bool = False
    """Whether a person asked for it; what a command needs for a while is no matter for people."""
    target: str | None = None
    """Only changes to this target are held; null: to all."""


class ShardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One shard, and how far it was applied."""

    shard: str
    parent: str | None = None
    closed: bool = False
    """Whether nothing more is written to it."""
    listed: bool = True
    """Whether the stream still tells of it."""
    sequence_number: str | None = None
    """Decimal, of the last record applied; null: nothing yet."""
    done: bool = False
    read_until_ms: int | None = None
    """Every change made by then is applied, as far as it went through this shard."""


class Copying(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backfill is, as its row tells."""

    began_ms: int
    finished_ms: int | None
    items: int
    """How many are copied."""
    expected_items: int
    """About how many there are; the service counts them every six hours."""
    shares_done: int
    shares: int
    """Into how many shares the table is cut."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What the last comparison found, as its row tells."""

    at_ms: int
    items: int
    missing: int
    extra: int
    different: int
    in_flight: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of one mirror's tables and stream."""

    at_ms: int
    """When it was read."""
    mirror: str
    """Its title: of a two-way mirror, one side's."""
    name: str
    """Its name in the configuration."""
    link: str
    """What tells its consumer from all others."""
    source: str
    """Where the source is: region and table."""
    source_name: str
    targets: dict[str, str]
    """Where the targets are, by their short names."""
    two_way: bool = False
    stream: str | None = None
    """The ARN of the source's stream; null where it is off."""
    started: bool = False
    """Whether the stream was ever followed."""
    elsewhere: bool = False
    """Whether nobody who keeps positions has read the stream, as where a function does."""
    lost: str | None = None
    """Why history is lost; null: it isn't."""
    stopped: str | None = None
    """Why the last process that read the stream ended, if it was not of its own will."""
    held_by: str | None = None
    """The process that reads the stream; null: none does."""
    report: Report | None = None
    """What it last told of itself; null in its first seconds."""
    oldest_ms: int | None = None
    """Since when changes may be waiting, for all that the positions tell; null: unknown."""
    parked_keys: int = 0
    changed_views: list[str] = []
    """The targets that see another view now than what they hold was made by, by short names."""
    unversioned_keys: int = 0
    """Keys whose last save raised no version, and which no other replica has; see ``verify``."""
    pauses: list[Pause] = []
    """Those in force."""
    limit_per_second: float | None = None
    """The limit that was set for the running engine; null: none was."""
    shards: list[ShardFacts] = []
    backfill: Copying | None = None
    verified: Verified | None = None
