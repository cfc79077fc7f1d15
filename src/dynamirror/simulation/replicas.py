"""The replicas of a simulated mirror: a region each, with the tables that two-way mirroring needs.

Requests are carried out at once, as parsed dicts: the scheduler decides what happens between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynamirror.core.mesh import Answer, Ask, Mesh, Replica
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, decode, key_of
from dynamirror.errors import ConditionFailedError
from dynamirror.memory import MemoryDynamoDB, Table

NAMES = ("A", "B", "C", "D")
TABLE, LEDGER, JOURNAL = "Sessions", "Sessions-dynamirror-ledger", "Sessions-dynamirror-journal"
KEY, KEY_NAME = "id", "k"
EXPIRES = "gone_at"


def mesh_of(count: int, *, bump: bool = True) -> Mesh:
    """Return a mirror of so many replicas."""
    replicas = tuple(Replica(name, TABLE, LEDGER, JOURNAL) for name in NAMES[:count])
    return Mesh("sessions", replicas, bump=bump)


class Place:
    """One replica's region."""

    def __init__(self, name: str, clock: Callable[[], int]) -> None:
        self.name = name
        self.db = MemoryDynamoDB(f"region-{name.lower()}", clock=clock)
        create(self.db)
        self.table: Table = self.db.table(TABLE)
        self._records: list[StreamRecord] = []

    def item(self, key: str) -> Wire | None:
        """Return what an application would read."""
        return self.table.items.get((key,))

    def records(self) -> list[StreamRecord]:
        """Return every record of the stream so far."""
        stream = self.table.stream
        if stream is None:
            raise LookupError(self.name)
        (shard,) = stream.shards.values()
        for record in shard.records[len(self._records) :]:
            self._records.append(
                StreamRecord(
                    record.number,
                    record.name,
                    key_of(record.keys),
                    record.keys,
                    record.new,
                    record.old,
                    record.at_ms // 1_000,
                    record.identity is not None,
                )
            )
        return self._records

    def journal(self) -> list[Wire]:
        """Return the conflicts told of here, each with its images parsed, and the winner's origin
        as ``by``.
        """
        rows = [
            decode(row["images"]["S"].encode()) | {"by": row["winner"]["M"]["origin"]["S"]}
            for row in self.db.table(JOURNAL).contents()
            if "reason" in row
        ]
        return sorted(rows, key=lambda row: str(row["loser"]))

    def perform(self, ask: Ask) -> Answer:
        """Carry out a request of ours."""
        try:
            answer = self.db.perform(ask.operation, ask.request)
        except ConditionFailedError as error:
            return Answer(held=False, item=decode(error.body).get("Item"))
        return Answer(held=True, item=answer.get("Item") or answer.get("Attributes"))


def create(db: MemoryDynamoDB) -> None:
    """Make a replica's tables."""
    images = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    _create(db, TABLE, [KEY], {"StreamSpecification": images})
    _create(db, LEDGER, ["k"], {})
    expires = {"Enabled": True, "AttributeName": "expires_at"}
    db.perform("UpdateTimeToLive", {"TableName": LEDGER, "TimeToLiveSpecification": expires})
    _create(db, JOURNAL, ["k", "at"], {})
    ttl = {"Enabled": True, "AttributeName": EXPIRES}
    db.perform("UpdateTimeToLive", {"TableName": TABLE, "TimeToLiveSpecification": ttl})


def _create(db: MemoryDynamoDB, name: str, keys: list[str], more: dict[str, Any]) -> None:
    kinds = ("HASH", "RANGE")
    db.perform(
        "CreateTable",
        {
            "TableName": name,
            "KeySchema": [
                {"AttributeName": key, "KeyType": kind}
                for key, kind in zip(keys, kinds, strict=False)
            ],
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
            "BillingMode": "PAY_PER_REQUEST",
            **more,
        },
    )
