"""All that works at a running mirror's targets, and how it tells of itself."""

from __future__ import annotations

from collections.abc import Sequence

from dynamirror.core.facts import LinkReport, Report, ShardReport
from dynamirror.engine.held.recovery import Absence, Recovery
from dynamirror.engine.stream.follow import Follower, to_each
from dynamirror.engine.stream.pulse import Ageing, Heartbeat
from dynamirror.engine.stream.shard import ShardReader
from dynamirror.engine.writing.apply import Applier
from dynamirror.engine.writing.links import Links
from dynamirror.errors import ThrottledError

BEHIND_MAX = 20
"""So many of the shards that we are most behind with are told of."""


class Crew:
    """The appliers of a mirror, and those who look after their targets."""

    def __init__(
        self, appliers: Sequence[Applier] = (), heartbeats: Sequence[Heartbeat] = ()
    ) -> None:
        self.appliers = appliers
        self.heartbeats = heartbeats
        self.recovery: Recovery | None = None
        self._ageing = [Ageing(applier.submit) for applier in appliers]
        self.submit = to_each([ageing.submit for ageing in self._ageing])

    @property
    def legs(self) -> list[Applier]:
        """The appliers that write to one target each."""
        return [leg for applier in self.appliers for leg in applier.legs]

    @property
    def all(self) -> list[Applier]:
        """All appliers through which records pass."""
        return [one for applier in self.appliers for one in applier.all]

    def links(self, now_ms: int) -> list[LinkReport]:
        """Tell how it goes at each target."""
        absences = self.recovery.absences() if self.recovery else {}
        pairs = zip(self.appliers, self._ageing, strict=True)
        ages = {applier.target.name: ageing.oldest_ms for applier, ageing in pairs}
        # Of a two-way mirror's legs nobody knows the pages.
        ages |= {
            leg.target.name: _oldest_ms(leg) for leg in self.legs if leg.target.name not in ages
        }
        legs = {leg.target.name: leg for leg in self.legs}
        return [
            _link(
                heartbeat,
                legs[heartbeat.name],
                absences.get(heartbeat.name),
                ages[heartbeat.name],
                now_ms,
            )
            for heartbeat in self.heartbeats
            if heartbeat.name in legs
        ]


def report_of(
    crew: Crew,
    follower: Follower | None,
    links: Links,
    *,
    state: str,
    now_ms: int,
    per_second: float,
) -> Report:
    """Tell how a mirror's consumer gets on; ``follower`` None: it has not begun to read."""
    readers = list(follower.readers.values()) if follower else []
    troubles = [reader.trouble for reader in readers]
    troubles += [str(applier.trouble) for applier in crew.all if applier.trouble]
    open_readers = [reader for reader in readers if not reader.progress.position.done]
    return Report(
        state=state,
        at_ms=now_ms,
        records=follower.records if follower else 0,
        lag_ms=max((reader.lag_ms(now_ms) for reader in readers), default=0),
        applied=follower.applied if follower else 0,
        writes=sum(leg.applied - leg.parked for leg in crew.legs),
        stale=sum(leg.target.stale for leg in crew.legs),
        in_flight=sum(applier.in_flight for applier in crew.all),
        retries=sum(applier.retries for applier in crew.all),
        throttles=sum(applier.throttles for applier in crew.all),
        parked_keys=links.parking.held if links.parking else 0,
        conflicts=links.conflicts,
        trouble=sorted({trouble for trouble in troubles if trouble}),
        per_second=per_second,
        unread_ms=max((reader.unread_ms(now_ms) for reader in open_readers), default=0),
        links=crew.links(now_ms),
        shards=_most_behind(open_readers, now_ms),
        limit_per_second=links.limit_per_second,
    )


def _link(
    heartbeat: Heartbeat,
    leg: Applier,
    absence: Absence | None,
    oldest_ms: int | None,
    now_ms: int,
) -> LinkReport:
    return LinkReport(
        target=heartbeat.name,
        lag_ms=0 if oldest_ms is None else max(0, now_ms - oldest_ms),
        applied=leg.applied - leg.parked,
        stale=leg.target.stale,
        in_flight=leg.in_flight,
        retries=leg.retries,
        throttles=leg.throttles,
        beat_ms=heartbeat.took_ms,
        beat_at_ms=heartbeat.at_ms,
        trouble=str(leg.trouble) if leg.trouble else heartbeat.trouble,
        throttled=isinstance(leg.trouble, ThrottledError),
        away_since_ms=absence.since_ms if absence else None,
        paused=absence.paused if absence else False,
        waiting_keys=absence.keys if absence else 0,
        waiting_since_ms=absence.oldest_ms if absence else None,
    )


def _oldest_ms(leg: Applier) -> int | None:
    oldest_s = min((record.created_at for record in leg.waiting), default=None)
    return None if oldest_s is None else int(oldest_s * 1_000)


def _most_behind(readers: Sequence[ShardReader], now_ms: int) -> list[ShardReport]:
    lags = sorted(
        ((reader.lag_ms(now_ms), reader.shard_id, reader.trouble) for reader in readers),
        reverse=True,
    )
    return [
        ShardReport(shard=shard, lag_ms=lag_ms, trouble=trouble)
        for lag_ms, shard, trouble in lags[:BEHIND_MAX]
        if lag_ms or trouble
    ]
