"""A consumer of one replica's stream as the scheduler sees it: one request per step.

It does what the engine does with the shipped rules. Records are read in order, squashed where they
may be, and judged one after the other at their own replica; each verdict then goes to every other
replica, in a line of its own, where it may be joined with one that waits there. The checkpoint
moves over what is done everywhere. It may die at any request, with the request still on its way,
and start again from its checkpoint; and it may be handed the same records twice.

A replica that is away has its changes parked, and is brought up to date when it is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from dynamirror.core.mesh import Answer, Ask, Judgement, Skip, Verdict
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import decode, opened
from dynamirror.simulation.applications import shown
from dynamirror.simulation.chance import Ticket
from dynamirror.simulation.legs import Carried, Leg, Line, Progress
from dynamirror.simulation.replicas import JOURNAL, TABLE, Place

BATCH_MAX = 4

Tell = Callable[[str], None] | None
"""Takes the story's lines; None where nobody listens, for most histories go untold."""


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
        self.legs = [Leg(name, self) for name in self.rules.others]
        self._places = places
        self.clock = clock
        self._tell = tell
        self._checkpoint = 0
        self._read = 0
        self._done = 0
        self._waiting: list[tuple[StreamRecord, Progress]] = []
        self._underway: deque[Progress] = deque()
        self._judging: Line | None = None

    @property
    def drained(self) -> bool:
        """Whether it has applied everything."""
        return self._idle and self._read == len(self._places[self.name].records())

    @property
    def _idle(self) -> bool:
        if self._judging is not None or self._waiting or self.zombies:
            return False
        return all(leg.idle for leg in self.legs)

    def oldest_s(self, now_s: float) -> float:
        """Return when the oldest record was written that it may still apply, in epoch seconds."""
        records = self._places[self.name].records()
        return records[self._checkpoint].created_at if self._checkpoint < len(records) else now_s

    def step(self, ticket: Ticket, *, hostile: bool) -> None:
        """Send one request, of those that wait for an answer."""
        if self._judging is None:
            self._next(ticket)
        for leg in self.legs:
            leg.set_out()
        lines = [line for line in self._lines() if line.ask is not None]
        if not lines:
            return
        line = ticket.one(lines)
        ask = line.ask
        if ask is None:
            return
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
        line.advance(self._perform(ask, ""))

    def haunt(self, ticket: Ticket) -> None:
        """Let a request land whose sender has long given it up."""
        if self.zombies:
            self._perform(self.zombies.pop(ticket.below(len(self.zombies))), "(late)")

    def save(self) -> None:
        """Move the checkpoint over what is done."""
        self._checkpoint = self._done

    def crash(self, ticket: Ticket) -> None:
        """Die, perhaps with requests on their way, and start again from the checkpoint."""
        for line in self._lines():
            self._give_up(line, ticket)
        if self._tell:
            at = self._checkpoint + 1
            self._tell(f"{self.name}'s consumer dies and starts again at record {at}")
        self.rules = self._make_rules()
        self._judging = None
        self._waiting.clear()
        self._underway.clear()
        for leg in self.legs:
            leg.forget()
        self._read = self._done = self._checkpoint

    def leave_out(self, ticket: Ticket) -> None:
        """Take a replica for away, and park what is on its way there; or for back again."""
        leg = ticket.one(self.legs)
        if leg.away:
            leg.away = False
        else:
            for line in leg.lines():
                self._give_up(line, ticket)
            leg.leave()
        if self._tell:
            self._tell(f"{leg.name} is {'away' if leg.away else 'back'} for {self.name}'s consumer")

    def recover(self) -> None:
        """Find that every replica is back."""
        for leg in self.legs:
            leg.away = False

    def _lines(self) -> Iterator[Line]:
        if self._judging is not None:
            yield self._judging
        for leg in self.legs:
            yield from leg.lines()

    def _give_up(self, line: Line, ticket: Ticket) -> None:
        ask = line.ask
        if ask is None:
            return
        if ask.request["TableName"] == JOURNAL:
            self.unseen.append(_journaled(ask))
        if ticket.below(2):
            self.zombies.append(ask)

    def _next(self, ticket: Ticket) -> None:
        """Judge the next record, if there is one."""
        if not self._waiting:
            fresh = self._places[self.name].records()[self._read :]
            fresh = fresh[: 1 + ticket.below(BATCH_MAX)]
            self._squash(fresh)
            self._read += len(fresh)
        if self._waiting:
            self._judge(*self._waiting.pop(0))

    def _squash(self, records: list[StreamRecord]) -> None:
        for place, record in enumerate(records, self._read + 1):
            last = self._waiting[-1] if self._waiting else None
            both = self.rules.squashed(last[0], record) if last else None
            if both is not None and last is not None:
                last[1].end = place
                self._waiting[-1] = (both, last[1])
            else:
                self._waiting.append((record, Progress(place)))

    def _judge(self, record: StreamRecord, progress: Progress) -> None:
        def judged(verdict: Verdict) -> None:
            self._judging = None
            self._judged(record, progress, verdict)

        self._underway.append(progress)
        self._judging = Line(self._judgement(record), judged)
        self._judging.advance()

    def _judgement(self, record: StreamRecord) -> Judgement:
        return self.rules.local(record, self.clock())

    def _judged(self, record: StreamRecord, progress: Progress, verdict: Verdict) -> None:
        if self._tell:
            told = verdict.value if isinstance(verdict, Skip) else f"rank {verdict.rank}"
            images = " -> ".join(
                "nothing" if image is None else shown(opened(image))
                for image in (record.old_image, record.new_image)
            )
            self._tell(f"{self.name}'s consumer read {images}: {told}")
        if not isinstance(verdict, Skip):
            for leg in self.legs:
                progress.open += 1
                leg.take(Carried(verdict, [progress]))
        self.settle([progress])

    def settle(self, of: list[Progress]) -> None:
        """Count one thing less to be done of these, and move over what is done."""
        for progress in of:
            progress.open -= 1
        while self._underway and not self._underway[0].open:
            self._done = self._underway.popleft().end

    def _perform(self, ask: Ask, note: str) -> Answer:
        self.sent += 1
        place = self._places[ask.replica]
        answer = place.perform(ask)
        if note and ask.operation == "DeleteItem" and answer.item and answer.held:
            self.unseen.append(answer.item["value"]["S"])
        if self._tell:
            told = _shown(ask, answer, place)
            self._tell(f"{self.name}'s consumer, {told}{' ' * bool(note)}{note}")
        return answer


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
