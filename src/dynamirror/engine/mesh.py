"""The writing side of one replica's consumer in a two-way mirror: to its own ledger, then to all.

The rules are ``core.two_way``'s; here their requests are sent. A record's own part is carried out
once, then every other replica's at the same time. A refusal that may pass (a throttle, a time-out)
leaves what was done for other replicas done: only the rest is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from dynamirror.config.model import Place, Side, Unversioned
from dynamirror.core.mesh import Answer, Ask, Mesh, Replica, Skip, Verdict
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Key, Wire, decode, encode
from dynamirror.engine.apply import Applier
from dynamirror.engine.checkpoints import Checkpoints
from dynamirror.engine.links import Links
from dynamirror.engine.reported import fill, rules_of
from dynamirror.engine.retry import Backoff
from dynamirror.engine.targets import Squash, Target
from dynamirror.errors import ConditionFailedError, ServiceError, UnfitError
from dynamirror.ports import Clock, DynamoDB

if TYPE_CHECKING:
    from dynamirror.engine.views import TargetViews


def mesh_of(side: Side) -> Mesh:
    """Return what the rules need to know of a mirror."""
    replicas = [
        Replica(place.name, place.table, side.ledger_of(place), side.journal_of(place))
        for place in side.replicas
    ]
    return Mesh(
        side.name,
        tuple(replicas),
        side.version_attribute,
        side.stamp_attribute,
        side.unversioned is Unversioned.BUMP,
        side.tombstone_days,
        side.journal_days,
    )


class _Part:
    """The steps of a record at one place. What may pass leaves it where it was, to go on later."""

    __slots__ = ("_answer", "_ask", "_steps")

    def __init__(self, steps: Generator[Ask, Answer, Any]) -> None:
        self._steps = steps
        self._ask: Ask | None = None
        self._answer: Answer | None = None

    async def carry_out(self, apis: Mapping[str, DynamoDB]) -> Any:
        """Send its requests until it ends, and return what it returns."""
        try:
            while True:
                if self._ask is None:
                    answer, self._answer = self._answer, None
                    self._ask = next(self._steps) if answer is None else self._steps.send(answer)
                self._answer = await answered(apis, self._ask)
                self._ask = None
        except StopIteration as end:
            return end.value


class _Underway(msgspec.Struct):
    """How far a record is applied: what is left of its own part, or of the others'."""

    judging: _Part | None
    left: dict[str, _Part] = {}


class MeshTarget:
    """All other replicas of one, as one target: a record at a time is carried to each."""

    records_max = 1

    def __init__(
        self, rules: TwoWay, apis: Mapping[str, DynamoDB], clock: Clock, *, resync: bool = False
    ) -> None:
        """``resync``: records are not changes, but what is here now, to be carried to all."""
        self.name = rules.here
        self.stale = 0
        self.skipped: dict[Skip, int] = dict.fromkeys(Skip, 0)
        self.squash: Squash | None = self._squashed
        self._rules = rules
        self._apis = apis
        self._clock = clock
        self._resync = resync
        self._underway: dict[tuple[Key, int], _Underway] = {}

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        (record,) = records
        change = (record.key, record.sequence_number)
        if change not in self._underway:
            if self._resync:  # of now, for what is kept of it must expire in its time
                record = msgspec.structs.replace(record, created_at=self._clock() / 1_000)
            judge = self._rules.resync if self._resync else self._rules.local
            self._underway[change] = _Underway(_Part(judge(record, self._clock())))
        underway = self._underway[change]
        try:
            await self._judge(underway)
            await self._carry(underway)
        except BaseException as error:
            if not _may_pass(error):
                del self._underway[change]
            raise
        del self._underway[change]
        return ()

    def _squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        try:
            return self._rules.squashed(first, second)
        except UnfitError:
            return None  # each is judged by itself, in its turn

    async def _judge(self, underway: _Underway) -> None:
        if underway.judging is None:
            return
        verdict: Verdict = await underway.judging.carry_out(self._apis)
        underway.judging = None
        if isinstance(verdict, Skip):
            self.skipped[verdict] += 1
            return
        now_ms = self._clock()
        underway.left = {
            name: _Part(self._rules.remote(verdict, name, now_ms)) for name in self._rules.others
        }

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
            raise min(failed, key=_may_pass)  # one that stays, if there is one


class MeshLinks(Links):
    """Makes the one applier that carries a replica's changes to all others."""

    def __init__(
        self,
        side: Side,
        source: DynamoDB,
        targets: Mapping[str, DynamoDB],
        *,
        clock: Clock,
        backoff: Backoff,
        foreign_marks: Sequence[str] = (),
        views: TargetViews | None = None,
    ) -> None:
        super().__init__(
            side,
            source,
            targets,
            clock=clock,
            backoff=backoff,
            foreign_marks=foreign_marks,
            views=views,
        )
        self.ours = tuple(dict.fromkeys((side.stamp_attribute, *self.ours)))
        self._apis = {side.source.name: source, **targets}
        self._mesh = mesh_of(side)
        self._rules = rules_of(side, self._mesh)
        self._side = side

    @property
    def names(self) -> list[str]:
        """The replicas that it writes to."""
        return self._rules.others

    @property
    def conflicts(self) -> int:
        """Writes that lost and were journaled, by these."""
        return self._rules.conflicts

    def only(self, name: str) -> Self:
        """Return these, which from now on write to but one of the replicas."""
        self._rules = _ToOne(self._mesh, self._rules.here, name)
        return self

    def wanted(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Return the records that are mirrored: a view is the same for all replicas."""
        records = super().wanted(records)
        for view in self.views.values():
            return [record for record in records if view.holds_keys(record.keys)]
        return records

    async def open(
        self, epoch: int, on_failure: Callable[[BaseException], None], *more: Any, **named: Any
    ) -> list[Applier]:
        """Return one applier: it carries each record to all other replicas."""
        side = self._side
        checkpoints = Checkpoints(self._source, side.checkpoints, side.link, self._backoff)
        await fill(self._rules, side, checkpoints)
        return (await super().open(epoch, on_failure, *more, **named))[:1]

    def open_for_copies(self, *given: Any, **named: Any) -> list[Applier]:
        """Return one applier, which carries what is here now to all other replicas."""
        return super().open_for_copies(*given, **named)[:1]

    def target(self, name: str, epoch: int) -> Target:
        """Return what carries present items, and the tombstones of absent ones, to the others."""
        del name, epoch
        return MeshTarget(self._rules, self._apis, self._clock, resync=True)

    def _target(self, place: Place, epoch: int) -> Target:
        del place, epoch  # ranks mean the same in every stream
        return MeshTarget(self._rules, self._apis, self._clock)

    def _copy_target(self, place: Place, epoch: int | None) -> Target:
        del place, epoch
        return MeshTarget(self._rules, self._apis, self._clock, resync=True)


class _ToOne(TwoWay):
    """The rules of a consumer that serves but one of the others."""

    def __init__(self, mesh: Mesh, here: str, only: str) -> None:
        super().__init__(mesh, here)
        self._only = only

    @property
    def others(self) -> list[str]:
        return [self._only]


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ServiceError) and error.retryable


async def answered(apis: Mapping[str, DynamoDB], ask: Ask) -> Answer:
    """Send one request of the rules, and return what came of it. Raises ServiceError."""
    try:
        answer = await apis[ask.replica].call(ask.operation, encode(ask.request))
    except ConditionFailedError as error:
        return Answer(held=False, item=_item(error.body))
    return Answer(held=True, item=_item(answer))


def _item(body: bytes) -> Wire | None:
    """Return the item in an answer, whichever operation's it is; None where there is none."""
    if b'"Item"' not in body and b'"Attributes"' not in body:
        return None
    answer = decode(body)
    item: Wire | None = answer.get("Item") or answer.get("Attributes")
    return item
