"""Plan what a mirror needs and isn't there yet: streams, target tables, tables of our own.

``furniture.observe`` looks, ``plan`` judges without asking anything, ``building.carry_out`` does
what was shown. Nothing that exists is ever replaced or given another schema: what would need that
is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from dynamirror.config.model import Deletes, Mirror, Place, Transport
from dynamirror.core.servers import habits_of
from dynamirror.core.values import Wire
from dynamirror.engine.source import Table
from dynamirror.engine.tables.drift import copies, differences, recovery_like
from dynamirror.engine.tables.findings import Finding, Severity, found, label
from dynamirror.engine.tables.furniture import Seen, World
from dynamirror.engine.tables.needs import (
    EXPIRES_AT,
    IMAGES,
    Ours,
    of_keys,
    of_view,
    spot,
    tables_of_ours,
    view_type,
    wrong_expiry,
    wrong_keys,
)
from dynamirror.engine.tables.schema import creation, expiry_seen, keys_seen, left_behind, of_ours
from dynamirror.errors import DynamirrorError

# One after another: a table must be there before its stream or expiry can be set.
PHASES = (
    "CreateTable",
    "UpdateTable",
    "UpdateTimeToLive",
    "UpdateContinuousBackups",
    "TagResource",
)


class NoSourceError(DynamirrorError):
    """A mirror's source does not exist: nothing tells what its targets should be like."""

    hint = "Check region, account and table name: a source is yours, init never creates it."


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change to make."""

    sentence: str
    place: Place
    transport: Transport
    operation: str
    request: Wire


class Plan(msgspec.Struct, frozen=True):
    """All that is to be done, and what won't be."""

    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]


def plan(mirrors: Iterable[Mirror], world: World, *, mend: bool = False) -> Plan:
    """Return what makes the mirrors ready, given what is there.

    ``mend``: also what makes targets like their sources that have drifted apart since.

    In a chain of mirrors a source may be a table that an earlier mirror's part of the plan makes.
    Raises NoSourceError if a source is neither there nor to be made.
    """
    planner = _Planner(world, mend=mend)
    waiting = list(mirrors)
    while waiting:
        ready = [mirror for mirror in waiting if planner.knows(mirror.source)]
        if not ready:
            raise NoSourceError(
                "; ".join(f"mirror {one.name}: no table {label(one.source)}" for one in waiting)
            )
        for mirror in ready:
            planner.add(mirror)
            waiting.remove(mirror)
    steps = sorted(planner.steps, key=lambda step: PHASES.index(step.operation))
    return Plan(tuple(steps), tuple(planner.findings))


class _Planner:
    """Collects steps; what is planned counts as there for what comes after."""

    def __init__(self, world: World, *, mend: bool) -> None:
        self._mend = mend
        self.steps: list[Step] = []
        self.findings: list[Finding] = []
        self._world = dict(world)
        self._streams: set[Place] = set()
        self._mended: set[tuple[Place, str, str]] = set()

    def knows(self, place: Place) -> bool:
        return self._world[spot(place)].table is not None

    def add(self, mirror: Mirror) -> None:
        source = self._world[spot(mirror.source)]
        if source.table is None:
            raise NoSourceError(f"mirror {mirror.name}: no table {label(mirror.source)}")
        self._stream(mirror, source.table)
        for target in mirror.targets:
            seen = self._world[spot(target)]
            if seen.table is None:
                self._target(mirror, target, source)
            else:
                self.findings += of_keys(mirror, target, seen.table, source.table)
                self._drift(mirror, target, source, seen)
        for ours in tables_of_ours(mirror):
            self._ours(mirror, ours)

    def _stream(self, mirror: Mirror, source: Table) -> None:
        place = spot(mirror.source)
        if place in self._streams:
            return
        self._streams.add(place)
        if source.stream is None:
            specification = {"StreamEnabled": True, "StreamViewType": IMAGES}
            self._step(
                mirror,
                place,
                f"turn on the stream of {label(place)}, with new and old images",
                "UpdateTable",
                StreamSpecification=specification,
            )
        elif source.view_type != IMAGES:
            self.findings.append(view_type(place, source))

    def _target(self, mirror: Mirror, target: Place, source: Seen) -> None:
        if source.table is None:
            return
        if (fault := of_view(mirror, target, source.table)) is not None:
            self.findings.append(fault)
            return
        view = mirror.views.get(target.name)
        keys = keys_seen(view, source.table) if view is not None else None
        request = creation(source.table.description, keys)
        habits = habits_of(target.server)
        if source.tags and "TagResource" not in habits.lacks:
            request["Tags"] = [
                {"Key": name, "Value": source.tags[name]} for name in sorted(source.tags)
            ]
        where = f"like {label(mirror.source)}{', for its view' if keys else ''}"
        self._step(mirror, spot(target), f"create table {label(target)} {where}", **request)
        expires_by = expiry_seen(view, source.expires_by)
        if mirror.ttl_deletes is Deletes.IGNORE:
            expires_by = None
        if expires_by is not None:
            self._expire(mirror, spot(target), expires_by)
        recovers = source.recovery is not None and source.recovery.on
        if recovers and "UpdateContinuousBackups" not in habits.lacks:
            change = recovery_like(source)
            sentence = f"{change.sentence} of {label(target)}"
            self._step(mirror, spot(target), sentence, change.operation, **change.request)
        looked = (("tags", source.tags), ("point-in-time recovery", source.recovery))
        untold = [f"{what}, which can't be seen here" for what, told in looked if told is None]
        lost = (
            ("tags", "TagResource", source.tags),
            ("point-in-time recovery", "UpdateContinuousBackups", recovers),
        )
        untold += [
            f"{what}, which {habits.title} does not have"
            for what, operation, there in lost
            if there and operation in habits.lacks
        ]
        for what in (*untold, *left_behind(source.table.description, keys)):
            self.findings.append(found(Severity.NOTE, target, f"not copied: {what}"))
        made = Table({**request, "TableName": target.table})
        self._world[spot(target)] = Seen(made, expires_by, source.recovery, source.tags)

    def _drift(self, mirror: Mirror, target: Place, source: Seen, seen: Seen) -> None:
        """Plan what makes a target like its source again, or say what there would be to do."""
        if target not in copies(mirror):
            return
        differ = differences(mirror, target, source, seen)
        mendable = [one for one in differ if one.mend]
        if not self._mend:
            if mendable:
                things = (
                    "1 thing differs" if len(mendable) == 1 else f"{len(mendable)} things differ"
                )
                what = (
                    f"{things} from {label(mirror.source)}: {', '.join(d.what for d in mendable)}"
                )
                remedy = (
                    "`dynamirror check CONFIG` tells more, `dynamirror init CONFIG --mend` mends"
                )
                self.findings.append(found(Severity.NOTE, target, what, remedy))
            return
        for one in differ:
            for change in one.mend:
                key = (spot(target), change.operation, change.sentence)
                if key in self._mended:  # by another mirror of the same tables
                    continue
                self._mended.add(key)
                named = _named(change.operation, seen.table)
                sentence = f"{label(target)}: {change.sentence}"
                request = {**named, **change.request}
                self._step(mirror, spot(target), sentence, change.operation, **request)
            if not one.mend and one.severity is not Severity.NOTE:
                self.findings.append(one.finding(mirror.source, target))

    def _ours(self, mirror: Mirror, ours: Ours) -> None:
        seen = self._world[ours.place]
        if seen.table is None:
            sentence = f"create table {label(ours.place)}: {ours.purpose}"
            request = of_ours(ours.keys)
            self._step(mirror, ours.place, sentence, **request)
            seen = Seen(Table({**request, "TableName": ours.place.table}))
        elif (fault := wrong_keys(ours, seen.table)) is not None:
            self.findings.append(fault)
            return
        if seen.expires_by is None:
            self._expire(mirror, ours.place, EXPIRES_AT)
        elif seen.expires_by != EXPIRES_AT:
            self.findings.append(wrong_expiry(ours.place, seen.expires_by))
        self._world[ours.place] = Seen(seen.table, EXPIRES_AT)

    def _expire(self, mirror: Mirror, place: Place, attribute: str) -> None:
        self._step(
            mirror,
            place,
            f"let items of {label(place)} expire by {attribute!r}",
            "UpdateTimeToLive",
            TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
        )

    def _step(
        self,
        mirror: Mirror,
        place: Place,
        sentence: str,
        operation: str = "CreateTable",
        **request: Any,
    ) -> None:
        step = Step(
            sentence=sentence,
            place=place,
            transport=mirror.transport,
            operation=operation,
            request=request if "ResourceArn" in request else {"TableName": place.table, **request},
        )
        self.steps.append(step)


def _named(operation: str, table: Table | None) -> Wire:
    """Return how a request names its table, where that isn't by name."""
    if operation != "TagResource" or table is None:
        return {}
    return {"ResourceArn": table.description["TableArn"]}
