"""The journal of a two-way mirror, read; and a write that lost, made again.

Each replica has a journal beside it, with the writes made there that lost. A loser that is written
back is a new version, made at that replica on condition that the item still is as it was read, so
it never overwrites what nobody looked at; from there it travels like any other save.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping

import msgspec

from dynamirror.config.model import Place, Side
from dynamirror.core.rank import fit, number, version_of
from dynamirror.core.rows import plain
from dynamirror.core.unchanged import unchanged
from dynamirror.core.values import Wire, decode, encode, key_of, row_key
from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import ConditionFailedError, DynamirrorError, UnfitError
from dynamirror.ports import Clock, DynamoDB

ID_DIGITS = 16


class UnknownConflictError(DynamirrorError):
    """No replica's journal has an entry of that id."""

    hint = "List them with `dynamirror conflicts CONFIG`; entries expire after journal_days."


class ChangedError(DynamirrorError):
    """The item was saved or deleted after it was looked at."""

    hint = "Run the same command again: it looks at the item anew."


class Of(msgspec.Struct, frozen=True):
    """A rank, as the journal tells it."""

    version: int
    origin: str


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """One write that lost."""

    id: str
    mirror: str
    replica: str
    """Where it was made, and where it is kept."""
    key: Wire
    at_ms: int
    """When it lost."""
    reason: str
    """``overwritten`` or ``deleted`` by a write that did not know it, ``unversioned``, or
    ``rebuilt``: its replica was made a copy of the others.
    """
    loser: Of
    winner: Of
    images: dict[str, Wire | None] | None = None
    """``loser`` and ``winner``; no winner: a delete won. Only where they are asked for."""


class Restoring(msgspec.Struct, frozen=True, kw_only=True):
    """A loser to be written back."""

    conflict: Conflict
    now: Wire | None
    """What the replica has there now."""
    item: Wire
    """What it will have."""
    request: Wire


class Journal:
    """The journals beside the replicas of one mirror."""

    def __init__(
        self, side: Side, apis: Mapping[str, DynamoDB], *, clock: Clock, backoff: Backoff
    ) -> None:
        """``side``: any of the mirror's; ``apis`` by the replicas' names."""
        self._side = side
        self._apis = apis
        self._clock = clock
        self._backoff = backoff

    async def conflicts(
        self, *, key: Wire | None = None, since_ms: int = 0, images: bool = False
    ) -> AsyncIterator[Conflict]:
        """Yield what every replica's journal keeps, in no order."""
        for replica in self._side.replicas:
            async for row in self._rows(replica, key):
                values = plain(row)
                if values.get("mirror") != self._side.name or "parts" not in values:
                    continue  # another mirror's, or the continuation of a large one
                if values["at_ms"] >= since_ms:
                    told = await self._images(replica, values) if images else None
                    yield _conflict(replica, values, told)

    async def restoring(self, identity: str) -> Restoring:
        """Return what writes a loser back; see ``restore``."""
        async for conflict in self.conflicts():
            if conflict.id == identity:
                return await self._restoring(conflict)
        raise UnknownConflictError(f"mirror {self._side.name} has no conflict {identity}")

    async def restore(self, restoring: Restoring) -> None:
        """Write it. Raises ChangedError if the item isn't as it was any more."""
        try:
            await self._call(restoring.conflict.replica, "PutItem", restoring.request)
        except ConditionFailedError as error:
            raise ChangedError(f"the item was changed meanwhile: {error}") from error

    async def _restoring(self, conflict: Conflict) -> Restoring:
        (replica,) = [one for one in self._side.replicas if one.name == conflict.replica]
        version, stamp = self._side.version_attribute, self._side.stamp_attribute
        async for found in self.conflicts(key=conflict.key, images=True):
            if found.id == conflict.id:
                conflict = found
        loser = (conflict.images or {}).get("loser") or {}
        key = {"TableName": replica.table, "Key": conflict.key, "ConsistentRead": True}
        now: Wire | None = (await self._call(replica.name, "GetItem", key)).get("Item")
        highest = max(_version(now, version), conflict.loser.version, conflict.winner.version)
        item = {name: value for name, value in loser.items() if name != stamp}
        item[version] = number(fit(max(self._clock(), highest + 1)))
        if now is not None and stamp in now:
            item[stamp] = now[stamp]  # it tells what this save has seen
        request = {"TableName": replica.table, "Item": item, **unchanged(now, conflict.key)}
        return Restoring(conflict=conflict, now=now, item=item, request=request)

    async def _rows(self, replica: Place, key: Wire | None) -> AsyncIterator[Wire]:
        operation = "Scan"
        request: Wire = {"TableName": self._side.journal_of(replica)}
        if key is not None:
            operation = "Query"
            row = row_key(self._side.name, key_of(key))
            request |= {
                "KeyConditionExpression": "#k = :k",
                "ExpressionAttributeNames": {"#k": "k"},
                "ExpressionAttributeValues": {":k": {"S": row}},
            }
        while True:
            answer = await self._call(replica.name, operation, request)
            for row_wire in answer.get("Items", ()):
                yield row_wire
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _images(self, replica: Place, values: Wire) -> dict[str, Wire | None]:
        text = values["images"]
        for part in range(1, values["parts"]):
            at = values["at"].removesuffix("00") + f"{part:02d}"
            keys = {"k": {"S": values["k"]}, "at": {"S": at}}
            request = {"TableName": self._side.journal_of(replica), "Key": keys}
            text += plain((await self._call(replica.name, "GetItem", request))["Item"])["images"]
        images: dict[str, Wire | None] = decode(text.encode())
        return images

    async def _call(self, replica: str, operation: str, request: Wire) -> Wire:
        api, body = self._apis[replica], encode(request)
        return decode(await persist(lambda: api.call(operation, body), self._backoff))


def _conflict(replica: Place, values: Wire, images: dict[str, Wire | None] | None) -> Conflict:
    digest = hashlib.sha256(f"{values['k']}\n{values['at']}".encode()).hexdigest()
    return Conflict(
        id=f"{replica.name}:{digest[:ID_DIGITS]}",
        mirror=values["mirror"],
        replica=replica.name,
        key=values["keys"],
        at_ms=values["at_ms"],
        reason=values["reason"],
        loser=_of(values["loser"]),
        winner=_of(values["winner"]),
        images=images,
    )


def _of(wire: Wire) -> Of:
    return Of(int(wire["version"]["N"]), wire["origin"]["S"])


def _version(item: Wire | None, attribute: str) -> int:
    try:
        return version_of((item or {}).get(attribute)) or 0
    except UnfitError:
        return 0  # the loser replaces what could not be mirrored
