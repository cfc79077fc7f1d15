"""The writing side of one replica's consumer in a two-way mirror: to its own ledger, then to all.

A record's own part is carried out once, then every other replica's, each in a line of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

from dynamirror.config.model import Place, Side, Unversioned
from dynamirror.core.conflict import Loss
from dynamirror.core.mesh import Mesh, Replica
from dynamirror.core.rank import Rank
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Key, Wire
from dynamirror.engine.held.parked import images_of
from dynamirror.engine.item_log import log_item
from dynamirror.engine.reported import fill, rules_of
from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.writing.apply import Applier
from dynamirror.engine.writing.limiter import Limiter
from dynamirror.engine.writing.links import WRITES_IN_FLIGHT_MAX, Links
from dynamirror.engine.writing.replicas import CarryTarget, JudgeTarget, MeshTarget
from dynamirror.engine.writing.targets import Target
from dynamirror.engine.writing.underway import Batch, Write
from dynamirror.errors import UnfitError
from dynamirror.ports import Clock, DynamoDB

if TYPE_CHECKING:
    from dynamirror.engine.writing.views import TargetViews


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


class MeshApplier(Applier):
    """Applies a replica's records at home, and hands each on to an applier per other replica.

    A record is judged when the one before it of its key is, and arrives at each replica when the
    one before has arrived there: one that is slow or away holds up no other.
    """

    def __init__(
        self, judge: JudgeTarget, limiter: Limiter, legs: Sequence[Applier], **named: Any
    ) -> None:
        super().__init__(judge, limiter, **named)
        self._judge = judge
        self._legs = tuple(legs)
        self._settle = self._hand_on

    @property
    def legs(self) -> tuple[Applier, ...]:
        return self._legs

    @property
    def all(self) -> tuple[Applier, ...]:
        return (self, *self._legs)

    @property
    def unapplied(self) -> frozenset[Key]:
        return super().unapplied.union(*(leg.unapplied for leg in self._legs))

    async def stop(self) -> None:
        await asyncio.gather(super().stop(), *(leg.stop() for leg in self._legs))

    def _hand_on(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self._hand_one_on(write.record, write.batches)
        self._lines.settle(writes)

    def _hand_one_on(self, record: StreamRecord, batches: Sequence[Batch]) -> None:
        verdict = self._judge.verdicts.pop(record.key, None)
        if verdict is not None:
            whole = Batch(lambda: _settle(batches))
            whole.expect(len(self._legs))
            for batch in batches:
                batch.expect(1)
            for leg in self._legs:
                if isinstance(leg.target, CarryTarget):
                    leg.submit([leg.target.carried(record, verdict)], whole.settle)


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
        self._rules.on_conflict = partial(_tell, side.title)
        self._side = side
        self._limiter = Limiter(WRITES_IN_FLIGHT_MAX)

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

    def reached(self, name: str) -> Sequence[str]:
        """Return that replica, or, by the name of their own, all others."""
        return self._rules.others if name == self.mirror.source.name else [name]

    def before(self, name: str, keys: Wire, rows: Sequence[dict[str, Any]]) -> list[Wire]:
        """Return the image of the highest rank that the parked changes tell of, if they are of
        those that were never judged; none of the others, or if none of theirs has a rank.
        """
        if name != self.mirror.source.name:
            return []
        found: list[tuple[Rank, Wire]] = []
        for old, new in images_of(rows):
            # An item that wasn't there had no version: rank 0.
            for image in (keys if old is None else old, new):
                with contextlib.suppress(UnfitError):
                    if image is not None:
                        found.append((self._rules.marks.view(image, name).rank, image))
        return [max(found, key=itemgetter(0))[1]] if found else []

    async def open(
        self,
        epoch: int,
        on_failure: Callable[[BaseException], None],
        may_write: Callable[[], bool] = lambda: True,
        *,
        hold: bool = True,
    ) -> list[Applier]:
        """Return one applier: it carries each record to all other replicas."""
        side = self._side
        checkpoints = Checkpoints(self._source, side.checkpoints, side.link, self._backoff)
        await fill(self._rules, side, checkpoints)
        legs = [
            leg
            for leg in await super().open(epoch, on_failure, may_write, hold=hold)
            if leg.target.name in self._rules.others
        ]
        judge = JudgeTarget(self._rules, self._apis, self._clock)
        told = self._named(on_failure, may_write)
        return [MeshApplier(judge, self._limiter, legs, **told)]

    def open_for_copies(self, *given: Any, **named: Any) -> list[Applier]:
        """Return one applier, which carries what is here now to all other replicas."""
        return super().open_for_copies(*given, **named)[:1]

    def target(self, name: str, epoch: int) -> Target:
        """Return what makes up for changes that one other replica lacks, or, by the name of their
        own, all of them. Raises UnfitError if there is no replica of that name any more.
        """
        to = self.reached(name)
        if name != self.mirror.source.name:
            to = [super().target(name, epoch).name]
        rules = self._rules
        return MeshTarget(rules, self._apis, self._clock, rules.redriven, to)

    def _target(self, place: Place, epoch: int) -> Target:
        del epoch  # ranks mean the same in every stream
        return CarryTarget(self._rules, self._apis, self._clock, place.name)

    def _copy_target(self, place: Place, epoch: int | None) -> Target:
        del place, epoch
        rules = self._rules
        return MeshTarget(rules, self._apis, self._clock, rules.resync, rules.others)


class _ToOne(TwoWay):
    """The rules of a consumer that serves but one of the others."""

    def __init__(self, mesh: Mesh, here: str, only: str) -> None:
        super().__init__(mesh, here)
        self._only = only

    @property
    def others(self) -> list[str]:
        return [self._only]


def _tell(mirror: str, loss: Loss) -> None:
    loser, winner = loss.loser_rank, loss.winner_rank
    text = f"lost a conflict, {loss.reason}: version {loser.version} to {winner.version}"
    log_item("conflict", loss.record.keys, text, mirror=mirror)


def _settle(batches: Sequence[Batch]) -> None:
    for batch in batches:
        batch.settle()
