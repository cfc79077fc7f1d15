"""Whether a mirror's tables are there: seen before something is tried at one of them for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from dynamirror.config.model import Mirror, Place
from dynamirror.engine.patience import UnansweredError, see
from dynamirror.errors import ServiceError
from dynamirror.wiring import Wiring

log = logging.getLogger("dynamirror")

MET_S = 10.0
"""How long a table may take to tell whether a mirror has met a place."""


async def see_all(wiring: Wiring, mirror: Mirror) -> None:
    """See that every place of a mirror answers and has its table; see ``patience.see``."""
    for place in (mirror.source, *mirror.targets):
        await see(wiring.api(place, mirror.transport), place, wiring.backoff)


async def see_source(wiring: Wiring, mirror: Mirror) -> dict[str, UnansweredError]:
    """See that a mirror's source is there; return which targets don't answer, by their names."""
    await see(wiring.api(mirror.source, mirror.transport), mirror.source, wiring.backoff)
    away: dict[str, UnansweredError] = {}
    for place in mirror.targets:
        try:
            await see(wiring.api(place, mirror.transport), place, wiring.backoff)
        except UnansweredError as error:
            away[place.name] = error
    return away


async def see_running(wiring: Wiring, mirror: Mirror) -> None:
    """See that all is there before a mirror runs, but for places that it has met and that are away:
    whoever is there must not wait for them.
    """
    for place in (mirror.source, *mirror.targets):
        try:
            await see(wiring.api(place, mirror.transport), place, wiring.backoff)
        except UnansweredError as error:
            if not mirror.backlog_seconds or not await _has_met(wiring, mirror, place):
                raise
            told = "mirror %s: %s is away, and not waited for: %s"
            log.warning(told, mirror.title, place.name, error)


async def _has_met(wiring: Wiring, mirror: Mirror, place: Place) -> bool:
    """Tell whether a mirror has run with a place as its target."""
    for side in wiring.config.mirrors:
        if side.name == mirror.name and side.source.name != place.name:
            with contextlib.suppress(TimeoutError, ServiceError):
                async with asyncio.timeout(MET_S):
                    known = await wiring.checkpoints(side).load(positions=False)
                    if place.name in (known.targets or ()):
                        return True
    return False
