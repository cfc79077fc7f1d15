"""A backfill or a resync beside the consumers, as the scheduler sees it: one request per step."""

from __future__ import annotations

from typing import Any

from dynamirror.core.mesh import Judgement
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import key_of
from dynamirror.simulation.chance import Ticket
from dynamirror.simulation.consumers import Consumer
from dynamirror.simulation.legs import KEYS, Progress
from dynamirror.simulation.replicas import KEY_NAME


class Copier(Consumer):
    """A backfill or a redrive of one replica: it carries what it finds there to all others, beside
    the consumer of its stream. What it found may have changed by then.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.wanted = 0

    @property
    def drained(self) -> bool:
        return self._idle and not self.wanted

    def oldest_s(self, now_s: float) -> float:
        return now_s if self.drained else 0.0  # what it found is of no known age

    def save(self) -> None:
        """Do nothing: it keeps no position, but starts from the item."""

    def crash(self, ticket: Ticket) -> None:
        super().crash(ticket)
        self.wanted += 1

    def _next(self, ticket: Ticket) -> None:
        del ticket
        if not self.wanted or not all(leg.idle for leg in self.legs):
            return
        self.wanted -= 1
        item = self._places[self.name].item(KEY_NAME)
        image = None if item is None else dict(item)
        record = StreamRecord(0, "INSERT", key_of(KEYS), KEYS, image, None, 0.0, by_ttl=False)
        self._judge(record, Progress(0))

    def _judgement(self, record: StreamRecord) -> Judgement:
        return self.rules.resync(record, self.clock())
