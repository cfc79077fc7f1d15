"""A replica leaves a two-way mirror: what it still has to give is given, then nobody serves it.

Its tables stay as they are. When it left is written down beside every other replica, so that who
brings it back knows for how long it was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from dynamirror.core.values import decode
from dynamirror.engine.members.roster import MEMBER_ROW, Member, left_of, member_of
from dynamirror.engine.members.sites import Site
from dynamirror.engine.stream.checkpoints import TARGETS_ROW
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.hold import Hold
from dynamirror.errors import DynamirrorError, RosterError
from dynamirror.ports import Clock

TWO = 2
"""Replicas that a mirror must keep."""

DRAINED_S = 60.0
"""How long an engine that reads the replica's stream may take to come to its end."""

LOOK_S = 1.0


class BehindError(DynamirrorError):
    """What was written at the leaving replica has not reached the others."""

    hint = "See `dynamirror status CONFIG`; take writers off the replica, then repeat this."


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for a replica to leave."""

    told: bool
    """Whether the replica itself knows that it left."""
    serving: list[str]
    """The replicas whose consumers still serve it."""

    @property
    def left(self) -> bool:
        """Whether nothing is left to do."""
        return self.told and not self.serving


class Leaving:
    """Has one replica leave the others."""

    def __init__(self, sites: Sequence[Site], name: str, *, clock: Clock) -> None:
        """``sites``: all of the mirror's. Raises RosterError where two would not remain."""
        self._going = next(site for site in sites if site.name == name)
        self._others = [site for site in sites if site.name != name]
        self._clock = clock
        if len(self._others) < TWO:
            raise RosterError(
                f"{self._going.side.name} has two replicas: with one gone there is no mirror left"
            )

    async def look(self, *, abandon: bool = False) -> Leave:
        """Return what is to be done. ``abandon``: the replica itself is not asked."""
        known = None if abandon else await self._going.known()
        told = known is None or member_of(known).get("state") == Member.LEFT
        serving = []
        for site in self._others:
            there = await site.known()
            if self._going.name not in left_of(there):
                serving.append(site.name)
        return Leave(told=told, serving=serving)

    async def run(
        self, consumer: Consumer | None, leave: Leave, on_step: Callable[[str], None]
    ) -> None:
        """Have it leave; ``consumer`` brings to the others what they do not have yet, where no
        engine does. None: the replica is not asked for anything.

        Raises BehindError where that engine does not come to an end, HeldError where one of the
        others' does not pause.
        """
        name = self._going.name
        if consumer is not None and not leave.told:
            on_step(f"bringing to the others what was written at {name}")
            await self._drain(consumer)
        if leave.serving:
            on_step(f"telling the others' engines that {name} leaves")
            await asyncio.gather(*(self._tell(site) for site in self._others))
        if not leave.told:
            await self._going.checkpoints.put(
                MEMBER_ROW, state=Member.LEFT.value, at_ms=self._clock()
            )

    async def _drain(self, consumer: Consumer) -> None:
        began_ms = self._clock()
        while True:
            lease = (await self._going.known()).lease
            if lease is None or self._going.lease.is_free(lease):
                await consumer.run(once=True)
                return
            report = decode(lease["report"].encode()) if lease["report"] else {}
            if report.get("at_ms", 0) > began_ms and not report["lag_ms"]:
                return
            if self._clock() > began_ms + DRAINED_S * 1_000:
                raise BehindError(
                    f"{lease['owner']} has not come to the end of {self._going.side.title}'s"
                    f" stream in {DRAINED_S:.0f} s"
                )
            await asyncio.sleep(LOOK_S)

    async def _tell(self, site: Site) -> None:
        known = await site.known()
        left = left_of(known)
        if self._going.name in left:
            return
        gone = {name: {"N": str(at)} for name, at in left.items()}
        gone[self._going.name] = {"N": str(self._clock())}
        remain = [one.name for one in self._others]
        async with Hold(site.checkpoints, site.lease, self._clock):
            await site.checkpoints.put(
                TARGETS_ROW,
                names=[name for name in remain if name != site.name],
                replicas=remain,
                left=gone,
            )
