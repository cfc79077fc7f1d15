"""One simulated history: replicas, consumers, applications, and the order in which they act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from dynamirror.core.rank import Peers
from dynamirror.core.two_way import TwoWay
from dynamirror.simulation import checkers
from dynamirror.simulation.applications import Applications
from dynamirror.simulation.chance import Ticket
from dynamirror.simulation.consumers import Consumer
from dynamirror.simulation.copiers import Copier
from dynamirror.simulation.profiles import Profile
from dynamirror.simulation.repairs import Repairs
from dynamirror.simulation.replicas import KEY_NAME, LEDGER, NAMES, Place, mesh_of

START_MS = 1_700_000_000_000
TICK_MS = 40
"""Time passes faster than versions are used up, one a write, so that clocks make versions grow."""

WRITES_MAX = 14
QUIET_STEPS_MAX = 4_000
"""Requests in which everything must have fallen quiet."""

DAY_S = 86_400
TOMBSTONE_DAYS = 7
RECORD_DAYS_MAX = 3
"""How old a record may be when it is applied: a day in the stream, and parked for two."""

Rules = Callable[..., TwoWay]
Actor = Consumer | Repairs


class Setting(msgspec.Struct, frozen=True):
    """What a history starts from; with its tickets it is the whole history."""

    profile: Profile
    replicas: int
    lazy: tuple[int, ...] = ()
    """In how many steps out of eight each consumer does nothing."""

    @property
    def told(self) -> str:
        """What of it is drawn beside the profile, for people."""
        return f"{self.replicas} replicas"


class World:
    """Runs one history."""

    def __init__(self, setting: Setting, *, rules: Rules = TwoWay, talking: bool = False) -> None:
        self.setting = setting
        self.now_ms = START_MS
        self.story: list[str] = []
        listener = self.story.append if talking else None
        self._tell = listener
        profile = setting.profile
        mesh = mesh_of(setting.replicas, bump=profile.bump)
        names = NAMES[: setting.replicas]
        self.places = {name: Place(name, lambda: self.now_ms) for name in names}
        self.applications = Applications(Peers(names))
        given = (self.places, lambda: self.now_ms, listener)
        self.consumers = [Consumer(partial(rules, mesh, name), *given) for name in names]
        self.errands: list[Copier | Repairs] = []
        """What is done now and then beside the consumers."""
        if profile.copying:
            self.errands += [Copier(partial(rules, mesh, name), *given) for name in names]
        if profile.repairing:
            self.errands.append(Repairs(*given))
        self.actors: list[Actor] = [*self.consumers, *self.errands]
        self._home = names[0]
        self._cut: str | None = None
        self._skew = {name: place * profile.skew_ms for place, name in enumerate(names)}
        self.quiet_steps = 0

    def run(self, numbers: Sequence[int]) -> list[str]:
        """Run all steps, let everything fall quiet, and return what checkers complain of."""
        for number in numbers:
            self.step(Ticket(number))
        return self.settle() or checkers.complaints(self)

    @property
    def losses(self) -> tuple[int, int, int]:
        """How many saves are lost, missed and false; see ``checkers.Ending``."""
        end = checkers.ending(self)
        return len(end.lost), len(end.missed), len(end.false)

    @property
    def records_per_write(self) -> float:
        """How many records each replica's stream has for one of the applications' writes."""
        return checkers.records_per_write(self)

    def step(self, ticket: Ticket) -> None:
        """Let somebody act."""
        self.now_ms += TICK_MS
        who = ticket.below(16)
        if who < 2:  # noqa: PLR2004 - of 16
            self._write(ticket)
        elif who == 2:  # noqa: PLR2004
            self._trouble(ticket)
        else:
            consumer = self.actors[ticket.below(len(self.actors))]
            if self._cut == consumer.name:
                return
            lazy = self.setting.lazy
            place = self.actors.index(consumer)
            if lazy and ticket.below(8) < lazy[place % len(lazy)]:
                return
            consumer.step(ticket, hostile=True)

    def settle(self) -> list[str]:
        """Let consumers work until nothing is left to do."""
        self._cut = None
        for consumer in self.consumers:
            consumer.recover()
        steps = 0
        while not all(actor.drained for actor in self.actors):
            for actor in self.actors:
                self.now_ms += 1
                actor.haunt(Ticket(0))
                actor.step(Ticket(0), hostile=False)
                steps += 1
            if steps > QUIET_STEPS_MAX:
                return [f"loop: {QUIET_STEPS_MAX} requests after the last write, still at work"]
        self.quiet_steps += steps
        return []

    def _write(self, ticket: Ticket) -> None:
        if len(self.applications.writes) >= WRITES_MAX:
            return
        profile = self.setting.profile
        place = self.places[self._writer(ticket)]
        if profile.deletes and ticket.below(5) == 0:
            expired = profile.expiring and ticket.below(2) == 0
            told = self.applications.delete(place, KEY_NAME, expired=expired)
        else:
            how = ticket.one(profile.writes)
            now_ms = self.now_ms + self._skew[place.name]
            told = self.applications.save(place, KEY_NAME, how, now_ms)
        if told and self._tell:
            self._tell(told)

    def _writer(self, ticket: Ticket) -> str:
        names = list(self.places)
        if self.setting.profile.concurrent:
            return ticket.one(names)
        if ticket.below(3) == 0 and all(consumer.drained for consumer in self.actors):
            # Quiet means that positions are saved too, as they are every second.
            if self.setting.profile.saved:
                for consumer in self.actors:
                    consumer.save()
            self._home = ticket.one(names)
        return self._home

    def _trouble(self, ticket: Ticket) -> None:
        if self.setting.profile.ageing and ticket.below(2) == 0:
            self._age(ticket)
            return
        if self.setting.profile.away and ticket.below(3) == 0:
            ticket.one(self.consumers).leave_out(ticket)
            return
        if self.errands and ticket.below(4) == 0:
            ticket.one(self.errands).wanted += 1
            return
        consumer = ticket.one(self.actors)
        what = ticket.below(8)
        if what < 2:  # noqa: PLR2004 - of 8
            consumer.crash(ticket)
        elif what == 2:  # noqa: PLR2004
            self._cut = None if self._cut else consumer.name
        elif what < 5:  # noqa: PLR2004
            consumer.haunt(ticket)
        else:
            consumer.save()

    def _age(self, ticket: Ticket) -> None:
        """Let days go by: more than tombstones live if all is quiet, else no more than records."""
        if any(consumer.zombies for consumer in self.actors):
            return  # no request takes days
        if all(consumer.drained for consumer in self.actors):
            for consumer in self.actors:
                consumer.save()
        oldest_s = min(consumer.oldest_s(self.now_ms / 1_000) for consumer in self.actors)
        if oldest_s + RECORD_DAYS_MAX * DAY_S > self.now_ms / 1_000 + DAY_S:
            quiet = oldest_s >= self.now_ms / 1_000
            self.now_ms += (1 + ticket.below(2 * TOMBSTONE_DAYS if quiet else 1)) * DAY_S * 1_000
            if ticket.below(2):
                for place in self.places.values():
                    place.db.table(LEDGER).expire(self.now_ms)
            if self._tell:
                self._tell("days go by")
