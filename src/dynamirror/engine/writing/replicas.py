"""A two-way mirror's targets: a record's own replica, each other one, and others as one.

The rules are ``core.two_way``'s; here their requests are sent. A refusal that may pass (a throttle,
a time-out) leaves what was done of a record done: only the rest is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dynamirror.core.mesh import Delete, Judgement, Put, Skip, Steps, Verdict
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Key, Wire
from dynamirror.engine.writing.steps import Part, may_pass
from dynamirror.engine.writing.targets import Squash, probe
from dynamirror.errors import UnfitError
from dynamirror.ports import Clock, DynamoDB


class Carried(StreamRecord, frozen=True):
    """A record whose own part is done, on its way to one other replica."""

    verdict: Put | Delete
    part: Part


class JudgeTarget:
    """A record's own replica: what the rules ask for there, and what they want carried on."""

    records_max = 1

    def __init__(self, rules: TwoWay, apis: Mapping[str, DynamoDB], clock: Clock) -> None:
        self.name = rules.here
        self.stale = 0
        self.squash: Squash | None = self._squashed
        self.skipped: dict[Skip, int] = dict.fromkeys(Skip, 0)
        self.verdicts: dict[Key, Put | Delete] = {}
        """Of records that are judged, until they are handed on."""
        self._rules = rules
        self._apis = apis
        self._clock = clock
        self._underway: dict[tuple[Key, int], Part] = {}

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        change = (record.key, record.sequence_number)
        if change not in self._underway:
            self._underway[change] = Part(self._rules.local(record, self._clock()))
        try:
            verdict: Verdict = await self._underway[change].carry_out(self._apis)
        except BaseException as error:
            if not may_pass(error):
                del self._underway[change]
            raise
        del self._underway[change]
        if isinstance(verdict, Skip):
            self.skipped[verdict] += 1
        else:
            self.verdicts[record.key] = verdict
        return ()

    async def probe(self, keys: Wire) -> None:
        await probe(self._apis[self.name], self._rules.table_of(self.name), keys)

    def _squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        try:
            return self._rules.squashed(first, second)
        except UnfitError:
            return None  # each is judged by itself, in its turn


class CarryTarget:
    """One other replica, as the target of what was judged."""

    records_max = 1

    def __init__(
        self, rules: TwoWay, apis: Mapping[str, DynamoDB], clock: Clock, there: str
    ) -> None:
        self.name = there
        self.stale = 0
        self.squash: Squash | None = self._squashed
        self._rules = rules
        self._apis = apis
        self._clock = clock

    def carried(self, record: StreamRecord, verdict: Put | Delete) -> Carried:
        """Return a judged record as this replica's."""
        return Carried(
            record.sequence_number,
            record.event_name,
            record.key,
            record.keys,
            record.new_image,
            record.old_image,
            record.created_at,
            record.by_ttl,
            verdict,
            Part(self._steps(verdict)),
        )

    def _steps(self, verdict: Put | Delete) -> Steps:
        yield from self._rules.remote(verdict, self.name, self._clock())  # as late as it is sent

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        if isinstance(record, Carried):
            await record.part.carry_out(self._apis)
        return ()

    async def probe(self, keys: Wire) -> None:
        await probe(self._apis[self.name], self._rules.table_of(self.name), keys)

    def _squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        if not isinstance(first, Carried) or not isinstance(second, Carried):
            return None
        both = self._rules.joined(first.verdict, second.verdict)
        return None if both is None else self.carried(second, both)


class _Underway(msgspec.Struct):
    """How far an item is carried: what is left of its own part, or of the others'."""

    judging: Part | None
    left: dict[str, Part] = {}


class MeshTarget:
    """Other replicas as one target, for what is here now: copies, and keys that were parked."""

    records_max = 1
    squash: Squash | None = None

    def __init__(
        self,
        rules: TwoWay,
        apis: Mapping[str, DynamoDB],
        clock: Clock,
        judge: Callable[[StreamRecord, int], Judgement],
        to: Sequence[str],
    ) -> None:
        """``judge``: what of the rules makes a verdict of what is here; ``to``: which replicas."""
        self.name = rules.here
        self.stale = 0
        self.skipped: dict[Skip, int] = dict.fromkeys(Skip, 0)
        self._rules = rules
        self._apis = apis
        self._clock = clock
        self._judge_by = judge
        self._to = to
        self._underway: dict[Key, _Underway] = {}

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        if record.key not in self._underway:
            now_ms = self._clock()
            # Of now, for what is kept of it must expire in its time.
            of_now = msgspec.structs.replace(record, created_at=now_ms / 1_000)
            self._underway[record.key] = _Underway(Part(self._judge_by(of_now, now_ms)))
        underway = self._underway[record.key]
        try:
            await self._judge(underway)
            await self._carry(underway)
        except BaseException as error:
            if not may_pass(error):
                del self._underway[record.key]
            raise
        del self._underway[record.key]
        return ()

    async def probe(self, keys: Wire) -> None:
        for name in self._to:
            await probe(self._apis[name], self._rules.table_of(name), keys)

    async def _judge(self, underway: _Underway) -> None:
        if underway.judging is None:
            return
        verdict: Verdict = await underway.judging.carry_out(self._apis)
        underway.judging = None
        if isinstance(verdict, Skip):
            self.skipped[verdict] += 1
            return
        now_ms = self._clock()
        underway.left = {name: Part(self._rules.remote(verdict, name, now_ms)) for name in self._to}

    async def _carry(self, underway: _Underway) -> None:
        """Serve the other replicas side by side; what is done for one stays done."""
        names = list(underway.left)
        parts = (underway.left[name].carry_out(self._apis) for name in names)
        ends = await asyncio.gather(*parts, return_exceptions=True)
        for name, end in zip(names, ends, strict=True):
            if not isinstance(end, BaseException):
                del underway.left[name]
        failed = [end for end in ends if isinstance(end, BaseException)]
        if failed:
            raise min(failed, key=may_pass)  # one that stays, if there is one
