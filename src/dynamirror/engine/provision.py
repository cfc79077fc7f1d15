"""Make what a mirror needs and isn't there yet: streams, target tables, tables of our own.

``observe`` looks, ``plan`` judges without asking anything, ``carry_out`` does what was shown.
Nothing that exists is ever replaced or given another schema: what would need that is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from dynamirror.config.model import Deletes, Mirror, Place, Transport
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.findings import Finding, Severity, found, label
from dynamirror.engine.needs import (
    EXPIRES_AT,
    IMAGES,
    Ours,
    of_keys,
    spot,
    tables_of_ours,
    view_type,
    wrong_expiry,
    wrong_keys,
)
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.schema import creation, left_behind, of_ours
from dynamirror.engine.source import Table, describe
from dynamirror.errors import AccessDeniedError, DynamirrorError, InUseError, RefusedError
from dynamirror.ports import DynamoDB

ApiOf = Callable[[Place, Transport], DynamoDB]

POLL_S = 2.0
POLLS_MAX = 300
"""Ten minutes: a table with many indexes takes a few."""

# One after another: a table must be there before its stream or expiry can be set.
PHASES = ("CreateTable", "UpdateTable", "UpdateTimeToLive")


class NoSourceError(DynamirrorError):
    """A mirror's source does not exist: nothing tells what its targets should be like."""

    hint = "Check region, account and table name: a source is yours, init never creates it."


class UnreadyError(DynamirrorError):
    """A table did not become ACTIVE in time."""

    hint = "Look at the table in the AWS console, then run `dynamirror init CONFIG` again."


class Seen(msgspec.Struct, frozen=True):
    """What was observed of one table; ``table`` is None if there is none."""

    table: Table | None = None
    expires_by: str | None = None
    """The attribute by which its items expire."""


World = Mapping[Place, Seen]
"""By ``spot``: the tables that some mirrors have to do with."""


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


async def observe(mirrors: Sequence[Mirror], api_of: ApiOf, backoff: Backoff) -> World:
    """Look at every table that the mirrors have to do with."""
    spots: dict[Place, Transport] = {}
    for mirror in mirrors:
        ours = [table.place for table in tables_of_ours(mirror)]
        for place in (mirror.source, *mirror.targets, *ours):
            spots.setdefault(spot(place), mirror.transport)
    seen = await asyncio.gather(
        *(_see(api_of(place, transport), place, backoff) for place, transport in spots.items())
    )
    return dict(zip(spots, seen, strict=True))


async def _see(api: DynamoDB, place: Place, backoff: Backoff) -> Seen:
    table = await describe(api, place.table, backoff)
    return Seen(table, await expiry(api, place.table, backoff) if table else None)


async def expiry(api: DynamoDB, table: str, backoff: Backoff) -> str | None:
    """Return the attribute by which a table's items expire; None where that is off or untold."""
    request = encode({"TableName": table})
    try:
        answer = await persist(lambda: api.call("DescribeTimeToLive", request), backoff)
    except (AccessDeniedError, RefusedError):  # not for another account's table; not everywhere
        return None
    told = decode(answer).get("TimeToLiveDescription", {})
    on = told.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return told.get("AttributeName") if on else None


def plan(mirrors: Iterable[Mirror], world: World) -> Plan:
    """Return what makes the mirrors ready, given what is there.

    In a chain of mirrors a source may be a table that an earlier mirror's part of the plan makes.
    Raises NoSourceError if a source is neither there nor to be made.
    """
    planner = _Planner(world)
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

    def __init__(self, world: World) -> None:
        self.steps: list[Step] = []
        self.findings: list[Finding] = []
        self._world = dict(world)
        self._streams: set[Place] = set()

    def knows(self, place: Place) -> bool:
        return self._world[spot(place)].table is not None

    def add(self, mirror: Mirror) -> None:
        source = self._world[spot(mirror.source)]
        if source.table is None:
            raise NoSourceError(f"mirror {mirror.name}: no table {label(mirror.source)}")
        self._stream(mirror, source.table)
        for target in mirror.targets:
            if (there := self._world[spot(target)].table) is None:
                self._target(mirror, target, source.table, source.expires_by)
            else:
                self.findings += of_keys(target, there, source.table)
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

    def _target(
        self, mirror: Mirror, target: Place, source: Table, source_expires_by: str | None
    ) -> None:
        request = creation(source.description)
        where = f"like {label(mirror.source)}"
        self._step(mirror, spot(target), f"create table {label(target)} {where}", **request)
        expires_by = source_expires_by if mirror.ttl_deletes is Deletes.MIRROR else None
        if expires_by is not None:
            self._expire(mirror, spot(target), expires_by)
        for what in left_behind(source.description):
            self.findings.append(found(Severity.NOTE, target, f"not copied: {what}"))
        self._world[spot(target)] = Seen(Table({**request, "TableName": target.table}), expires_by)

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
        **request: object,
    ) -> None:
        step = Step(
            sentence=sentence,
            place=place,
            transport=mirror.transport,
            operation=operation,
            request={"TableName": place.table, **request},
        )
        self.steps.append(step)


async def carry_out(
    made: Plan,
    api_of: ApiOf,
    backoff: Backoff,
    on_step: Callable[[Step], None],
    poll_s: float = POLL_S,
) -> None:
    """Do what was planned; ``on_step`` is told of each step that is done.

    Safe to repeat after any failure: what is there by then is left alone.
    """

    async def do(step: Step) -> None:
        api = api_of(step.place, step.transport)
        body = encode(step.request)
        try:
            await persist(lambda: api.call(step.operation, body), backoff)
        except InUseError:
            if step.operation != "CreateTable":  # made meanwhile by somebody else
                raise
        await _active(api, step.place, backoff, poll_s)
        on_step(step)

    for phase in PHASES:
        steps = [step for step in made.steps if step.operation == phase]
        await asyncio.gather(*(do(step) for step in steps if not _indexed(step)))
        # The service makes one table with indexes at a time (API reference, CreateTable).
        for step in filter(_indexed, steps):
            await do(step)


def _indexed(step: Step) -> bool:
    return "GlobalSecondaryIndexes" in step.request or "LocalSecondaryIndexes" in step.request


async def _active(api: DynamoDB, place: Place, backoff: Backoff, poll_s: float) -> None:
    for _ in range(POLLS_MAX):
        table = await describe(api, place.table, backoff)
        if table is not None and table.active:
            return
        await asyncio.sleep(poll_s)
    raise UnreadyError(f"{label(place)} is not ACTIVE after {POLLS_MAX * poll_s:.0f} s")
