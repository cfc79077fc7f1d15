"""A consumer of one replica's stream as the scheduler sees it: one request per step.

It does what the engine does with the shipped rules: reads records in order, squashes what may be
squashed, judges each record once at its own replica, then writes to every other one at the same
time, and moves its checkpoint over what is done. It may die at any request, with the request still
on its way, and start again from its checkpoint; it may be handed the same records twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynamirror.core.mesh import Answer, Ask, Judgement, Skip, Steps, Verdict
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire, decode, key_of, opened
from dynamirror.simulation.applications import shown
from dynamirror.simulation.chance import Ticket
from dynamirror.simulation.replicas import JOURNAL, KEY, KEY_NAME, TABLE, Place

BATCH_MAX = 4
JUDGING = ""

Tell = Callable[[str], None] | None
"""Takes the story's lines; None where nobody listens, for most histories go untold."""


@dataclass(slots=True)
class Underway:
    """A record that is being applied: its parts, and the request that each of them waits for."""

    record: StreamRecord
    parts: dict[str, Judgement | Steps] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    verdict: Verdict | None = None


class Consumer:
    """The consumer of one replica's stream."""

    def __init__(
        self,
        make_rules: Callable[[], TwoWay],
        places: Mapping[str, Place],
        clock: Callable[[], int],
        tell: Tell,
    ) -> None:
        self.rules = make_rules()
        self.name = self.rules.here
        self._make_rules = make_rules
        self.sent = 0
        self.unseen: list[str] = []
        """Values that it removed and never heard of: an answer was lost, or it died over it."""
        self.zombies: list[Ask] = []
        self._places = places
        self._clock = clock
        self._tell = tell
        self._checkpoint = 0
        self._read = 0
        self._done = 0
        self._waiting: list[tuple[StreamRecord, int]] = []
        self._underway: Underway | None = None
        self._underway_end = 0

    @property
    def drained(self) -> bool:
        """Whether it has applied everything."""
        return (
            self._underway is None
            and not self._waiting
            and not self.zombies
            and self._read == len(self._places[self.name].records())
        )

    def oldest_s(self, now_s: float) -> float:
        """Return when the oldest record was written that it may still apply, in epoch seconds."""
        records = self._places[self.name].records()
        return records[self._checkpoint].created_at if self._checkpoint < len(records) else now_s

    def step(self, ticket: Ticket, *, hostile: bool) -> None:
        """Send one request, or read a batch if nothing is on its way."""
        if self._underway is None and not self._next(ticket):
            return
        underway = self._underway
        if underway is None or not self._prepared(underway):
            return
        part = ticket.one(list(underway.asks))
        ask = underway.asks[part]
        if hostile:
            fate = ticket.below(100)
            if fate < 4:  # noqa: PLR2004 - throttled: no effect
                return
            if fate < 8:  # noqa: PLR2004 - a time-out: it may land, now or later
                if fate % 2:
                    self._perform(ask, "(answer lost)")
                else:
                    self.zombies.append(ask)
                return
        self._answer(underway, part, self._perform(ask, ""))

    def haunt(self, ticket: Ticket) -> None:
        """Let a request land whose sender has long given it up."""
        if self.zombies:
            self._perform(self.zombies.pop(ticket.below(len(self.zombies))), "(late)")

    def save(self) -> None:
        """Move the checkpoint over what is done."""
        self._checkpoint = self._done

    def crash(self, ticket: Ticket) -> None:
        """Die, perhaps with requests on their way, and start again from the checkpoint."""
        if self._underway is not None:
            asks = list(self._underway.asks.values())
            self.unseen += [_journaled(ask) for ask in asks if ask.request["TableName"] == JOURNAL]
            self.zombies += [ask for ask in asks if ticket.below(2)]
        if self._tell:
            at = self._checkpoint + 1
            self._tell(f"{self.name}'s consumer dies and starts again at record {at}")
        self.rules = self._make_rules()
        self._underway = None
        self._waiting.clear()
        self._read = self._done = self._checkpoint

    def _next(self, ticket: Ticket) -> bool:
        if not self._waiting:
            fresh = self._places[self.name].records()[self._read :]
            fresh = fresh[: 1 + ticket.below(BATCH_MAX)]
            self._waiting = self._squashed(fresh)
            self._read += len(fresh)
        if not self._waiting:
            return False
        record, self._underway_end = self._waiting.pop(0)
        self._underway = Underway(record)
        return True

    def _squashed(self, records: list[StreamRecord]) -> list[tuple[StreamRecord, int]]:
        kept: list[tuple[StreamRecord, int]] = []
        for place, record in enumerate(records, self._read + 1):
            for at in range(len(kept) - 1, -1, -1):
                if kept[at][0].key == record.key:
                    both = self.rules.squashed(kept[at][0], record)
                    if both is not None and at == len(kept) - 1:
                        kept[at] = (both, place)
                    else:
                        kept.append((record, place))
                    break
            else:
                kept.append((record, place))
        return kept

    def _prepared(self, underway: Underway) -> bool:
        """Start what is to be started; return whether there is a request to send."""
        if underway.verdict is None and JUDGING not in underway.parts:
            self._start(underway, JUDGING)
        return self._underway is underway

    def _start(self, underway: Underway, part: str) -> None:
        now_ms = self._clock()
        if part == JUDGING:
            underway.parts[part] = self._judging(underway, now_ms)
        elif underway.verdict is not None and not isinstance(underway.verdict, Skip):
            underway.parts[part] = self.rules.remote(underway.verdict, part, now_ms)
        self._advance(underway, part, None)

    def _judging(self, underway: Underway, now_ms: int) -> Judgement:
        return self.rules.local(underway.record, now_ms)

    def _answer(self, underway: Underway, part: str, answer: Answer) -> None:
        self._advance(underway, part, answer)

    def _advance(self, underway: Underway, part: str, answer: Answer | None) -> None:
        steps = underway.parts[part]
        try:
            underway.asks[part] = next(steps) if answer is None else steps.send(answer)
        except StopIteration as end:
            underway.asks.pop(part, None)
            if part == JUDGING:
                self._judged(underway, end.value)
        if not underway.asks and self._underway is underway and underway.verdict is not None:
            self._underway = None
            self._done = self._underway_end

    def _judged(self, underway: Underway, verdict: Verdict) -> None:
        underway.verdict = verdict
        if self._tell:
            told = verdict.value if isinstance(verdict, Skip) else f"rank {verdict.rank}"
            images = " -> ".join(
                "nothing" if image is None else shown(opened(image))
                for image in (underway.record.old_image, underway.record.new_image)
            )
            self._tell(f"{self.name}'s consumer read {images}: {told}")
        if not isinstance(verdict, Skip):
            for other in self.rules.others:
                self._start(underway, other)

    def _perform(self, ask: Ask, note: str) -> Answer:
        self.sent += 1
        place = self._places[ask.replica]
        answer = place.perform(ask)
        if note and ask.operation == "DeleteItem" and answer.item and answer.held:
            self.unseen.append(answer.item["value"]["S"])
        if self._tell:
            self._tell(
                f"{self.name}'s consumer, {_shown(ask, answer, place)}{' ' * bool(note)}{note}"
            )
        return answer


class Copier(Consumer):
    """A backfill or a redrive of one replica: it carries what it finds there to all others, beside
    the consumer of its stream. What it found may have changed by then.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.wanted = 0

    @property
    def drained(self) -> bool:
        return self._underway is None and not self.zombies and not self.wanted

    def oldest_s(self, now_s: float) -> float:
        return now_s if self.drained else 0.0  # what it found is of no known age

    def save(self) -> None:
        """Do nothing: it keeps no position, but starts from the item."""

    def crash(self, ticket: Ticket) -> None:
        super().crash(ticket)
        self.wanted += 1

    def _next(self, ticket: Ticket) -> bool:
        del ticket
        if not self.wanted:
            return False
        self.wanted -= 1
        key: Wire = {KEY: {"S": KEY_NAME}}
        item = self._places[self.name].item(KEY_NAME)
        image = None if item is None else dict(item)
        self._underway = Underway(
            StreamRecord(0, "INSERT", key_of(key), key, image, None, 0.0, by_ttl=False)
        )
        return True

    def _judging(self, underway: Underway, now_ms: int) -> Judgement:
        return self.rules.resync(underway.record, now_ms)


def _shown(ask: Ask, answer: Answer, place: Place) -> str:
    refused = "" if answer.held else ", refused"
    table = ask.request["TableName"]
    if table == TABLE:
        items = ", ".join(shown(item) for item in place.table.contents()) or "nothing"
        return f"{ask.operation} at {ask.replica}{refused}: {items} there"
    if table == JOURNAL:
        return f"journals {_journaled(ask)} at {ask.replica}"
    return f"{ask.operation} of the ledger at {ask.replica}{refused}"


def _journaled(ask: Ask) -> str:
    loser = decode(ask.request["Item"]["images"]["S"].encode())["loser"]
    value: str = loser["value"]["S"]
    return value
