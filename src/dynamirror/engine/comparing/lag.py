"""How far a mirror's engines say they are behind: for so long a difference may be in flight."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dynamirror.core.values import decode
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.lease import Lease
from dynamirror.errors import NotFoundError
from dynamirror.ports import Clock

log = logging.getLogger("dynamirror")

BEHIND_MS = 5_000
"""A lag that is worth telling of."""

TELL_MS = 30_000
"""While somebody waits for a link, we say so this often."""


class Lag:
    """The lag of the engines that matter: a source's, and those of other replicas."""

    def __init__(self, engines: Sequence[tuple[Checkpoints, Lease]], clock: Clock) -> None:
        self._engines = engines
        self._clock = clock
        self._told_ms = clock()

    async def ms(self) -> int:
        """Return how far a running engine says it is behind; 0 where none runs."""
        lags = [(0, "", "")]
        for checkpoints, mine in self._engines:
            try:
                lease = (await checkpoints.load(positions=False)).lease
            except NotFoundError:
                continue  # no engine of ours: somebody else mirrors these tables
            if lease is not None and lease["report"] and not mine.is_free(lease):
                report = decode(lease["report"].encode())
                since_ms = max(0, self._clock() - int(report.get("at_ms", 0)))
                lag_ms = int(report.get("lag_ms", 0)) + since_ms
                lags.append((lag_ms, str(report.get("state")), checkpoints.link))
        lag_ms, state, link = max(lags)
        self._tell_why(lag_ms, state, link)
        return lag_ms

    def _tell_why(self, lag_ms: int, state: str, link: str) -> None:
        """Say now and then for what we wait."""
        now_ms = self._clock()
        if lag_ms > BEHIND_MS and now_ms - self._told_ms >= TELL_MS:
            self._told_ms = now_ms
            why = "waiting for %s, which is %s and %d s behind: what is on its way is no drift"
            log.warning(why, link, state, lag_ms // 1_000)
