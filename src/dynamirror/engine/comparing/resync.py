"""Repair items that replicas of a two-way mirror hold differently, by the rules that every write
obeys: what outranks the others, be it an item or a tombstone, is carried to all.

Nothing here needs a pause: each request is refused where something of higher rank is. Two items of
one rank that differ were changed behind the mirror's back; one of them is given a version of its
own, and the other is kept in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from dynamirror.config.model import Side
from dynamirror.core.conflict import Loss, Reason, journal_rows
from dynamirror.core.mesh import Answer, Ask, Delete, Skip
from dynamirror.core.rank import fit, number
from dynamirror.core.record import StreamRecord
from dynamirror.core.repair import Carry, Standing, outranking
from dynamirror.core.two_way import TwoWay
from dynamirror.core.unchanged import unchanged
from dynamirror.core.values import Image, Wire, key_of, row_key, same
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
from dynamirror.engine.comparing.sight import marks_of
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.writing.mesh import mesh_of
from dynamirror.engine.writing.steps import answered
from dynamirror.errors import RefusedError, UnfitError
from dynamirror.ports import Clock, DynamoDB

REPORTED = (
    'both were written without raising the version, and unversioned = "report" leaves that to '
    "the application: save the item again"
)


UNTOLD = "no ledger tells of a delete there: what may once have been deleted comes back"


class TwoWayRepairer:
    """Repairs items at all replicas of a two-way mirror."""

    def __init__(
        self,
        side: Side,
        apis: Mapping[str, DynamoDB],
        parkings: Sequence[Parking],
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        """``side``: any of the mirror's; ``apis`` by the replicas' names; ``parkings``: of all."""
        self.mesh = mesh_of(side)
        self.names = [replica.name for replica in self.mesh.replicas]
        self.marks = marks_of(side)
        self.parkings = parkings
        self._apis = apis
        self._clock = clock
        self._backoff = backoff
        self._rules = {name: TwoWay(self.mesh, name) for name in self.names}

    async def run(self, drifts: Sequence[Drift], on_mended: OnMended, *, dry: bool = False) -> None:
        """Repair these items; see ``Repairer``."""
        limit = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for drift in drifts:
                tasks.create_task(within(limit, _Item(self, drift), on_mended, dry=dry))

    async def images(self, keys: Wire) -> dict[str, Wire | None]:
        """Return what each replica has of an item."""
        asks = [
            Ask(
                replica.name,
                "GetItem",
                {"TableName": replica.table, "Key": keys, "ConsistentRead": True},
            )
            for replica in self.mesh.replicas
        ]
        answers = await asyncio.gather(*map(self.ask, asks))
        return {ask.replica: answer.item or None for ask, answer in zip(asks, answers, strict=True)}

    async def standings(self, keys: Wire, images: Mapping[str, Wire | None]) -> list[Standing]:
        """Return each replica's rank and tombstone. Raises UnfitError for an item without rank."""
        row = row_key(self.mesh.mirror, key_of(keys))
        found = []
        for replica in self.mesh.replicas:
            ledger = self._rules[replica.name].ledger
            answer = await self.ask(Ask(replica.name, "GetItem", ledger.read(replica.ledger, row)))
            tombstone = ledger.entry(answer.item, self._clock() // 1_000).tombstone
            image = images[replica.name]
            rank = None if image is None else self.marks.view(image, replica.name).rank
            found.append(Standing(replica.name, rank, tombstone))
        return found

    async def carry(self, carry: Carry, keys: Wire, image: Wire | None) -> Skip | None:
        """Carry an item or tombstone to all other replicas; the rules may refuse, see Skip."""
        rules, now_ms = self._rules[carry.names[0]], self._clock()
        record = self._record(keys, None if carry.tombstone else image)
        if carry.tombstone is not None:
            # Of its own replica's item too, where a late put has brought one back.
            grave = msgspec.structs.replace(carry.tombstone, mark=None)
            row = row_key(self.mesh.mirror, record.key)
            verdict: Any = Delete(grave.rank, keys, row, grave, record, None)
            there = self.names
        else:
            verdict = await self._carried_out(rules.resync(record, now_ms))
            if isinstance(verdict, Skip):
                return verdict
            there = rules.others
        await asyncio.gather(
            *(self._carried_out(rules.remote(verdict, name, now_ms)) for name in there)
        )
        return None

    def alike(self, images: Iterable[Wire | None]) -> bool:
        """Tell whether images are the same but for their stamps."""
        bare = [image and self._bare(image) for image in images]
        return all(
            one is other if one is None or other is None else same(one, other)
            for one, other in pairwise(bare)
        )

    async def level(self, keys: Wire, held: Mapping[str, Wire]) -> None:
        """Of replicas' items of one rank that differ, give the first a version of its own, and keep
        the others in the journal.
        """
        winner = next(iter(held))
        rank = self.marks.view(held[winner], winner).rank
        version = fit(max(self._clock(), rank.version + 1))
        risen = self.marks.peers.rank(version, winner)
        for replica in self.mesh.replicas:
            image = held.get(replica.name)
            if image is None or self.alike([image, held[winner]]):
                continue
            record = self._record(keys, image)
            loss = Loss(record, image, rank, held[winner], risen, Reason.UNVERSIONED)
            for row in journal_rows(self.mesh.mirror, self.mesh.journal_days, loss):
                request = {"TableName": replica.journal, "Item": row}
                await self.ask(Ask(replica.name, "PutItem", request))
        (place,) = [replica for replica in self.mesh.replicas if replica.name == winner]
        attribute = self.marks.version_attribute
        condition = unchanged(held[winner], keys, (attribute, self.marks.stamp_attribute))
        names = {**condition["ExpressionAttributeNames"], "#v": attribute}
        values = {**condition["ExpressionAttributeValues"], ":v": number(version)}
        request = {
            "TableName": place.table,
            "Key": keys,
            "UpdateExpression": "SET #v = :v",
            "ConditionExpression": condition["ConditionExpression"],
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
        await self.ask(Ask(winner, "UpdateItem", request))

    async def ask(self, ask: Ask) -> Answer:
        """Send one request until it is answered."""
        return await persist(lambda: answered(self._apis, ask), self._backoff)

    def _bare(self, image: Wire) -> Wire:
        stamp = self.marks.stamp_attribute
        return {name: value for name, value in image.items() if name != stamp}

    def _record(self, keys: Wire, image: Image | None) -> StreamRecord:
        now_s = self._clock() / 1_000  # what is kept of it expires in its time
        return StreamRecord(0, "MODIFY", key_of(keys), keys, image, None, now_s, by_ttl=False)

    async def _carried_out(self, steps: Generator[Ask, Answer, Any]) -> Any:
        try:
            ask = next(steps)
            while True:
                ask = steps.send(await self.ask(ask))
        except StopIteration as end:
            return end.value


class _Item:
    """One item that is being repaired."""

    def __init__(self, repairer: TwoWayRepairer, drift: Drift) -> None:
        self._repairer = repairer
        self._drift = drift
        self._action: str | None = None
        self._origin: str | None = None
        self._why: str | None = None

    async def mend(self, *, dry: bool) -> Mended:
        """Repair it, or say what would be done."""
        try:
            return await self._mended(dry=dry)
        except (RefusedError, UnfitError) as error:
            return self._told(Outcome.LEFT, str(error))

    async def _mended(self, *, dry: bool) -> Mended:
        repairer, keys = self._repairer, self._drift.key
        for parking in repairer.parkings:
            if await is_parked(parking, repairer.names, key_of(keys)):
                return self._told(Outcome.LEFT, PARKED)
        for _ in range(ATTEMPTS_MAX):
            images = await repairer.images(keys)
            standings = await repairer.standings(keys, images)
            ranks = {standing.rank for standing in standings}
            if len(ranks) == 1 and repairer.alike(images.values()):
                outcome = Outcome.REPAIRED if self._action else Outcome.EQUAL
                return self._told(outcome, self._why)
            if (why := await self._round(images, standings, dry=dry)) is not None:
                return self._told(Outcome.LEFT, why)
            if dry:
                return self._told(Outcome.PLANNED, self._why)
        return self._told(Outcome.LEFT, "it goes on changing: try again")

    async def _round(
        self, images: Mapping[str, Wire | None], standings: Sequence[Standing], *, dry: bool
    ) -> str | None:
        """Carry what outranks the rest, or raise one of several; return why it can't be done."""
        repairer, keys = self._repairer, self._drift.key
        carry = outranking(standings)
        if carry is None:
            return None  # gone meanwhile
        holders = {name: image for name in carry.names if (image := images[name]) is not None}
        self._origin = carry.names[0]
        alike = repairer.alike(holders.values())
        if carry.tombstone is None and (carry.tied or not alike):
            self._action = "raise"
            if not repairer.mesh.bump:
                return REPORTED
            if not dry:
                await repairer.level(keys, holders)
            return None
        self._action = "put" if carry.tombstone is None else "delete"
        if None in images.values() and all(one.tombstone is None for one in standings):
            self._why = UNTOLD
        if dry:
            return None
        skip = await repairer.carry(carry, keys, images[self._origin])
        return REPORTED if skip is Skip.UNVERSIONED else None

    def _told(self, outcome: Outcome, why: str | None = None) -> Mended:
        done = outcome is not Outcome.EQUAL
        return Mended(
            kind=self._drift.kind,
            target=self._drift.target,
            key=self._drift.key,
            outcome=outcome,
            action=self._action if done else None,
            origin=self._origin if done else None,
            why=why,
        )
