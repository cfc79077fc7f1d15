"""A replica joins a two-way mirror that is at work, or comes back to it.

What came before it joined, it must be given: items by their rank, and first of all the tombstones,
or a save that is still on its way would bring back what was deleted long ago. So:

1. the others' consumers pause for a moment and learn of it; from then on each change goes there too
2. the tombstones are carried there; until it has them, nobody reads its own stream
3. coming back, it loses what was deleted meanwhile, and gives the others what was saved there
4. the others' items are copied there by rank, beside live writes

Each step may be repeated. How far it is, the replica's row ``#member`` tells; whoever finds one
goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from dynamirror.core.mesh import Delete
from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire, row_key
from dynamirror.engine.copying.backfill import Backfill
from dynamirror.engine.copying.copier import Copied, Left
from dynamirror.engine.members.rebuild import Rebuild
from dynamirror.engine.members.roster import MEMBER_ROW, Member, agreed, left_of, member_of, note
from dynamirror.engine.members.sites import Site, carry_out, each
from dynamirror.engine.reads import Item
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import describe, described
from dynamirror.engine.station import Station
from dynamirror.engine.stream.checkpoints import Known
from dynamirror.engine.stream.history import MS_PER_HOUR, shards_of, why_lost
from dynamirror.engine.stream.hold import Hold
from dynamirror.engine.writing.mesh import mesh_of
from dynamirror.errors import ConditionFailedError, DynamirrorError, HistoryLostError, RosterError
from dynamirror.ports import Clock, DynamoDB

MS_PER_DAY = 24 * MS_PER_HOUR


class AwayTooLongError(DynamirrorError):
    """A replica holds items of which nobody can tell any more whether they were deleted."""

    hint = (
        "Run it with --rebuild, which makes this replica a copy of the others (what only it has"
        " goes to its journal), or delete its table: `replica add` makes it anew."
    )


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for a replica to join."""

    state: Member | None
    """How far it is; None: it has not begun."""
    away_ms: int | None
    """How long it has been away; None: it is new."""
    rebuild: bool
    holds_items: bool
    """Whether its table had items of its own before it joined."""

    @property
    def joined(self) -> bool:
        """Whether nothing is left to do."""
        return self.state is Member.MEMBER


class Joining:
    """Has one replica join the others."""

    def __init__(self, sites: Sequence[Site], name: str, *, clock: Clock, backoff: Backoff) -> None:
        """``sites``: all of the mirror's, as configured; ``name``: of the replica that joins.

        Raises RosterError unless it comes last.
        """
        if sites[-1].name != name:
            raise RosterError(f"{name} must come last: replicas may only be appended to a mirror")
        self._new = sites[-1]
        self._others = sites[:-1]
        self._clock = clock
        self._backoff = backoff
        self._mesh = mesh_of(self._new.side)
        self._resumed = False
        """Whether copies go on where they were left: not if that was another time it joined."""

    async def look(self, *, rebuild: bool = False) -> Looked:
        """Return what is to be done.

        Raises AwayTooLongError where only ``rebuild`` helps, HistoryLostError if one of the others
        must be backfilled first.
        """
        known = await self._new.known()
        others = [await site.known() for site in self._others]
        listed = [self._new.name in (one.targets or ()) for one in others]
        member = member_of(known)
        state = Member(member["state"]) if "state" in member else None
        if state not in (None, Member.LEFT):
            return Looked(
                state=Member.MEMBER if state is Member.MEMBER and all(listed) else state,
                away_ms=member.get("away_ms"),
                rebuild=member["rebuild"],
                holds_items=member["holds_items"],
            )
        if state is None and all(listed):
            return Looked(state=Member.MEMBER, away_ms=None, rebuild=False, holds_items=True)
        for site, one in zip(self._others, others, strict=True):
            await self._require_history(site, one)
        left_ms = [
            left[self._new.name] for one in others if self._new.name in (left := left_of(one))
        ]
        away_ms = self._clock() - max(left_ms) if left_ms else None
        holds_items = await self._holds_items()
        if holds_items and not rebuild:
            self._require_lately(away_ms)
        return Looked(
            state=None, away_ms=away_ms, rebuild=rebuild and holds_items, holds_items=holds_items
        )

    async def run(
        self,
        looked: Looked,
        on_step: Callable[[str], None],
        on_progress: Callable[[str, Copied], None],
        on_left: Callable[[Left], None],
    ) -> None:
        """Have it join. ``on_step`` is told what is begun, ``on_progress`` of each replica's copy.

        Raises HeldError where an engine does not pause, or reads the stream of a replica that is
        being rebuilt.
        """
        name, state = self._new.name, looked.state
        self._resumed = state is Member.COPYING
        if state is None:
            state = Member.REBUILDING if looked.rebuild else Member.JOINING
            await self._note(state, looked)
        if state is Member.REBUILDING:
            on_step(f"taking away from {name} what the others do not have; it goes to its journal")
            rebuild = Rebuild(self._new, self._others, clock=self._clock)
            taken = await rebuild.run(lambda items: on_progress(name, Copied(items=items)))
            on_step(f"took away {taken:,}")
            await self._note(state := Member.JOINING, looked)
        if state is Member.JOINING:
            on_step(f"telling the others' engines of {name}")
            await self._meet()
            on_step(f"carrying tombstones to {name}")
            await self._bury_all()
            if looked.holds_items:
                on_step(f"removing from {name} what was deleted while it was away")
                await self._outrank_all()
            await self._note(state := Member.COPYING, looked)
        if state is Member.COPYING:
            await self._copy_all(looked, on_step, on_progress, on_left)

    async def finish(self, looked: Looked) -> None:
        """Note that it has joined."""
        await self._note(Member.MEMBER, looked)

    async def _note(self, state: Member, looked: Looked) -> None:
        await self._new.checkpoints.put(
            MEMBER_ROW,
            state=state.value,
            at_ms=self._clock(),
            away_ms=looked.away_ms,
            rebuild=looked.rebuild,
            holds_items=looked.holds_items,
        )

    def _require_lately(self, away_ms: int | None) -> None:
        name, days = self._new.name, self._new.side.tombstone_days
        if away_ms is None:
            raise AwayTooLongError(
                f"{name} has items, and was no replica of {self._new.side.name}: which of them the"
                " others have deleted, nobody can tell"
            )
        if away_ms > days * MS_PER_DAY:
            raise AwayTooLongError(
                f"{name} was away for {away_ms / MS_PER_DAY:.1f} days, and tombstones are kept for"
                f" {days}: what the others deleted meanwhile would come back"
            )

    async def _require_history(self, site: Site, known: Known) -> None:
        table = await described(site.api, site.side.source.table, self._backoff)
        shards = await shards_of(site.api, table.stream, self._backoff)
        why = why_lost(known, table.stream, shards, self._clock())
        if why is not None:
            raise HistoryLostError(f"{site.side.title}: {why}")

    async def _holds_items(self) -> bool:
        table = self._new.table
        if await describe(self._new.api, table, self._backoff) is None:
            return False
        answer = await self._new.call("Scan", {"TableName": table, "Limit": 1})
        return bool(answer["Items"])

    async def _meet(self) -> None:
        """Tell every consumer of its new target; who does not know it stops before it goes on."""
        for site in (*self._others, self._new):
            known = await site.checkpoints.load(positions=False)
            left = {name: at for name, at in left_of(known).items() if name != self._new.name}
            if not agreed(site.side, known):
                async with Hold(site.checkpoints, site.lease, self._clock):
                    await note(site.checkpoints, site.side, left)

    async def _bury_all(self) -> None:
        """Carry the others' tombstones to it; what only its own replica may know stays behind."""
        ledger = TwoWay(self._mesh, self._new.name).ledger
        theirs = self._new.side.ledger_of(self._new.side.source)

        async def bury(row: Wire) -> None:
            now_s = self._clock() // 1_000
            tombstone = ledger.entry(row, now_s).tombstone
            if tombstone is not None:
                given = msgspec.structs.replace(tombstone, mark=None)
                request = ledger.bury(theirs, row["k"]["S"], given, now_s)
                with contextlib.suppress(ConditionFailedError):  # it has a later one
                    await self._new.call("UpdateItem", request)

        for site in self._others:
            async for page in self._tombstones(site):
                await each(page, bury)

    async def _tombstones(self, site: Site) -> AsyncIterator[list[Wire]]:
        request: Wire = {
            "TableName": site.side.ledger_of(site.side.source),
            "ConsistentRead": True,
            "FilterExpression": "begins_with(#k, :k)",
            "ExpressionAttributeNames": {"#k": "k"},
            "ExpressionAttributeValues": {":k": {"S": f"{self._mesh.mirror}#"}},
        }
        while True:
            answer = await site.call("Scan", request)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _outrank_all(self) -> None:
        """Remove from it what a tombstone outranks; what was saved there unseen is journaled."""
        rules = TwoWay(self._mesh, self._new.name)
        place = self._new.side.source
        ledger = self._new.side.ledger_of(place)

        async def outrank(item: Item) -> None:
            key = row_key(self._mesh.mirror, item.key)
            row = (await self._new.call("GetItem", rules.ledger.read(ledger, key))).get("Item")
            now_ms = self._clock()
            tombstone = rules.ledger.entry(row, now_ms // 1_000).tombstone
            if tombstone is not None:
                record = StreamRecord(
                    0, "REMOVE", item.key, item.keys, None, item.image, now_ms / 1_000, by_ttl=False
                )
                delete = Delete(tombstone.rank, item.keys, key, tombstone, record, None)
                steps = rules.remote(delete, place.name, now_ms)
                await carry_out(steps, self._apis, self._backoff)

        async for page in (await self._new.reads()).scan(0, 1):
            await each(page, outrank)

    async def _copy_all(
        self,
        looked: Looked,
        on_step: Callable[[str], None],
        on_progress: Callable[[str, Copied], None],
        on_left: Callable[[Left], None],
    ) -> None:
        new = self._new.name
        if looked.holds_items and not looked.rebuild:
            on_step(f"copying from {new} to the others what was saved there, by rank")
            await self._copy(self._new, None, on_progress, on_left)
        for site in self._others:
            on_step(f"copying from {site.name} to {new}, by rank")
            await self._copy(site, new, on_progress, on_left)

    async def _copy(
        self,
        site: Site,
        only: str | None,
        on_progress: Callable[[str, Copied], None],
        on_left: Callable[[Left], None],
    ) -> None:
        links = site.links() if only is None else site.links().only(only)
        station = Station(links, site.api, site.checkpoints, site.lease, self._clock, self._backoff)
        await Backfill(station).run(
            lambda copied: on_progress(site.name, copied),
            on_left=on_left,
            restart=not self._resumed,
        )

    @property
    def _apis(self) -> dict[str, DynamoDB]:
        return {site.name: site.api for site in (*self._others, self._new)}
