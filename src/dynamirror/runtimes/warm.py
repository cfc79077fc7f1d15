"""What an execution environment of AWS Lambda keeps of one mirror between its invocations.

It also brings keys up to date that were parked while a target was away: any environment may, after
a delivery, with the time that is left of its invocation, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from secrets import token_hex

from dynamirror.config.model import Mirror
from dynamirror.engine.held.outages import Outages
from dynamirror.engine.item_log import log_item
from dynamirror.engine.station import Station
from dynamirror.engine.stream.lease import Lease
from dynamirror.errors import HeldError, NotFoundError, ServiceError
from dynamirror.wiring import Wiring

CATCH_UP_S = 5.0
"""What one invocation gives to parked keys: so much later the shard's next changes are applied."""

CATCH_UP_S_MIN = 1.0

OBEY_MS = 5_000
"""Time between two looks at which links are paused."""

LOOK_MS = 60_000
"""Time between two looks for parked keys; the first is after a cold start's first delivery."""

log = logging.getLogger("dynamirror")


class Warm:
    """One mirror's connections, and what was learned of its targets."""

    def __init__(self, wiring: Wiring, mirror: Mirror) -> None:
        self.links = wiring.links(mirror)
        self.outages = Outages(mirror.backlog_seconds, wiring.clock)
        self._wiring = wiring
        self._mirror = mirror
        self._due_ms = 0
        self._held_back: Collection[str] = ()
        self._obeyed_ms: int | None = None
        # A name of its own: environments look alike, down to their host's name.
        self._owner = f"function {token_hex(8)}"

    async def held_back(self) -> Collection[str]:
        """Return the targets whose links are paused, as it was told a moment ago at most.

        Where changes can't be parked, none is: such a pause is for engines.
        """
        if not self._mirror.backlog_seconds:
            return ()
        now_ms = self._wiring.clock()
        if self._obeyed_ms is None or now_ms - self._obeyed_ms >= OBEY_MS:
            try:
                known = await self._wiring.checkpoints(self._mirror).load(positions=False)
                self._held_back = known.held_back(now_ms)
            except NotFoundError:
                self._held_back = ()  # guard ``order`` does without: nobody can have paused a link
            self._obeyed_ms = now_ms
        return self._held_back

    async def catch_up(self, left_s: float) -> None:
        """Redrive keys whose target was away and is back, as far as time allows.

        What goes wrong here is told, and fails no delivery.
        """
        now_ms, time_s = self._wiring.clock(), min(left_s, CATCH_UP_S)
        if now_ms < self._due_ms or time_s < CATCH_UP_S_MIN:
            return
        self._due_ms = now_ms + LOOK_MS
        try:
            async with asyncio.timeout(time_s):
                held_back = await self.held_back()
                targets = [
                    name
                    for name in await self._waited_for()
                    if not (name in held_back or self.outages.is_away(name))
                ]
                if targets and not await self._redrive(targets, time_s * 2 / 3):
                    self._due_ms = 0
        except TimeoutError:
            self._due_ms = 0
        except HeldError:
            pass  # another environment is at it, or somebody by hand
        except ServiceError as error:
            log.warning("%s: parked keys stay as they are: %s", self._mirror.name, error)

    async def _waited_for(self) -> set[str]:
        """Return the targets for which keys are shelved."""
        mine = {place.name for place in self._mirror.targets}
        found: set[str] = set()
        async for listed in self.links.parking_of(epoch=1).listed():
            if listed.shelved and listed.target in mine:
                found.add(listed.target)
                if found == mine:
                    break
        return found

    async def _redrive(self, targets: list[str], time_s: float) -> bool:
        """Redrive for a while; return whether nothing is left that could be redriven."""
        from dynamirror.engine.held.redrive import Ear, Interrupted, Redriver  # noqa: PLC0415 - seldom

        wiring, mirror, link = self._wiring, self._mirror, self._mirror.link
        checkpoints = wiring.checkpoints(mirror)
        lease = Lease(checkpoints, self._owner, clock=wiring.clock, is_dead=lambda _: False)
        source, clock, backoff = wiring.source(mirror), wiring.clock, wiring.backoff
        station = Station(self.links, source, checkpoints, lease, clock, backoff)
        ends_s = asyncio.get_running_loop().time() + time_s

        class Impatient(Ear):
            failed = False

            def hear(self, error: ServiceError | None) -> None:
                self.failed = error is not None

            def go_on(self) -> bool:
                return not self.failed and asyncio.get_running_loop().time() < ends_s

        for name in targets:
            try:
                left = await Redriver(station).resync(name, Impatient())
            except Interrupted:
                return False
            for keys, error in left:
                await self.links.parking_of(epoch=1).condemn(name, keys)
                log_item("refused", keys, f"is refused: {error}", link=link, target=name)
                log.error("%s: a key parked while %s was away is refused: %s", link, name, error)
        return True
