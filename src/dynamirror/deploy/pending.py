"""Whether a mirror's table must be copied before, or beside, its stream is followed."""

from __future__ import annotations

from dynamirror.config.model import Mirror
from dynamirror.engine.stream.checkpoints import Known
from dynamirror.engine.stream.history import oldest_ms
from dynamirror.engine.tables.furniture import World
from dynamirror.engine.tables.needs import spot
from dynamirror.errors import HeldError
from dynamirror.runtimes.process import lease_of
from dynamirror.wiring import Wiring

QUIET_MS_MAX = 20 * 60 * 60 * 1_000
"""So long a stream may be followed by nobody: it keeps changes for 24 hours, and begins anew with
the oldest that it has."""


async def require_unread(wiring: Wiring, mirror: Mirror, world: World) -> None:
    """Raise HeldError where an engine reads a mirror's stream: a function must not, beside it."""
    if world[spot(mirror.source, mirror.checkpoints)].table is None:
        return
    known = await wiring.checkpoints(mirror).load(positions=False)
    if known.lease is not None and not lease_of(wiring, mirror).is_free(known.lease):
        name = known.lease["owner"].partition(" (")[0]
        raise HeldError(f"the stream of {mirror.title} is read by {name}")


async def is_pending(wiring: Wiring, mirror: Mirror, world: World, *, enabled: bool) -> bool:
    """Tell whether a mirror's table is to be copied: it never was, a target is new, history was
    lost, or nobody has followed the stream for so long that it may have been.
    """
    if world[spot(mirror.source, mirror.checkpoints)].table is None:
        return True
    source = world[spot(mirror.source)].table
    known = await wiring.checkpoints(mirror).load()
    missing = {place.name for place in mirror.targets} - set(known.targets or ())
    recreated = bool(known.streams) and (source is None or known.streams[-1] != source.stream)
    if missing or known.lost is not None or recreated:
        return True
    return not enabled and wiring.clock() - _whole_until_ms(known) > QUIET_MS_MAX


def _whole_until_ms(known: Known) -> int:
    """Return until when the targets surely have all there was: up to that the stream may be
    trimmed. A backfill has all until it began; an engine's positions tell what it has read.
    """
    row = known.backfill or {}
    began = [int(entry.split("@")[1]) for entry in row.get("shares", ())]
    copied_ms = min(began, default=0) if "finished_ms" in row else 0
    return max(copied_ms, oldest_ms(known, None) or 0)
