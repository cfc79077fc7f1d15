"""One mirror's engine in one process: read the source's stream, apply it to every target.

It holds the mirror's lease while it runs, pauses when asked to, and never passes over lost history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from dynamirror.config.model import OnPoison
from dynamirror.core.facts import Report
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import encode
from dynamirror.engine.held.recovery import Recovery
from dynamirror.engine.held.redrive import Redriver
from dynamirror.engine.members.roster import agreed, left_of, note, require
from dynamirror.engine.source import stream_of
from dynamirror.engine.station import Station
from dynamirror.engine.stream.checkpoints import (
    PAUSED_ROW,
    STOPPED_ROW,
    Known,
)
from dynamirror.engine.stream.crew import Crew, report_of
from dynamirror.engine.stream.follow import Follower
from dynamirror.engine.stream.history import epoch_of
from dynamirror.engine.stream.pulse import Rate
from dynamirror.engine.stream.shard import Reading, reading_of
from dynamirror.engine.writing.viewed import VIEWS_ROW, changed_views, note_views
from dynamirror.errors import (
    HeldError,
    HistoryLostError,
    NotFoundError,
    PoisonError,
    RosterError,
    ServiceError,
)

log = logging.getLogger("dynamirror")

FINISH_S = 20.0
"""How long a stopping consumer waits for what it has read to be applied."""

CONTROL_S = 1.0
"""How often we look whether somebody wants us to pause."""


class Consumer:
    """Runs one mirror until stopped, or once until drained."""

    def __init__(self, station: Station, reading: Reading | None = None) -> None:
        self.links = station.links
        self.paused = False
        self._state = "starting"
        self._station = station
        self._source = station.source
        self._checkpoints = station.checkpoints
        self._lease = station.lease
        self._clock = station.clock
        self._backoff = station.backoff
        self._reading = reading or reading_of(self.links.mirror.source.server)
        self._crew = Crew()
        self._rate = Rate(self._applied)
        self._follower: Follower | None = None

    @property
    def owner(self) -> str:
        """The name under which it holds the lease."""
        return self._lease.owner

    @property
    def drained(self) -> bool:
        """Whether nothing was left to read or apply, as far as the stream tells."""
        return self._follower is not None and self._follower.drained

    async def run(self, *, once: bool = False) -> None:
        """Mirror until cancelled, or, with ``once``, until nothing is left to do.

        Cancelled, it stops reading, waits a while for what it has read to be applied, and saves
        its positions. Raises HeldError if another process has the lease, HistoryLostError if
        changes are gone, PoisonError or a ServiceError if a target can't be written.
        """
        await self._lease.acquire()
        try:
            known, stream = await self._begin()
            if known.stopped is not None:
                await self._checkpoints.delete(STOPPED_ROW)
            await self._follow(known, stream, once=once)
        except (PoisonError, RosterError, ServiceError) as error:
            # For ``status``, which else could only say that nobody reads the stream.
            await self._checkpoints.put(STOPPED_ROW, why=str(error), at_ms=self._clock())
            raise
        finally:
            await asyncio.shield(self._lease.release())

    async def _begin(self) -> tuple[Known, str]:
        known = await self._checkpoints.load()
        try:
            stream = await stream_of(self._source, self.links.mirror.source.table, self._backoff)
            known = await self._checkpoints.met(stream, self._clock())
            epoch_of(known, stream)
        except NotFoundError as error:
            if not known.streams:
                raise
            why = f"the stream that was followed is no more: {error.message}"
            await self._checkpoints.lose(known, why)
            raise HistoryLostError(why) from error
        except HistoryLostError as error:
            await self._checkpoints.lose(known, str(error))
            raise
        await self._meet_targets(known)
        return known, stream

    async def _meet_targets(self, known: Known) -> None:
        """See that no target joined unnoticed: it would lack all that came before."""
        mirror = self.links.mirror
        require(mirror, known)
        if not agreed(mirror, known):
            await note(self._checkpoints, mirror, left_of(known))
        if VIEWS_ROW not in known.rows:
            await note_views(self._checkpoints, mirror)
        elif changed := changed_views(mirror, known):
            log.warning(
                "mirror %s: the view of %s has changed: what was mirrored before is as the old one "
                "had it; see `dynamirror verify --repair`",
                mirror.title,
                ", ".join(changed),
            )

    async def _follow(self, known: Known, stream: str, *, once: bool) -> None:
        follower = self._follower = Follower(
            self._source,
            stream,
            known,
            self._checkpoints,
            self._hand_over,
            clock=self._clock,
            reading=self._reading,
            backoff=self._backoff,
        )
        if self._asking(known):
            follower.pause()
        appliers = await self.links.open(
            epoch_of(known, stream), follower.fail, self._lease.is_held
        )
        crew = self._crew = Crew(appliers, self.links.heartbeats())
        crew.recovery = self._recovering(crew)
        if crew.recovery is not None:
            crew.recovery.hold_back(known.held_back(self._clock()))
        keeping = [
            *(asyncio.create_task(heartbeat.run()) for heartbeat in crew.heartbeats),
            asyncio.create_task(self._rate.run()),
            asyncio.create_task(self._lease.keep(lambda: encode(self.report()).decode())),
            asyncio.create_task(self._obey(follower)),
        ]
        if crew.recovery is not None:
            keeping.append(asyncio.create_task(crew.recovery.run()))
        for task in keeping:
            task.add_done_callback(lambda task: _pass_on(task, follower))
        finish_s: float | None = FINISH_S
        self._state = "following"
        try:
            await follower.run(once=once)
            await self._recovered(keeping)
        except HistoryLostError as error:
            await self._checkpoints.lose(known, str(error))
            raise
        except HeldError:
            finish_s = None
            raise
        finally:
            for task in keeping:
                task.cancel()
            self._state = "stopped"
            await asyncio.shield(self._end(follower, finish_s))

    async def _recovered(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        """Wait until targets that were away are up to date, but for those that still are."""
        if self._crew.recovery is None or not self._crew.recovery.absences():
            return
        settled = asyncio.create_task(self._crew.recovery.settled())
        try:
            await asyncio.wait({settled, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()
        for task in keeping:
            if task.done():
                task.result()

    def _recovering(self, crew: Crew) -> Recovery | None:
        mirror, parking = self.links.mirror, self.links.parking
        if parking is None or not mirror.backlog_seconds:
            return None
        return Recovery(
            crew.legs,
            parking,
            Redriver(self._station, held=True),
            backlog_s=mirror.backlog_seconds,
            parks_poison=mirror.on_poison is OnPoison.PARK,
            clock=self._clock,
        )

    def _hand_over(self, records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
        self._crew.submit(self.links.wanted(records), on_done)

    async def _end(self, follower: Follower, finish_s: float | None) -> None:
        """Apply what was read, and save positions; with None, at once and without saving: another
        holds the lease, and the positions are his.
        """
        if finish_s is not None:
            failed = any(applier.failed for applier in self._crew.all)
            await follower.finish(0 if failed else finish_s)
        await asyncio.gather(*(applier.stop() for applier in self._crew.appliers))
        if follower.failure is not None:
            raise follower.failure  # also one that came while the last changes were applied

    async def _obey(self, follower: Follower) -> None:
        """Pause while somebody asks for it; say so once nothing is on its way any more. Write no
        faster than somebody allows.
        """
        said: list[str] | None = None  # a holder before us may have left a word that isn't ours
        while True:
            known = await self._checkpoints.load(positions=False)
            require(self.links.mirror, known, running=True)
            self.links.limit(known.limit_per_second)
            asking, recovery = self._asking(known), self._crew.recovery
            self.paused = bool(asking)
            if asking:
                follower.pause()
                await follower.settled()
                if recovery is not None:
                    await recovery.pause()
            obeyed = asking
            if recovery is not None:
                held_back = known.held_back(self._clock())
                recovery.hold_back(held_back)
                obeyed = [*asking, *(held_back[name] for name in recovery.held_back)]
            if obeyed != said:
                await self._checkpoints.put(PAUSED_ROW, for_whom=obeyed)
                said = obeyed
            if not asking:
                follower.resume()
                if recovery is not None:
                    recovery.resume()
            await asyncio.sleep(CONTROL_S)

    def _asking(self, known: Known) -> list[str]:
        """Return for whom nothing is to be read. Where changes can't wait in a table, one target
        that is to get nothing has all wait.
        """
        now_ms = self._clock()
        asking = known.paused_for(now_ms)
        parks = self.links.mirror.backlog_seconds
        return asking if parks else [*asking, *known.held_back(now_ms).values()]

    def report(self) -> Report:
        """Tell how it goes."""
        return report_of(
            self._crew,
            self._follower,
            self.links,
            state="paused" if self.paused else self._state,
            now_ms=self._clock(),
            per_second=self._rate.per_second,
        )

    def _applied(self) -> int:
        return self._follower.applied if self._follower else 0


def _pass_on(task: asyncio.Task[None], follower: Follower) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        follower.fail(error)
