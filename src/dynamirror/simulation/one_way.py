"""One simulated history of a one-way mirror: the whole shipped engine, under any guard and view.

Beside the engine run backfill, repair and redrive, each a process of its own; a request of any of
them is a point where anything else may happen: applications write, requests are throttled, lose
their answers or land late, processes are killed and start again, shards split, time passes. Some
items can't be at the target as they are; they are mended in the end, and redriven.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dynamirror.errors import BusyError, ServiceError, ThrottledError, TransientError
from dynamirror.simulation.chance import Ticket
from dynamirror.simulation.link import Link
from dynamirror.simulation.processes import Asked, Process, SteppedLoop
from dynamirror.simulation.profiles import OneWayProfile

WRITES_MAX = 40
KEYS = ("a1", "a2", "b1", "b2")
KINDS = ("public", "public", "private", "a#b")
"""The last can't be told from a template's own #."""

PAUSES_S = (0.3, 1.0, 5.0, 20.0)
"""The last is as long as an engine waits for an answer, and a pause or a lease nearly ends."""

QUIET_TURNS_MAX = 20_000
QUIET_S = 0.25
ROUNDS = 3
"""A redrive releases a key, and what waited behind it comes."""

ERRANDS = ("backfill", "repair", "redrive")


class OneWaySetting(msgspec.Struct, frozen=True):
    """What a history starts from; with its tickets it is the whole history."""

    profile: OneWayProfile
    view: str

    @property
    def told(self) -> str:
        """What of it is drawn beside the profile, for people."""
        return f"the target sees: {self.view}"


class OneWayWorld:
    """Runs one history."""

    def __init__(self, setting: OneWaySetting, *, talking: bool = False) -> None:
        self.setting = setting
        self.story: list[str] = []
        self.losses = (0, 0, 0)
        """There are no conflicts, and a target has no stream."""
        self.records_per_write = 0.0
        self.loop = SteppedLoop()
        self.link = Link(setting.profile.guard, setting.view, self.loop.now_ms)
        self._tell = self.story.append if talking else None
        self._running: dict[str, Process] = {}
        self._zombies: list[Asked] = []
        self._failures: list[str] = []
        self._writes = 0

    def run(self, numbers: Sequence[int]) -> list[str]:
        """Run all steps, let everything fall quiet, and return what checkers complain of."""
        try:
            for number in numbers:
                self._step(Ticket(number))
            return self._settle() or self.link.complaints()
        finally:
            for process in self._running.values():
                self._zombies += process.kill()
            for _ in range(3):  # what is left unwinds
                self.loop.turn(pass_s=60)
            self.loop.close()

    def _step(self, ticket: Ticket) -> None:
        """Let somebody act."""
        self._see_to("engine")
        who = ticket.below(16)
        if who < 3:  # noqa: PLR2004 - of 16
            self._write(ticket)
        elif who == 3:  # noqa: PLR2004
            self._trouble(ticket)
        elif who == 4:  # noqa: PLR2004
            self.loop.turn(pass_s=ticket.one(PAUSES_S))
        else:
            for _ in range(1 + ticket.below(4)):
                self._let_through(ticket, hostile=True)

    def _write(self, ticket: Ticket) -> None:
        """Let an application save or delete an item."""
        if self._writes >= WRITES_MAX:
            return
        self._writes += 1
        key = ticket.one(KEYS)
        if ticket.below(4) == 0:
            self._say(self.link.delete(key))
            return
        unfit = self.setting.profile.poison and ticket.below(6) == 0
        self._say(self.link.save(key, ticket.one(KINDS[: 4 if unfit else 3]), poison=unfit))

    def _trouble(self, ticket: Ticket) -> None:
        what = ticket.below(8)
        if what < 2:  # noqa: PLR2004 - of 8
            self._kill(ticket.one(sorted(self._running)), ticket)
        elif what < 6:  # noqa: PLR2004
            self._see_to(ticket.one(ERRANDS))
        elif what == 6:  # noqa: PLR2004
            self.link.split(roll=ticket.below(2) == 0)
        elif self._zombies:
            self._perform(self._zombies.pop(ticket.below(len(self._zombies))), "late")

    def _see_to(self, name: str) -> Process:
        """Start a process unless it runs."""
        process = self._running.get(name)
        if process is not None and not process.ended:
            return process
        if process is not None:
            self._bury(process)
        process = self._running[name] = self.link.process(name)
        self._say(f"{name} starts")
        process.start(self.loop)
        self.loop.turn()
        return process

    def _kill(self, name: str, ticket: Ticket) -> None:
        process = self._running[name]
        self._say(f"{name} is killed")
        self._leave(process.kill(), ticket.below(2))
        self._bury(process)
        self.loop.turn()

    def _bury(self, process: Process) -> None:
        """Forget a process that has ended, but for why, if it should not have."""
        self.link.dead.add(process.name)
        self._leave(process.given_up, lands=0)
        self._running = {name: one for name, one in self._running.items() if one is not process}
        if (failure := process.failure) is not None:
            self._failures.append(f"failed: {process.name}: {failure}")

    def _leave(self, asked: Sequence[Asked], lands: int) -> None:
        """Have requests that nobody waits for land now, later or never."""
        for number, one in enumerate(asked):
            if (number + lands) % 2:
                continue
            if self.setting.profile.late:
                self._zombies.append(one)
            else:
                self._perform(one, "answer lost")

    def _let_through(self, ticket: Ticket, *, hostile: bool) -> None:
        """Answer one request of those that wait."""
        for process in self._running.values():
            self._leave(process.given_up, ticket.below(2))
            process.given_up.clear()
        waiting = [
            (process, future)
            for process in self._running.values()
            for future in process.asked
            if not future.done()
        ]
        if not waiting:
            self.loop.turn(pass_s=QUIET_S)
            return
        process, future = ticket.one(waiting)
        asked = process.asked[future]
        fate = ticket.below(100) if hostile else 100
        if fate < 3:  # noqa: PLR2004 - of 100
            future.set_exception(ThrottledError("ThrottlingException", "seeded"))
        elif fate < 5:  # noqa: PLR2004
            future.set_exception(BusyError("TransactionInProgressException", "seeded"))
        elif fate < 10:  # noqa: PLR2004 - a time-out: it may land, now or later
            self._leave([asked], fate % 2)
            future.set_exception(TransientError("Timeout", "no answer"))
        else:
            answer = self._perform(asked, process.name)
            if isinstance(answer, bytes):
                future.set_result(answer)
            else:
                future.set_exception(answer)
        self.loop.turn()

    def _perform(self, asked: Asked, note: str) -> bytes | ServiceError:
        answer = self.link.perform(asked)
        if self._tell and self.link.writes_items(asked):
            refused = "" if isinstance(answer, bytes) else f", refused: {answer.code}"
            self._tell(f"{note}: {asked.operation} {asked.request.decode()}{refused}")
        return answer

    def _settle(self) -> list[str]:
        """Have all that waits land, every item mended and every parked key redriven."""
        for zombie in self._zombies:
            self._perform(zombie, "late")
        self._zombies.clear()
        for errand in ERRANDS:
            if errand in self._running and not self._to_end(self._running[errand]):
                return [f"stuck: {errand} still at work"]
        engine = self._see_to("engine")
        if engine.task is not None:
            engine.task.cancel()  # in order, as SIGTERM does
        for told in self.link.mend():
            self._say(told)
        for name in ("engine", *("drain", "redrive") * ROUNDS, "verify"):
            process = engine if name == "engine" else self._see_to(name)
            if not self._to_end(process):
                return [f"stuck: {name} still at work"]
        return self._failures

    def _to_end(self, process: Process) -> bool:
        """Let everything through until it has ended; tell whether it has."""
        for _ in range(QUIET_TURNS_MAX):
            if process.ended:
                self._bury(process)
                return True
            self._let_through(Ticket(0), hostile=False)
        return False

    def _say(self, told: str) -> None:
        if self._tell:
            self._tell(told)
