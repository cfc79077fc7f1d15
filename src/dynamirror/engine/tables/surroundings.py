"""What stands around a mirror's tables: other readers of the stream, quotas, how much is written.

Asked of AWS's other services, each of which these credentials may or may not see. What can't be
looked at is said, with the reason, and nothing is concluded from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from dynamirror.config.model import Guard, Mirror, Place
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.source import Table
from dynamirror.engine.tables.findings import Finding, Severity, found, label
from dynamirror.engine.tables.schema import ON_DEMAND, billing, limits, write_units
from dynamirror.errors import AccessDeniedError, DynamirrorError, ServiceError
from dynamirror.ports import Clock, ControlPlane, DynamoDB

READERS_MAX = 2
"""Processes that may read a shard at once (Developer Guide, 'DynamoDB Streams')."""

INDEXES_MAX, TABLES_MAX = 20, 2_500
"""Global indexes of a table, tables of a region, unless the quota was raised (Developer Guide,
'Quotas')."""

TABLES_NEAR = 0.95
"""Of the quota: a mirror makes up to five tables in a region."""

TABLES_QUOTA = "Maximum number of tables"
INDEXES_QUOTA = "Global Secondary Indexes per table"

SKEW_S_MAX = 30
"""A clock that is wrong by more is worth mending: leases and versions in milliseconds go by it."""

ANSWER_S = 15.0
"""So long one service may take; without a network the SDK would try for minutes."""

TRAFFIC_H, TRAFFIC_S = 24, 60

ELSEWHERE = (
    "other readers that can't be seen from here (a KCL application, EventBridge Pipes, another"
    " dynamirror) count too: a shard may have two"
)


class Surroundings:
    """Looks around one mirror."""

    def __init__(
        self,
        mirror: Mirror,
        planes: Mapping[Place, ControlPlane | str],
        clock: Clock,
    ) -> None:
        """``planes``: for each of the mirror's places its other services, or why there are none."""
        self._mirror = mirror
        self._planes = planes
        self._clock = clock
        self._found: list[Finding] = []
        self._unseen: dict[str, list[str]] = {}

    async def look(
        self, source_api: DynamoDB, source: Table, targets: Mapping[Place, tuple[DynamoDB, Table]]
    ) -> list[Finding]:
        """Return what was found of tables that are there."""
        await asyncio.gather(
            self._readers(source_api, source),
            self._traffic(targets),
            self._clocks(),
            *(self._quotas(place, api, table) for place, (api, table) in targets.items()),
        )
        for why, what in sorted(self._unseen.items()):
            told = f"not looked at: {', '.join(sorted(set(what)))} ({why})"
            self._found.append(found(Severity.NOTE, self._mirror.source, told))
        return self._found

    async def _readers(self, api: DynamoDB, source: Table) -> None:
        place = self._mirror.source
        readers = [f"global table replication to {one}" for one in _replicas(source)]
        answer = await self._ask(
            place,
            "other readers of the stream",
            "lambda",
            "ListEventSourceMappings",
            EventSourceArn=source.stream or "",
        )
        for mapping in (answer or {}).get("EventSourceMappings", ()) if source.stream else ():
            name = str(mapping.get("FunctionArn", "")).rpartition(":function:")[2]
            if mapping.get("State") not in ("Disabled", "Deleting"):
                readers.append(f"the Lambda function {name}")
        if len(readers) >= READERS_MAX:
            self._found.append(
                found(
                    Severity.FINDING,
                    place,
                    f"the stream is read by {' and '.join(readers)}; more than {READERS_MAX}"
                    " readers of a shard are throttled",
                    "unless one of them is this mirror's function, take one away, or let one"
                    " function pass the changes on",
                )
            )
        elif readers:
            what = f"the stream is read by {readers[0]}; {ELSEWHERE}"
            self._found.append(found(Severity.NOTE, place, what))
        for name in await _kinesis(api, place):
            what = f"its changes also go to the Kinesis stream {name}, which is no reader of shards"
            self._found.append(found(Severity.NOTE, place, what))

    async def _traffic(self, targets: Mapping[Place, tuple[DynamoDB, Table]]) -> None:
        """Hold the source's write rate against what the targets take."""
        place = self._mirror.source
        until = datetime.fromtimestamp(self._clock() / 1_000, UTC)
        answer = await self._ask(
            place,
            "the source's write rate",
            "cloudwatch",
            "GetMetricStatistics",
            Namespace="AWS/DynamoDB",
            MetricName="ConsumedWriteCapacityUnits",
            Dimensions=[{"Name": "TableName", "Value": label(place).partition("/")[2]}],
            StartTime=until - timedelta(hours=TRAFFIC_H),
            EndTime=until,
            Period=TRAFFIC_S,
            Statistics=["Sum"],
        )
        sums = [point["Sum"] for point in (answer or {}).get("Datapoints", ())]
        factor = 2 if self._mirror.guard is Guard.LEDGER else 1
        peak = max(sums, default=0) / TRAFFIC_S * factor
        for target, (api, table) in targets.items():
            most = await self._most(target, api, table)
            if most is not None and peak > most:
                self._found.append(
                    found(
                        Severity.FINDING,
                        target,
                        f"takes at most {most:,.0f} write units a second; the source's busiest"
                        f" minute of the last {TRAFFIC_H} hours needs {peak:,.0f}",
                        "raise its capacity, its limit on demand or the quota; the mirror lags"
                        " until it has caught up",
                    )
                )

    async def _most(self, place: Place, api: DynamoDB, table: Table) -> float | None:
        """Return the write units a second that a table takes at most; None: not told."""
        if billing(table.description) != ON_DEMAND:
            return write_units(table.description)
        given = limits(table.description).get("MaxWriteRequestUnits")
        try:
            quota = decode(await api.call("DescribeLimits", encode({}))).get(
                "TableMaxWriteCapacityUnits"
            )
        except ServiceError as error:
            self._note_unseen("the account's limits", _why(place, error))
            quota = None
        known = [units for units in (given, quota) if units]
        return min(known, default=None)

    async def _quotas(self, place: Place, api: DynamoDB, table: Table) -> None:
        answer = await self._ask(
            place, "quotas", "service-quotas", "ListServiceQuotas", ServiceCode="dynamodb"
        )
        quotas = {one["QuotaName"]: one["Value"] for one in (answer or {}).get("Quotas", ())}
        most = int(quotas.get(INDEXES_QUOTA, INDEXES_MAX))
        count = len(table.description.get("GlobalSecondaryIndexes") or ())
        if count >= most:
            what = f"has {count} global indexes, as many as may be: no more can be added"
            self._found.append(found(Severity.NOTE, place, what))
        tables, most = await self._tables(place, api), int(quotas.get(TABLES_QUOTA, TABLES_MAX))
        if tables > most * TABLES_NEAR:
            what = f"this region has {tables:,} tables, of {most:,} that may be"
            remedy = "ask AWS for a higher quota, before `dynamirror init` needs it"
            self._found.append(found(Severity.FINDING, place, what, remedy))

    async def _tables(self, place: Place, api: DynamoDB) -> int:
        request: Wire = {}
        count = 0
        while True:
            try:
                answer = decode(await api.call("ListTables", encode(request)))
            except ServiceError as error:
                self._note_unseen("how many tables there are", _why(place, error))
                return 0
            count += len(answer.get("TableNames", ()))
            if "LastEvaluatedTableName" not in answer:
                return count
            request = {"ExclusiveStartTableName": answer["LastEvaluatedTableName"]}

    async def _clocks(self) -> None:
        """Hold this machine's clock against AWS's."""
        place = self._mirror.source
        what = "this machine's clock"
        answer = await self._ask(place, what, "dynamodb", "DescribeLimits")
        headers = (answer or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if "date" not in headers:
            return
        ahead_s = self._clock() / 1_000 - parsedate_to_datetime(headers["date"]).timestamp()
        if abs(ahead_s) > SKEW_S_MAX:
            how = "ahead of" if ahead_s > 0 else "behind"
            self._found.append(
                found(
                    Severity.FINDING,
                    place,
                    f"this machine's clock is {abs(ahead_s):,.0f} s {how} AWS's",
                    "let the machine keep time (chrony, ntpd): leases go by the clock, and so do"
                    " versions in milliseconds",
                )
            )

    async def _ask(
        self, place: Place, what: str, service: str, operation: str, **parameters: Any
    ) -> dict[str, Any] | None:
        """Return an answer; None after noting why there is none."""
        plane = self._planes[place]
        if isinstance(plane, str):
            self._note_unseen(what, plane)
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await plane.call(service, operation, **parameters)
        except TimeoutError:
            self._note_unseen(what, f"no answer from {service} in {place.region}")
        except AccessDeniedError:
            self._note_unseen(what, f"not allowed: {service}:{operation}")
        except DynamirrorError as error:
            self._note_unseen(what, _why(place, error))
        return None

    def _note_unseen(self, what: str, why: str) -> None:
        self._unseen.setdefault(why, []).append(what)


async def _kinesis(api: DynamoDB, place: Place) -> list[str]:
    """Return the Kinesis streams that get a table's changes; none where that can't be asked."""
    try:
        answer = decode(
            await api.call(
                "DescribeKinesisStreamingDestination", encode({"TableName": place.table})
            )
        )
    except ServiceError:
        return []
    return [
        str(one["StreamArn"]).rpartition("/")[2]
        for one in answer.get("KinesisDataStreamDestinations", ())
        if one.get("DestinationStatus") in ("ACTIVE", "ENABLING", "UPDATING")
    ]


def _replicas(source: Table) -> Iterator[str]:
    """Yield the regions to which a global table replicates."""
    for replica in source.description.get("Replicas") or ():
        yield str(replica.get("RegionName"))


def _why(place: Place, error: DynamirrorError) -> str:
    code = error.code if isinstance(error, ServiceError) else type(error).__name__
    return f"{place.region} answers {code}"
