"""Two regions in memory and a mirror declared between them, of which nothing is made yet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from dynamirror.config.model import OneWay, Place, Transport
from dynamirror.core.values import Wire
from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.needs import tables_of_ours
from dynamirror.engine.tables.provision import Plan, Step, plan
from dynamirror.errors import AccessDeniedError, NotFoundError
from dynamirror.memory import MemoryDynamoDB

START_MS = 1_800_000_000_000

BACKOFF = Backoff(base_s=0.0)

SOURCE = Place(region="us-east-1", table="Stories", name="us-east-1")
TARGET = Place(region="eu-west-1", table="Stories", name="eu-west-1")

SIMPLE: Wire = {
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}

READS = ("Describe", "Get", "List", "Scan", "Query")


class Regions:
    """us-east-1 and eu-west-1. ``called`` has the operations that could change something."""

    def __init__(self, **settings: Any) -> None:
        self.now_ms = START_MS
        self.mirror = OneWay(
            **{"name": "stories", "source": SOURCE, "targets": (TARGET,), **settings}
        )
        self.called: list[str] = []
        self.denied: set[str] = set()
        self.us, self.eu = (
            MemoryDynamoDB(region, clock=lambda: self.now_ms, before=self._before)
            for region in ("us-east-1", "eu-west-1")
        )

    def api_of(self, place: Place, _: Transport = Transport.NATIVE) -> MemoryDynamoDB:
        return {"us-east-1": self.us, "eu-west-1": self.eu}[place.region]

    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.us, self.mirror.checkpoints, "stories/us-east-1", BACKOFF)

    def source(self, **more: Any) -> None:
        """Create the source table."""
        self.us.perform("CreateTable", {"TableName": "Stories", **SIMPLE, **more})

    def put(self, item: Wire, table: str = "Stories") -> None:
        self.us.perform("PutItem", {"TableName": table, "Item": item})

    def plan(self, *mirrors: OneWay, mend: bool = False) -> Plan:
        """Return what init would do."""
        chosen = mirrors or (self.mirror,)
        return plan(chosen, asyncio.run(observe(chosen, self.api_of, BACKOFF)), mend=mend)

    def init(self, *mirrors: OneWay, mend: bool = False) -> list[Step]:
        """Do what init does, and return what was done."""
        done: list[Step] = []
        made = self.plan(*mirrors, mend=mend)
        asyncio.run(carry_out(made, self.api_of, BACKOFF, done.append, poll_s=0))
        return done

    def described(self, api: MemoryDynamoDB, table: str) -> Wire:
        answer: Wire = api.perform("DescribeTable", {"TableName": table})["Table"]
        return answer

    def expires_by(self, api: MemoryDynamoDB, table: str) -> str | None:
        told = api.perform("DescribeTimeToLive", {"TableName": table})["TimeToLiveDescription"]
        name: str | None = told.get("AttributeName")
        return name

    def there(self) -> list[str]:
        """Return the tables of the mirror that exist."""
        places = [SOURCE, TARGET, *(ours.place for ours in tables_of_ours(self.mirror))]
        return [f"{place.region}/{place.table}" for place in places if self._has(place)]

    def with_mirror(self, **settings: Any) -> OneWay:
        return replace(self.mirror, **settings)

    def _has(self, place: Place) -> bool:
        try:
            self.api_of(place).table(place.table)
        except NotFoundError:
            return False
        return True

    async def _before(self, operation: str, _: bytes) -> None:
        if not operation.startswith(READS):
            self.called.append(operation)
        if operation in self.denied:
            raise AccessDeniedError("AccessDeniedException", f"not authorized: {operation}")
