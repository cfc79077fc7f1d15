"""Looking at the mirrors while they run: what their tables tell, and what the engines of this
process tell of themselves, which is newer.

Tables are read only when somebody asks, over connections of their own: whoever looks neither slows
the engine nor waits with it for a region that doesn't answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from dynamirror.config.model import Mirror
from dynamirror.core.facts import Facts
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.look import look
from dynamirror.errors import DynamirrorError
from dynamirror.observe.judging import judged
from dynamirror.observe.series import Series
from dynamirror.observe.status import Status
from dynamirror.runtimes.identity import is_dead
from dynamirror.wiring import Wiring

LOOK_MS = 4_000
"""What was read from the tables is told for so long before they are read again."""

LOOK_S_MAX = 15.0
"""How long one look may take; then that the tables didn't answer is what is told."""

SAMPLE_S = 1.0


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """A mirror that could not be looked at."""

    mirror: str
    error: str
    hint: str


class Watch:
    """How the mirrors of a configuration stand, now and for the last minutes."""

    def __init__(self, wiring: Wiring, config: str = "CONFIG") -> None:
        """``wiring`` gives up on what doesn't answer; ``config``: the file's name."""
        self.wiring = wiring
        self.config = config
        self.series = Series()
        self.unseen: dict[str, Unseen] = {}
        self._facts: dict[str, Facts] = {}
        self._consumers: dict[str, Consumer] = {}
        self._looked_ms = 0
        self._looking: asyncio.Task[None] | None = None

    def attach(self, consumers: Sequence[Consumer]) -> None:
        """Take what runs the mirrors in this process, in the place of what ran them before."""
        self._consumers = {consumer.links.mirror.link: consumer for consumer in consumers}
        self._looked_ms = 0

    def forget(self) -> None:
        """Read the tables again at the next question: somebody has changed something."""
        self._looked_ms = 0

    def statuses(self) -> list[Status]:
        """Return how every mirror stands that was looked at; the engines' word is the newest."""
        known = [self._facts.get(mirror.link) for mirror in self.wiring.config.mirrors]
        return [judged(self._told(facts), self.config) for facts in known if facts is not None]

    async def seen(self) -> list[Status]:
        """Return how every mirror stands, having read the tables if that was a while ago."""
        if self.wiring.clock() - self._looked_ms > LOOK_MS and self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._looked)
        if self._looking is not None and not (self._facts or self.unseen):
            await asyncio.shield(self._looking)
        return self.statuses()

    async def run(self) -> None:
        """Take a sample every second, until cancelled."""
        try:
            await self.seen()
            while True:
                self.series.note(self.wiring.clock(), self.statuses())
                await asyncio.sleep(SAMPLE_S)
        finally:
            if self._looking is not None:
                self._looking.cancel()
                await asyncio.gather(self._looking, return_exceptions=True)

    def _told(self, facts: Facts) -> Facts:
        consumer = self._consumers.get(facts.link)
        report = consumer.report() if consumer is not None else None
        if consumer is None or report is None or report.state in ("starting", "stopped"):
            return msgspec.structs.replace(facts, at_ms=self.wiring.clock())
        parked = report.parked_keys if consumer.links.parking else facts.parked_keys
        return msgspec.structs.replace(
            facts,
            at_ms=report.at_ms,
            held_by=consumer.owner,
            report=report,
            parked_keys=parked,
        )

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.result()

    async def _look(self) -> None:
        await asyncio.gather(*(self._look_at(mirror) for mirror in self.wiring.config.mirrors))
        self._looked_ms = self.wiring.clock()

    async def _look_at(self, mirror: Mirror) -> None:
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                self._facts[mirror.link] = await facts_of(self.wiring, mirror)
            self.unseen.pop(mirror.link, None)
        except DynamirrorError as error:
            told = Unseen(mirror=mirror.title, error=str(error), hint=error.hint)
            self.unseen[mirror.link] = told
        except TimeoutError:
            why = f"no answer from {mirror.source.region} within {LOOK_S_MAX:.0f} s"
            hint = "Check the network, the region and endpoint_url."
            self.unseen[mirror.link] = Unseen(mirror=mirror.title, error=why, hint=hint)


async def status_of(wiring: Wiring, mirror: Mirror, config: str = "CONFIG") -> Status:
    """Look at a mirror once and judge it. Raises NotFoundError if its source is not there."""
    return judged(await facts_of(wiring, mirror), config)


async def facts_of(wiring: Wiring, mirror: Mirror) -> Facts:
    """Look at a mirror once. Raises NotFoundError if its source is not there."""
    return await look(
        mirror,
        wiring.source(mirror),
        wiring.checkpoints(mirror),
        wiring.links(mirror).parking_of(epoch=1),
        now_ms=wiring.clock(),
        is_dead=is_dead,
        backoff=wiring.backoff,
    )
