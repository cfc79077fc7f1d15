"""How the mirrors of a configuration stand, told from their tables alone."""

from __future__ import annotations

from dynamirror.config.model import Mirror
from dynamirror.engine.look import look
from dynamirror.observe.status import Status, judged
from dynamirror.runtimes.identity import is_dead
from dynamirror.wiring import Wiring


async def status_of(wiring: Wiring, mirror: Mirror, config: str = "CONFIG") -> Status:
    """Look at a mirror and judge it; ``config``: the file's name, for what to type.

    Raises NotFoundError if its source is not there.
    """
    facts = await look(
        mirror,
        wiring.source(mirror),
        wiring.checkpoints(mirror),
        wiring.links(mirror).parking_of(epoch=1),
        now_ms=wiring.clock(),
        is_dead=is_dead,
        backoff=wiring.backoff,
    )
    return judged(facts, config)
