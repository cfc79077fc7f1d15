"""Look at everything a mirror needs before it runs, and say what is wrong, with a remedy each.

Nothing is changed. What can't be looked at for want of a permission is a finding itself, and the
rest is still looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from dynamirror.config.model import Guard, Mirror, Place, Side
from dynamirror.core.servers import habits_of
from dynamirror.core.values import Wire
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.tables import sample, through
from dynamirror.engine.tables.charges import Cost, cost
from dynamirror.engine.tables.drift import copies, differences
from dynamirror.engine.tables.findings import Finding, Severity, found, label
from dynamirror.engine.tables.furniture import ApiOf, Seen, recovery_of, tags_of
from dynamirror.engine.tables.needs import (
    EXPIRES_AT,
    INIT,
    Ours,
    of_capacity,
    of_expiries,
    of_history,
    of_keys,
    of_source,
    spot,
    tables_of_ours,
    wrong_expiry,
    wrong_keys,
)
from dynamirror.engine.tables.servers import of_isolation, of_server
from dynamirror.engine.tables.surroundings import Surroundings
from dynamirror.engine.tables.trials import Trials, trial_key
from dynamirror.engine.writing.views import TargetViews
from dynamirror.errors import (
    AccessDeniedError,
    DynamirrorError,
    NotFoundError,
)
from dynamirror.ports import Clock, ControlPlane, DynamoDB

LATE = (
    'guard "{guard}" lets a late request of a killed process undo a newer change of its item, until'
    ' the next change or a repair; guard = "ledger" refuses it'
)


BACKOFF = Backoff()
"""The connection itself gives up; see ``patience``."""

NAMES = "check region, account and name"

REPLICA = f"{NAMES}; where another replica's table is there, {INIT}, which makes one like it"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one mirror."""

    mirror: str
    findings: tuple[Finding, ...]
    cost: Cost


class Preflight:
    """Checks one mirror."""

    def __init__(
        self,
        mirror: Mirror,
        api_of: ApiOf,
        checkpoints: Checkpoints,
        plane_of: Callable[[Place], ControlPlane | str],
        *,
        clock: Clock,
        views_of: Callable[[], TargetViews] = dict,
    ) -> None:
        """``plane_of``: gives a place's other services, or says why they can't be asked;
        ``views_of``: gives the views, or raises ConfigError where they can't be had here.
        """
        self._views_of = views_of
        self._plane_of = plane_of
        self._targets: dict[Place, tuple[DynamoDB, Table]] = {}
        self._mirror = mirror
        self._api_of = api_of
        self._checkpoints = checkpoints
        self._clock = clock
        self._trials = Trials()
        self._found: list[Finding] = []
        self._source_stream: str | None = None

    async def run(self) -> Checked:
        """Look at everything; raises only where nobody answers at all."""
        mirror = self._mirror
        source = await self._table(mirror.source, REPLICA if isinstance(mirror, Side) else NAMES)
        items: list[Wire] = []
        if source is not None:
            self._source_stream = source.stream
            self._found += of_source(mirror, source)
            items = await self._sample()
            self._found += sample.findings(mirror, items)
            self._found += through.findings(mirror, self._views_of, items, source.key_names)
            await self._isolation(mirror.source, source)
            await self._stream(source)
        await asyncio.gather(*(self._target(target, source) for target in mirror.targets))
        await asyncio.gather(*(self._ours(ours) for ours in tables_of_ours(mirror)))
        if source is not None:
            planes = {place: self._plane_of(place) for place in (mirror.source, *mirror.targets)}
            around = Surroundings(mirror, planes, self._clock)
            self._found += await around.look(self._api(mirror.source), source, self._targets)
        if isinstance(mirror, Side):
            await self._side(mirror, source)
        elif mirror.guard is not Guard.LEDGER:
            self._note(mirror.source, LATE.format(guard=mirror.guard))
        self._found += self._trials.findings
        order = list(Severity)[::-1]
        ranked = sorted(dict.fromkeys(self._found), key=lambda one: order.index(one.severity))
        return Checked(mirror=mirror.title, findings=tuple(ranked), cost=cost(mirror, items))

    def _api(self, place: Place) -> DynamoDB:
        return self._api_of(place, self._mirror.transport)

    def _note(self, place: Place, what: str) -> None:
        self._found.append(found(Severity.NOTE, place, what))

    def _unusable(self, place: Place, what: str, remedy: str) -> None:
        self._found.append(found(Severity.UNUSABLE, place, what, remedy))

    async def _side(self, side: Side, source: Table | None) -> None:
        """Try what only a two-way mirror's rules ask of a replica and its ledger."""
        api, place = self._api(side.source), spot(side.source, side.ledger_of(side.source))
        try:
            read = {
                "TableName": place.table,
                "Key": trial_key(("k",), ("S",)),
                "ConsistentRead": True,
            }
            await self._trials.ask(api, place, "GetItem", read)
            await self._trials.updates(api, place, ("k",), ("S",))
            if source is not None:
                names, kinds = source.key_names, source.key_types
                await self._trials.updates(api, side.source, names, kinds)
        except NotFoundError:
            return  # the missing table is a finding of its own

    async def _table(self, place: Place, remedy: str) -> Table | None:
        """Return a table; None after noting why it can't be used."""
        try:
            answer = await self._trials.ask(
                self._api(place), place, "DescribeTable", {"TableName": place.table}
            )
        except NotFoundError:
            self._unusable(place, "there is no such table", remedy)
            return None
        if answer is None:
            return None
        table = Table(answer["Table"])
        self._found += of_server(self._mirror, place, table)
        if not table.active:
            status = table.description.get("TableStatus")
            self._unusable(place, f"the table is {status}, not ACTIVE", "wait until it is ACTIVE")
        return table

    async def _expiry(self, place: Place) -> str | None:
        """Return the attribute by which items expire, empty if they don't; None if untold."""
        answer = await self._trials.ask(
            self._api(place), place, "DescribeTimeToLive", {"TableName": place.table}
        )
        if answer is None:
            return None
        told = answer.get("TimeToLiveDescription", {})
        on = told.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        return str(told.get("AttributeName")) if on else ""

    async def _isolation(self, place: Place, table: Table) -> None:
        """See whether conditions hold against all writes, where a server lets that be chosen."""
        if habits_of(place.server).isolation_tag:
            tags = await tags_of(self._api(place), table, BACKOFF)
            self._found += of_isolation(self._mirror, place, tags)

    async def _seen(self, place: Place, table: Table, expires_by: str | None) -> Seen:
        """Return all that is known of a table; what may not be looked at, isn't."""
        api = self._api(place)
        recovery = await recovery_of(api, place.table, BACKOFF)
        return Seen(table, expires_by or None, recovery, await tags_of(api, table, BACKOFF))

    async def _sample(self) -> list[Wire]:
        source = self._mirror.source
        request = {"TableName": source.table, "Limit": sample.SAMPLE_ITEMS}
        answer = await self._trials.ask(self._api(source), source, "Scan", request)
        return list((answer or {}).get("Items", ()))

    async def _stream(self, source: Table) -> None:
        """Read a little of the stream, as the engine will."""
        if source.stream is None:
            return
        place, api = self._mirror.source, self._api(self._mirror.source)
        try:
            request: Wire = {"StreamArn": source.stream, "Limit": 1}
            answer = await self._trials.ask(api, place, "DescribeStream", request)
            shards = (answer or {}).get("StreamDescription", {}).get("Shards", ())
            if not shards:
                return
            request = {
                "StreamArn": source.stream,
                "ShardId": shards[0]["ShardId"],
                "ShardIteratorType": "TRIM_HORIZON",
            }
            answer = await self._trials.ask(api, place, "GetShardIterator", request)
            if answer is not None:
                request = {"ShardIterator": answer["ShardIterator"], "Limit": 1}
                await self._trials.ask(api, place, "GetRecords", request)
        except NotFoundError as error:  # the shard was trimmed between two requests
            self._note(place, f"the stream could not be tried: {error}")

    async def _target(self, target: Place, source: Table | None) -> None:
        table = await self._table(target, INIT)
        if table is None:
            return
        api = self._api(target)
        self._targets[target] = api, table
        await self._isolation(target, table)
        await self._trials.writes(api, target, table.key_names, table.key_types)
        if source is None:
            return
        mirror = self._mirror
        self._found += of_keys(mirror, target, table, source)
        self._found += of_capacity(mirror, target, table, source)
        mine, theirs = await asyncio.gather(self._expiry(mirror.source), self._expiry(target))
        if mine is not None and theirs is not None:
            self._found += of_expiries(mirror, target, mine, theirs)
        if target in copies(mirror):
            model = await self._seen(mirror.source, source, mine)
            copy = await self._seen(target, table, theirs)
            self._found += [
                one.finding(mirror.source, target)
                for one in differences(mirror, target, model, copy)
            ]
        if self._mirror.guard is Guard.LEDGER:
            ledger = self._mirror.ledger_of(target)
            try:
                await self._trials.transactions(api, target, table, ledger)
            except NotFoundError:
                return  # the missing ledger is a finding of its own

    async def _ours(self, ours: Ours) -> None:
        table = await self._table(ours.place, INIT)
        if table is None:
            return
        if (fault := wrong_keys(ours, table)) is not None:
            self._found.append(fault)
            return
        expires_by = await self._expiry(ours.place)
        if expires_by == "":
            what = f"time to live is off: rows dynamirror no longer needs ({EXPIRES_AT}) stay"
            self._found.append(found(Severity.FINDING, ours.place, what, INIT))
        elif expires_by not in (None, EXPIRES_AT):
            self._found.append(wrong_expiry(ours.place, str(expires_by)))
        await self._trials.writes(
            self._api(ours.place), ours.place, table.key_names, table.key_types
        )
        if ours.place == spot(self._mirror.source, self._mirror.checkpoints):
            await self._history(ours.place)
        elif ours.place == spot(self._mirror.source, self._mirror.parked):
            await self._parked(ours.place)

    async def _history(self, place: Place) -> None:
        try:
            known = await self._checkpoints.load()
        except AccessDeniedError:
            remedy = f"allow dynamodb:Query on {label(place)} to these credentials"
            self._unusable(place, "not allowed: Query", remedy)
            return
        except DynamirrorError as error:
            self._unusable(place, f"the checkpoints can't be read: {error}", error.hint)
            return
        self._found += of_history(self._mirror, known, self._source_stream, self._clock())

    async def _parked(self, place: Place) -> None:
        answer = await self._trials.ask(
            self._api(place), place, "Scan", {"TableName": place.table, "Limit": 1}
        )
        if (answer or {}).get("Items"):
            self._found.append(
                found(
                    Severity.FINDING,
                    place,
                    "there are parked changes",
                    "mend their cause (`dynamirror status CONFIG`), then"
                    " run `dynamirror redrive CONFIG`",
                )
            )
