"""All that is known of one item: in each table, in our tables, and what a repair would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dynamirror.config.model import Guard, Mirror, Place, Side
from dynamirror.core.drift import End
from dynamirror.core.marks import is_ours
from dynamirror.core.rows import plain
from dynamirror.core.values import Image, Key, Wire, decode, encode, key_of, opened, row_key
from dynamirror.engine.comparing.mended import Mended, Repairer
from dynamirror.engine.comparing.sight import UNPLACED, Showing, marks_of, sight_of
from dynamirror.engine.comparing.suspects import Drift, drift_of, read_both
from dynamirror.engine.comparing.untold import explained
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.journal import Conflict, Journal, Of
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.source import Table
from dynamirror.engine.writing.links import Links
from dynamirror.errors import NotFoundError, UnfitError
from dynamirror.ports import Clock, DynamoDB


class ItemAt(msgspec.Struct, frozen=True, kw_only=True):
    """An item as one table holds it."""

    name: str
    """The place's short name."""
    region: str
    table: str
    key: Wire
    """There; another than the source's only where a view composes it, and empty where it can't."""
    image: Wire | None
    rank: Of | None = None
    """In a two-way mirror: what it competes with."""
    stamp: Wire | None = None
    """As it stands there: what the mirror last put, and what its author had seen."""
    mark: str | None = None
    """Guards ``item`` and ``ledger``: of the newest change that arrived."""
    ledger: dict[str, Any] | None = None
    """The row of the ledger beside it."""


class ParkedChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the item that is parked."""

    target: str
    event_name: str
    sequence_number: str
    parked_at_ms: int
    error: str


class OneItem(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an item."""

    mirror: str
    places: list[ItemAt]
    """The source first."""
    drift: list[Drift]
    """Just now: what is on its way differs too."""
    parked: list[ParkedChange]
    conflicts: list[Conflict]
    repair: list[Mended]
    """What ``verify --repair --yes`` would do."""


class Looker:
    """Looks at single items of one mirror."""

    def __init__(
        self,
        links: Links,
        apis: Mapping[str, DynamoDB],
        table: Table,
        *,
        repairer: Repairer,
        parkings: Sequence[Parking],
        journal: Journal | None,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        """``apis`` by the places' names; ``table``: the source's; ``journal``: if two-way."""
        self._links = links
        self._apis = apis
        self._table = table
        self._repairer = repairer
        self._parkings = parkings
        self._journal = journal
        self._clock = clock
        self._backoff = backoff

    async def look(self, keys: Wire) -> OneItem:
        """Return what is known of the item with these keys at the source."""
        mirror = self._links.mirror
        item = Item(key_of(keys), keys, msgspec.Raw())
        places: dict[str, ItemAt] = {}
        drifts: Sequence[Drift] = []
        for place in mirror.targets:
            showing = Showing(self._links, place, self._table)
            there = await self._there(showing, item)
            reads = self._reads(place, showing)
            sight = sight_of(self._links, place)
            mine, theirs = await read_both(showing, reads, [there])
            one, other = (side.get(there.key) for side in (mine, theirs))
            images = (one.image if one else None, other.image if other else None)
            if not sight.same(images[End.SOURCE], images[End.TARGET]):
                drifts = [*drifts, drift_of(sight, there, (one, other))]
            places[place.name] = await self._at(place, there, images[End.TARGET])
        source = await self._reads_of(mirror.source, self._table.key_names).get([keys])
        held = source[item.key].image if item.key in source else None
        mended: list[Mended] = []
        if isinstance(mirror, Side):
            now_s, backoff = self._clock() // 1_000, self._backoff
            drifts = await explained(mirror, self._apis, drifts, now_s=now_s, backoff=backoff)
        await self._repairer.run(drifts, mended.append, dry=True)
        return OneItem(
            mirror=mirror.name,
            places=[await self._at(mirror.source, item, held), *places.values()],
            drift=list(drifts),
            parked=await self._parked(item.key),
            conflicts=await self._conflicts(keys),
            repair=mended,
        )

    async def _there(self, showing: Showing, item: Item) -> Item:
        """Return the item's keys at a target: of one that moves, where it is to be now."""
        if not showing.reshapes:
            return item
        held = await self._reads_of(self._links.mirror.source, self._table.key_names).get(
            [item.keys]
        )
        shown = showing.shown(End.SOURCE, held[item.key]) if item.key in held else None
        return shown or showing.placed(item)

    def _reads(self, place: Place, showing: Showing) -> tuple[Reads, Reads]:
        source = self._reads_of(self._links.mirror.source, self._table.key_names)
        return source, self._reads_of(place, showing.key_names)

    def _reads_of(self, place: Place, names: Sequence[str]) -> Reads:
        return Reads(self._apis[place.name], place, names, self._backoff)

    async def _at(self, place: Place, item: Item, image: Image | None) -> ItemAt:
        mirror = self._links.mirror
        held = None if image is None else opened(image)
        row = await self._ledger(place, item.key)
        mark = None if row is None else row.get("q")
        if held is not None and mirror.guard is Guard.ITEM and place is not mirror.source:
            value = held.get(mirror.sequence_attribute)
            mark = value["S"] if value and is_ours(value) and "S" in value else None
        two_way = isinstance(mirror, Side)
        return ItemAt(
            name=place.name,
            region=place.region,
            table=place.table,
            key=item.keys,
            image=held,
            rank=_rank(mirror, place, held) if isinstance(mirror, Side) else None,
            stamp=held.get(mirror.stamp_attribute) if held and isinstance(mirror, Side) else None,
            mark=None if two_way else mark,
            ledger=row,
        )

    async def _ledger(self, place: Place, key: Key) -> dict[str, Any] | None:
        """Return a key's row in the ledger beside a place, if it has one."""
        mirror = self._links.mirror
        if not isinstance(mirror, Side) and (
            mirror.guard is not Guard.LEDGER or place is mirror.source or key[0] == UNPLACED
        ):
            return None
        row_keys = {"k": {"S": row_key(mirror.name, key)}}
        request = {"TableName": mirror.ledger_of(place), "Key": row_keys, "ConsistentRead": True}
        api, body = self._apis[place.name], encode(request)
        found = decode(await persist(lambda: api.call("GetItem", body), self._backoff)).get("Item")
        return plain(found) if found else None

    async def _parked(self, key: Key) -> list[ParkedChange]:
        found = []
        for parking in self._parkings:
            try:
                rows = [row async for row in parking.rows_of(key) if "target" in row]
            except NotFoundError:
                continue  # no such table: nothing was ever parked
            found += [
                ParkedChange(
                    target=row["target"],
                    event_name=row["event_name"],
                    sequence_number=row["sequence_number"],
                    parked_at_ms=row["parked_at"],
                    error=f"{row['code']}: {row['error']}",
                )
                for row in rows
            ]
        return found

    async def _conflicts(self, keys: Wire) -> list[Conflict]:
        if self._journal is None:
            return []
        return [one async for one in self._journal.conflicts(key=keys, images=True)]


def _rank(side: Mirror, place: Place, image: Wire | None) -> Of | None:
    if image is None or not isinstance(side, Side):
        return None
    try:
        rank = marks_of(side).view(image, place.name).rank
    except UnfitError:
        return None
    return Of(rank.version, rank.origin)
