"""What is known of a stream beyond this process: how far it was applied, and which stream it was.

One table beside the source, key ``link`` (mirror and source) and ``shard``. A row per shard holds
the position up to which every target has applied it; the row ``#stream`` lists the table's streams
in the order in which we met them (a sequence number means something only within one) and says
whether history was lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dynamirror.core.facts import Pause
from dynamirror.core.progress import Position
from dynamirror.core.rows import plain, row
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import ConditionFailedError, HeldError, NotFoundError
from dynamirror.ports import DynamoDB

STREAM_ROW = "#stream"
LEASE_ROW = "#lease"
PAUSE_ROWS = "#pause/"
"""Prefix of the rows by which somebody asks that the link be paused; his name follows."""
PAUSED_ROW = "#paused"
"""In which the holder of the lease says for whom it has paused."""
BACKFILL_ROW = "#backfill"
LASTING_ROW = PAUSE_ROWS + "lasting"
"""The pause that a person asked for: it lasts until somebody resumes the link."""
TO_ROWS = PAUSE_ROWS + "to/"
"""Prefix of the rows by which a person asks that one target get nothing; its name follows."""
LIMIT_ROW = "#limit"
"""How many items a second a running engine may write to each target, whatever is configured."""
VERIFIED_ROW = "#verified"
"""What the last comparison found."""
TARGETS_ROW = "#targets"
STOPPED_ROW = "#stopped"
"""Why the last process that read the stream ended, if it was not of its own will."""

DONE_DAYS = 7
"""How long the row of a shard read to its end is kept: long after the shard itself is gone."""


class Known(msgspec.Struct, frozen=True):
    """All that the checkpoint table tells of one stream's consumer."""

    streams: tuple[str, ...] = ()
    """ARNs of the table's streams, oldest first; the epoch is the place in this list."""
    enrolled_ms: int = 0
    """When the newest of them was met first: whoever copied the table did so after that."""
    lost: str | None = None
    """Why history was lost, until a backfill makes up for it."""
    positions: dict[str, Position] = {}
    """By shard, of the newest epoch; those of an older one no longer count."""
    lease: dict[str, Any] | None = None
    pauses: dict[str, Pause] = {}
    """By the rest of their rows' names."""
    paused: tuple[str, ...] = ()
    """For whom the holder of the lease has paused."""
    backfill: dict[str, Any] | None = None
    stopped: str | None = None
    """Why the last process that read the stream ended, if it was not of its own will."""
    targets: tuple[str, ...] | None = None
    """The targets that have all that came before the positions; None: not written yet."""
    limit_per_second: float | None = None
    """Set for the running engine; None: the configuration's holds."""
    verified: dict[str, Any] | None = None
    rows: dict[str, dict[str, Any]] = {}
    """All of the table's rows, for those who keep more there."""

    def pauses_at(self, now_ms: int) -> dict[str, Pause]:
        """Return those in force now: one with an end that isn't renewed ends."""
        return {
            name: pause
            for name, pause in sorted(self.pauses.items())
            if pause.until_ms is None or pause.until_ms > now_ms
        }

    def paused_for(self, now_ms: int) -> list[str]:
        """Return who has a right now that nothing be read."""
        in_force = self.pauses_at(now_ms).items()
        return [name for name, pause in in_force if pause.target is None]

    def held_back(self, now_ms: int) -> dict[str, str]:
        """Return the targets that are to get nothing now, and by which pause."""
        in_force = self.pauses_at(now_ms).items()
        return {pause.target: name for name, pause in in_force if pause.target is not None}


class Checkpoints:
    """The rows of one link's consumer."""

    def __init__(self, api: DynamoDB, table: str, link: str, backoff: Backoff) -> None:
        self.table = table
        self.link = link
        self._api = api
        self._backoff = backoff

    async def load(self, *, positions: bool = True) -> Known:
        """Read everything, strongly consistent, or all but the shards' positions."""
        found = await self.rows("" if positions else "#")
        return _known({shard: plain(wire) for shard, wire in found.items()})

    def beside(self, name: str) -> Checkpoints:
        """Return rows that belong to the link, and that ``load`` doesn't read."""
        return Checkpoints(self._api, self.table, f"{self.link}#{name}", self._backoff)

    async def rows(self, prefix: str = "") -> dict[str, Wire]:
        """Read the rows whose names begin so, strongly consistent, in wire form."""
        found: dict[str, Wire] = {}
        request: Wire = {
            "TableName": self.table,
            "ConsistentRead": True,
            "KeyConditionExpression": "#l = :l",
            "ExpressionAttributeNames": {"#l": "link"},
            "ExpressionAttributeValues": {":l": {"S": self.link}},
        }
        if prefix:
            request["KeyConditionExpression"] += " AND begins_with(#s, :c)"
            request["ExpressionAttributeNames"] |= {"#s": "shard"}
            request["ExpressionAttributeValues"] |= {":c": {"S": prefix}}
        while True:
            answer = decode(await self.call("Query", request))
            found.update((wire["shard"]["S"], wire) for wire in answer.get("Items", ()))
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def save(self, epoch: int, shard: str, position: Position, now_ms: int) -> None:
        """Write a shard's position, which never moves back within an epoch.

        Raises HeldError if another process has moved it further: the lease was lost unnoticed.
        """
        number = position.sequence_number
        text = None if number is None else f"{number:040d}"
        try:
            await self._save(epoch, shard, position, text, now_ms)
        except ConditionFailedError:
            raise HeldError(f"shard {shard} of {self.link} is read by another process") from None

    async def _save(
        self, epoch: int, shard: str, position: Position, text: str | None, now_ms: int
    ) -> None:
        further = "attribute_not_exists(#q)" if text is None else _NOT_FURTHER
        await self.put(
            shard,
            condition={
                "ConditionExpression": f"attribute_not_exists(#e) OR #e < :e OR "
                f"(#e = :e AND (#d = :no OR #d = :d) AND ({further}))",
                "ExpressionAttributeNames": {"#e": "epoch", "#d": "done", "#q": "sequence_number"},
                "ExpressionAttributeValues": {
                    ":e": {"N": str(epoch)},
                    ":d": {"BOOL": position.done},
                    ":no": {"BOOL": False},
                    **({} if text is None else {":q": {"S": text}}),
                },
            },
            epoch=epoch,
            sequence_number=text,
            done=position.done,
            read_until_ms=position.read_until_ms,
            digits=position.digits or None,
            parent=position.parent,
            saved_at=now_ms,
            expires_at=now_ms // 1_000 + DONE_DAYS * 86_400 if position.done else None,
        )

    async def enroll(self, known: Known, stream: str, now_ms: int) -> Known:
        """Make a stream the newest one of the list; whatever was lost before is made up for.

        Where something was, an epoch begins even if the stream is the same: what was copied to
        make up for it is of that epoch, and outranks all that was applied before.

        Raises ConditionFailedError if somebody else did so meanwhile: load again.
        """
        fresh = stream not in known.streams or known.lost is not None
        streams = (*known.streams, stream) if fresh else known.streams
        condition: Wire = {"ConditionExpression": "attribute_not_exists(#l)"}
        names = {"#l": "link"}
        if known.streams:
            condition = {
                "ConditionExpression": "size(#s) = :n",
                "ExpressionAttributeValues": {":n": {"N": str(len(known.streams))}},
            }
            names = {"#s": "streams"}
        await self.put(
            STREAM_ROW,
            condition={**condition, "ExpressionAttributeNames": names},
            streams=list(streams),
            enrolled_ms=now_ms,
        )
        positions = {} if fresh else known.positions
        return msgspec.structs.replace(
            known, streams=streams, enrolled_ms=now_ms, lost=None, positions=positions
        )

    async def met(self, stream: str, now_ms: int) -> Known:
        """Return what is known, having enrolled the stream if it is the table's first."""
        known = await self.load()
        if known.streams:
            return known
        try:
            return await self.enroll(known, stream, now_ms)
        except ConditionFailedError:
            return await self.load()

    async def lose(self, known: Known, why: str) -> None:
        """Write down that history was lost, so that no restart passes over it.

        Raises HeldError if a backfill has made up for it since ``known`` was read.
        """
        condition = {
            "ConditionExpression": "size(#s) = :n AND #e = :e",
            "ExpressionAttributeNames": {"#s": "streams", "#e": "enrolled_ms"},
            "ExpressionAttributeValues": {
                ":n": {"N": str(len(known.streams))},
                ":e": {"N": str(known.enrolled_ms)},
            },
        }
        try:
            await self.put(
                STREAM_ROW,
                condition=condition,
                streams=list(known.streams),
                enrolled_ms=known.enrolled_ms,
                lost=why,
            )
        except ConditionFailedError:
            raise HeldError(f"{self.link} was begun anew by another process") from None

    async def put(self, shard: str, *, condition: Wire | None = None, **values: Any) -> None:
        """Write one row."""
        item = row(link=self.link, shard=shard, **values)
        await self.call("PutItem", {"TableName": self.table, "Item": item, **(condition or {})})

    async def delete(self, shard: str, *, condition: Wire | None = None) -> None:
        """Delete one row."""
        key = {"link": {"S": self.link}, "shard": {"S": shard}}
        await self.call("DeleteItem", {"TableName": self.table, "Key": key, **(condition or {})})

    async def call(self, operation: str, request: Wire) -> bytes:
        """Send one request until it is answered."""
        body = encode(request)
        try:
            return await persist(lambda: self._api.call(operation, body), self._backoff)
        except NotFoundError as error:
            raise NotFoundError(error.code, f"there is no table {self.table!r}") from error


_NOT_FURTHER = "attribute_not_exists(#q) OR #q <= :q"


def _known(rows: dict[str, dict[str, Any]]) -> Known:
    stream = rows.get(STREAM_ROW, {})
    streams = tuple(stream.get("streams", ()))
    positions = {
        shard: Position(
            None if "sequence_number" not in values else int(values["sequence_number"]),
            values["done"],
            values["read_until_ms"],
            values.get("digits", 0),
            values.get("parent"),
        )
        for shard, values in rows.items()
        if not shard.startswith("#") and values["epoch"] == len(streams)
    }
    return Known(
        streams,
        stream.get("enrolled_ms", 0),
        stream.get("lost"),
        positions,
        rows.get(LEASE_ROW),
        {
            shard.removeprefix(PAUSE_ROWS): _pause(shard, values)
            for shard, values in rows.items()
            if shard.startswith(PAUSE_ROWS)
        },
        tuple(rows.get(PAUSED_ROW, {}).get("for_whom", ())),
        rows.get(BACKFILL_ROW),
        rows.get(STOPPED_ROW, {}).get("why"),
        tuple(rows[TARGETS_ROW]["names"]) if TARGETS_ROW in rows else None,
        float(rows[LIMIT_ROW]["per_second"]) if LIMIT_ROW in rows else None,
        rows.get(VERIFIED_ROW),
        rows=rows,
    )


def _pause(shard: str, values: dict[str, Any]) -> Pause:
    return Pause(
        by=values.get("by", shard.removeprefix(PAUSE_ROWS)),
        until_ms=values.get("until_ms"),
        why=values.get("why", ""),
        since_ms=values.get("since_ms"),
        lasting=shard == LASTING_ROW or shard.startswith(TO_ROWS),
        target=shard.removeprefix(TO_ROWS) if shard.startswith(TO_ROWS) else None,
    )
