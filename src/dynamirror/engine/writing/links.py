"""The writing side of a mirror: one applier per target, as the configuration wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dynamirror.config.model import Deletes, Guard, Mirror, OnPoison, Place
from dynamirror.core.marks import SEQUENCE_ATTRIBUTE, STAMP_ATTRIBUTE
from dynamirror.core.one_way import Rules
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire
from dynamirror.engine.copying.meter import Budget
from dynamirror.engine.held.parked import images_of
from dynamirror.engine.held.parking import LeftOut, OnLeft, Parking
from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.pulse import Heartbeat
from dynamirror.engine.writing.apply import Applier
from dynamirror.engine.writing.limiter import Limiter, Pace
from dynamirror.engine.writing.targets import CopyTarget, OrderTarget, Target, target_of
from dynamirror.errors import UnfitError
from dynamirror.ports import Clock, DynamoDB

if TYPE_CHECKING:
    from dynamirror.engine.writing.views import TargetViews

BATCHES_IN_FLIGHT_MAX = 128
"""Requests of 25 items: 37,000 items a second at a round trip of 80 ms."""

WRITES_IN_FLIGHT_MAX = 1_024
"""Requests of one item: 12,000 a second at 80 ms."""


class Links:
    """Makes the appliers of a mirror; what they learn of a target's speed outlives them."""

    def __init__(
        self,
        mirror: Mirror,
        source: DynamoDB,
        targets: Mapping[str, DynamoDB],
        *,
        clock: Clock,
        backoff: Backoff,
        foreign_marks: Sequence[str] = (),
        views: TargetViews | None = None,
    ) -> None:
        """``targets`` and ``views`` by the places' names; ``foreign_marks``: attributes in which
        other mirrors leave their marks on this one's source.
        """
        self.mirror = mirror
        self.parking: Parking | None = None
        self._source = source
        self._targets = targets
        self.views = views or {}
        self._clock = clock
        self._backoff = backoff
        self.ours = ours_on(foreign_marks)
        most = BATCHES_IN_FLIGHT_MAX if mirror.guard is Guard.ORDER else WRITES_IN_FLIGHT_MAX
        self._limiters = {place.name: Limiter(most) for place in mirror.targets}
        self._paces: dict[str, Pace] = {
            place.name: Pace(mirror.max_writes_per_second) for place in mirror.targets
        }
        self.limit_per_second = mirror.max_writes_per_second

    def limit(self, per_second: float | None) -> None:
        """Write at most so many items a second to each target from now on.

        None: as many as the configuration lets.
        """
        self.limit_per_second = per_second or self.mirror.max_writes_per_second
        for pace in self._paces.values():
            pace.change(self.limit_per_second)

    @property
    def conflicts(self) -> int:
        """Writes that lost and were journaled; there are none one-way."""
        return 0

    @property
    def names(self) -> list[str]:
        """The targets that it writes to."""
        return [place.name for place in self.mirror.targets]

    async def open(
        self,
        epoch: int,
        on_failure: Callable[[BaseException], None],
        may_write: Callable[[], bool] = lambda: True,
        *,
        hold: bool = True,
    ) -> list[Applier]:
        """Return an applier per target, ready for records of the given epoch; see Applier.

        ``hold``: whether to learn first which keys are parked, whose changes wait behind them.
        """
        if self.mirror.on_poison is OnPoison.PARK or self.mirror.backlog_seconds:
            self.parking = self.parking_of(epoch)
            if hold:
                await self.parking.load()
        return [
            Applier(
                self._target(place, epoch),
                self._limiters[place.name],
                **self._named(on_failure, may_write),
                pace=self._paces[place.name],
            )
            for place in self.mirror.targets
        ]

    def open_for_copies(
        self,
        on_failure: Callable[[BaseException], None],
        epoch: int | None,
        on_left: OnLeft,
        may_write: Callable[[], bool] = lambda: True,
    ) -> list[Applier]:
        """Return an applier per target that takes copied items in the place of changes.

        ``epoch``: the one that begins with these copies, if they make up for lost history;
        ``on_left`` is told of each that can't be applied, and may raise.
        """
        left = LeftOut(on_left)
        return [
            Applier(
                self._copy_target(place, epoch),
                self._limiters[place.name],
                on_failure=on_failure,
                may_write=may_write,
                backoff=self._backoff,
                pace=self._paces[place.name],
                parking=left,
            )
            for place in self.mirror.targets
        ]

    def heartbeats(self) -> list[Heartbeat]:
        """Return what asks each target whether it is there."""
        return [
            Heartbeat(self._targets[place.name], place, self._clock)
            for place in self.mirror.targets
        ]

    def keep_to(self, budgets: Mapping[str, Budget]) -> None:
        """Send no faster than these allow, by the targets' names."""
        for name, budget in budgets.items():
            budget.within = self._paces.get(name)
        self._paces = {**self._paces, **budgets}

    def target(self, name: str, epoch: int) -> Target:
        """Return the target at the place of that name, for changes of the given epoch.

        Raises UnfitError if the mirror has none of that name any more.
        """
        for place in self.mirror.targets:
            if place.name == name:
                return self._target(place, epoch)
        raise UnfitError(
            f"the mirror has no target {name!r} any more: name one so again, or delete its rows in "
            f"{self.mirror.parked}"
        )

    def reached(self, name: str) -> Sequence[str]:
        """Return the targets that a redrive of changes parked under a name writes to."""
        return [name]

    def before(self, name: str, keys: Wire, rows: Sequence[dict[str, Any]]) -> list[Wire]:
        """Return the images from which a redrive is to bring a key's item to what it is now, given
        its parked changes, ``rows``; none: they don't matter.

        Where a view moves items, a target may have it under the key of any of these: changes that
        wait behind a parked one may have been applied before, by a process that died over it.
        """
        view = self.views.get(name)
        if view is None or not view.lens(keys).moves:
            return []
        images = [image for both in images_of(rows) for image in both if image is not None]
        return list(view.lens(keys).distinct(keys, images))

    def rules(self, place: Place, epoch: int) -> Rules:
        """Return how requests to a target are spelled."""
        return Rules(
            self.mirror.name,
            place.table,
            self.mirror.ledger_of(place),
            self.mirror.sequence_attribute,
            self.ours,
            epoch,
        )

    def parking_of(self, epoch: int) -> Parking:
        """Return the mirror's parked changes."""
        return Parking(
            self._source,
            self.mirror.parked,
            self.mirror.name,
            epoch,
            clock=self._clock,
            backoff=self._backoff,
        )

    def wanted(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Return the records that the mirror is to apply."""
        deletes, ttl_deletes = self.mirror.deletes, self.mirror.ttl_deletes
        if deletes is Deletes.MIRROR and ttl_deletes is Deletes.MIRROR:
            return records
        return [
            record
            for record in records
            if record.new_image is not None
            or not record.known
            or (ttl_deletes if record.by_ttl else deletes) is Deletes.MIRROR
        ]

    def _target(self, place: Place, epoch: int) -> Target:
        api, rules = self._targets[place.name], self.rules(place, epoch)
        return self._seeing(target_of(self.mirror.guard, place.name, api, rules, self._clock))

    def _copy_target(self, place: Place, epoch: int | None) -> Target:
        api, rules = self._targets[place.name], self.rules(place, epoch or 1)
        if self.mirror.guard is Guard.LEDGER:
            # A copy that makes up for lost history is the first change of a new epoch: what the
            # target has of its item, and the row that tells from when, are older.
            if epoch is not None:
                return self._target(place, epoch)
            return self._seeing(CopyTarget(place.name, api, rules, self._clock))
        return self._seeing(OrderTarget(place.name, api, rules))

    def _seeing(self, target: Target) -> Target:
        """Return the target as it gets to see the source."""
        view = self.views.get(target.name)
        if view is None:
            return target
        # A Lambda function that mirrors whole items need not load what reads conditions.
        from dynamirror.engine.writing.views import ViewingTarget  # noqa: PLC0415

        return ViewingTarget(target, view)

    def _named(
        self, on_failure: Callable[[BaseException], None], may_write: Callable[[], bool]
    ) -> dict[str, Any]:
        """Return what all appliers of changes are told alike."""
        return {
            "on_failure": on_failure,
            "may_write": may_write,
            "backoff": self._backoff,
            "parking": self.parking,
            "parks_poison": self.mirror.on_poison is OnPoison.PARK,
        }


def ours_on(foreign_marks: Sequence[str]) -> tuple[str, ...]:
    """Return the attributes of a source's items in which marks or stamps may have been left."""
    return tuple(dict.fromkeys((STAMP_ATTRIBUTE, SEQUENCE_ATTRIBUTE, *foreign_marks)))
