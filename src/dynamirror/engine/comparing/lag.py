"""How far a mirror's engines say they are behind: for so long a difference may be in flight."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from dynamirror.core.values import decode
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.lease import LEASE_S, Lease
from dynamirror.errors import NotFoundError
from dynamirror.ports import Clock

log = logging.getLogger("dynamirror")

BEHIND_MS = 5_000
"""A lag that is worth telling of."""

UNKNOWN_MS = 24 * 3_600 * 1_000
"""What a stream keeps: an engine that hasn't reported yet may have so much to do."""

RESTARTED_MS = 60_000
"""An engine that died, or ended, is mostly started again within so long of its last report and goes
on from where it stood: what it had not brought meanwhile is no drift."""

TELL_MS = 30_000
"""While somebody waits for a link, we say so this often."""


class Lag:
    """The lag of the engines that matter: a source's, and those of other replicas."""

    def __init__(self, engines: Sequence[tuple[Checkpoints, Lease]], clock: Clock) -> None:
        self._engines = engines
        self._clock = clock
        self._told_ms = clock()
        self._last: dict[str, dict[str, Any]] = {}
        """By link, the lease that an engine was last seen to hold."""

    async def ms(self) -> int:
        """Return how far a running engine says it is behind; 0 where none runs."""
        lags = [(0, "", "")]
        for checkpoints, mine in self._engines:
            try:
                lease = (await checkpoints.load(positions=False)).lease
            except NotFoundError:
                continue  # no engine of ours: somebody else mirrors these tables
            if lease is None:  # given back: by one that is being restarted, maybe
                lease = self._last.get(checkpoints.link)
            if lease is None or self._is_gone(lease, mine):
                continue
            self._last[checkpoints.link] = lease
            if not lease["report"]:  # it has just begun: it may be behind by anything
                lags.append((UNKNOWN_MS, "starting", checkpoints.link))
                continue
            report = decode(lease["report"].encode())
            since_ms = max(0, self._clock() - int(report.get("at_ms", 0)))
            lag_ms = int(report.get("lag_ms", 0)) + since_ms
            lags.append((lag_ms, str(report.get("state")), checkpoints.link))
        lag_ms, state, link = max(lags)
        self._tell_why(lag_ms, state, link)
        return lag_ms

    def _is_gone(self, lease: dict[str, Any], mine: Lease) -> bool:
        """Tell whether nobody reads the stream, nor is likely to take over from who died."""
        if not mine.is_free(lease):
            return False
        since_ms: float = self._clock() - (lease["until_ms"] - LEASE_S * 1_000)
        return bool(lease["owner"] == mine.owner or since_ms > RESTARTED_MS)

    def _tell_why(self, lag_ms: int, state: str, link: str) -> None:
        """Say now and then for what we wait."""
        now_ms = self._clock()
        if lag_ms > BEHIND_MS and now_ms - self._told_ms >= TELL_MS:
            self._told_ms = now_ms
            why = "waiting for %s, which is %s and %d s behind: what is on its way is no drift"
            log.warning(why, link, state, lag_ms // 1_000)
