"""Write drift away, each item by a request that is refused where anything has changed since.

One-way: the source's item is put, or the target's deleted, on condition that the target's is as it
was read. Under guard ``ledger`` on condition, too, that no change of the item has arrived since;
guards ``order`` and ``item`` can't tell that, so the link is paused meanwhile. What was read of the
source is then newer than all that was applied, so nothing older goes over newer data; and what the
stream brings afterwards is newer still, or is followed by what is.

A key with parked changes is left to ``redrive``. Two-way mirrors: see ``resync``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from dynamirror.config.model import Guard, Place
from dynamirror.core.one_way import reasons_of
from dynamirror.core.repair import Found, item_repair, ledger_repair
from dynamirror.core.values import Key, Wire, decode, encode, key_of, row_key
from dynamirror.engine.comparing.mended import (
    AT_ONCE,
    ATTEMPTS_MAX,
    PARKED,
    Mended,
    OnMended,
    Outcome,
    is_parked,
    within,
)
from dynamirror.engine.comparing.sight import Showing, sight_of
from dynamirror.engine.comparing.suspects import Drift, read_both
from dynamirror.engine.reads import Item, Reads
from dynamirror.engine.retry import persist
from dynamirror.engine.source import described
from dynamirror.engine.station import Station
from dynamirror.engine.stream.hold import Hold
from dynamirror.errors import (
    BusyError,
    ConditionFailedError,
    RefusedError,
    TransactionCanceledError,
    UnfitError,
)
from dynamirror.ports import DynamoDB

PAUSED_KEYS_MAX = 500
"""Items repaired in one pause of the link: a few seconds."""


class OneWayRepairer:
    """Repairs the items of a one-way mirror's targets."""

    def __init__(self, station: Station, targets: Mapping[str, DynamoDB]) -> None:
        self._links = links = station.links
        self._source = station.source
        self._targets = targets
        self._checkpoints = station.checkpoints
        self._lease = station.lease
        self._clock = station.clock
        self._backoff = station.backoff
        self.parking = links.parking_of(epoch=1)
        self.sights = {place.name: sight_of(links, place) for place in links.mirror.targets}
        self.showings: dict[str, Showing] = {}
        self._key_names: tuple[str, ...] = ()

    async def run(self, drifts: Sequence[Drift], on_mended: OnMended, *, dry: bool = False) -> None:
        """Repair these items; see ``Repairer``."""
        places = {place.name: place for place in self._links.mirror.targets}
        await self._learn()
        for at in range(0, len(drifts), PAUSED_KEYS_MAX):
            async with AsyncExitStack() as stack:
                hold = None
                if not dry and not self._links.mirror.copies_beside:
                    hold = Hold(self._checkpoints, self._lease, self._clock)
                    await stack.enter_async_context(hold)
                limit = asyncio.Semaphore(AT_ONCE)
                async with asyncio.TaskGroup() as tasks:
                    for drift in drifts[at : at + PAUSED_KEYS_MAX]:
                        item = _Item(self, places[drift.target], drift, hold)
                        tasks.create_task(within(limit, item, on_mended, dry=dry))

    async def _learn(self) -> None:
        """Learn the key attributes of both tables."""
        if not self.showings:
            mirror = self._links.mirror
            table = await described(self._source, mirror.source.table, self._backoff)
            self._key_names = table.key_names
            for place in mirror.targets:
                self.showings[place.name] = Showing(self._links, place, table)

    async def found(self, place: Place, keys: Wire) -> tuple[Found, bool]:
        """Return an item as it is at both tables, and whether it is the same.

        Raises UnfitError for one that the target's view can't be applied to.
        """
        key, sight = key_of(keys), self.sights[place.name]
        mark = await self._mark(place, key)  # first: no newer than what is read next
        item = Item(key, keys, msgspec.Raw())
        mine, theirs = await read_both(self.showings[place.name], self._reads(place), [item])
        if key in mine and (unfit := mine[key].unfit) is not None:
            raise UnfitError(unfit)
        one, other = (side[key].image if key in side else None for side in (mine, theirs))
        return Found(key, keys, one, other, mark), sight.same(one, other)

    async def write(self, place: Place, found: Found) -> bool:
        """Write what mends an item; return whether it was as it had been read."""
        mirror, api = self._links.mirror, self._targets[place.name]
        rules = self._links.rules(place, epoch=1)
        try:
            if mirror.guard is Guard.LEDGER:
                request = ledger_repair(rules, found)
                await persist(lambda: _transact(api, request), self._backoff)
            else:
                keep_mark = mirror.guard is Guard.ITEM
                operation, request = item_repair(rules, found, keep_mark=keep_mark)
                await persist(lambda: api.call(operation, request), self._backoff)
        except ConditionFailedError:
            return False
        return True

    async def _mark(self, place: Place, key: Key) -> str | None:
        if self._links.mirror.guard is not Guard.LEDGER:
            return None
        table = self._links.mirror.ledger_of(place)
        row = {"k": {"S": row_key(self._links.mirror.name, key)}}
        body = encode({"TableName": table, "Key": row, "ConsistentRead": True})
        api = self._targets[place.name]
        item = decode(await persist(lambda: api.call("GetItem", body), self._backoff)).get("Item")
        return item["q"]["S"] if item else None

    def _reads(self, place: Place) -> tuple[Reads, Reads]:
        names, mirror = self.showings[place.name].key_names, self._links.mirror
        api, backoff = self._targets[place.name], self._backoff
        return (
            Reads(self._source, mirror.source, self._key_names, backoff),
            Reads(api, place, names, backoff),
        )


class _Item:
    """One item that is being repaired."""

    def __init__(
        self, repairer: OneWayRepairer, place: Place, drift: Drift, hold: Hold | None
    ) -> None:
        self._repairer = repairer
        self._place = place
        self._keys = drift.key
        self._kind = drift.kind
        self._unfit = drift.why
        self._hold = hold

    async def mend(self, *, dry: bool) -> Mended:
        """Repair it, or say what would be done."""
        try:
            return await self._mended(dry=dry)
        except UnfitError as error:
            return self._told(Outcome.LEFT, why=str(error))

    async def _mended(self, *, dry: bool) -> Mended:
        repairer, place = self._repairer, self._place
        if self._unfit is not None:
            raise UnfitError(self._unfit)
        action = None
        for _ in range(ATTEMPTS_MAX):
            if await self._is_parked():
                return self._told(Outcome.LEFT, why=PARKED)
            found, same = await repairer.found(place, self._keys)
            if same:
                # Ours, where a write was made although its answer was lost.
                return self._told(Outcome.REPAIRED if action else Outcome.EQUAL, action=action)
            action = "delete" if found.wanted is None else "put"
            if dry:
                return self._told(Outcome.PLANNED, action=action)
            if self._hold is not None:
                self._hold.require()
            try:
                if await repairer.write(place, found):
                    return self._told(Outcome.REPAIRED, action=action)
            except RefusedError as error:
                return self._told(Outcome.LEFT, action=action, why=str(error))
        return self._told(Outcome.LEFT, why="it changes between each read and write: try again")

    async def _is_parked(self) -> bool:
        """Tell whether the item has changes parked, by its key at the source."""
        item = Item(key_of(self._keys), self._keys, msgspec.Raw())
        keys = self._repairer.showings[self._place.name].at_source(item)
        if keys is None:
            return False
        return await is_parked(self._repairer.parking, [self._place.name], key_of(keys))

    def _told(
        self, outcome: Outcome, *, action: str | None = None, why: str | None = None
    ) -> Mended:
        origin = self._repairer.sights[self._place.name].source if action else None
        return Mended(
            kind=self._kind,
            target=self._place.name,
            key=self._keys,
            outcome=outcome,
            action=action,
            origin=origin,
            why=why,
        )


async def _transact(api: DynamoDB, request: bytes) -> Any:
    """Send a transaction, and raise in our terms why it was canceled."""
    try:
        return await api.call("TransactWriteItems", request)
    except TransactionCanceledError as error:
        reasons = reasons_of(error)
        codes = ", ".join(reasons.codes)
        if reasons.hopeless:
            raise RefusedError(error.code, codes, error.body) from error
        if reasons.stale:
            raise ConditionFailedError(error.code, codes, error.body) from error
        raise BusyError(error.code, codes, error.body) from error
