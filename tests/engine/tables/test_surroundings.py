"""What stands around the tables is looked at where that is allowed, and said where it isn't."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from tests.engine.regions import SOURCE, TARGET, Regions

from dynamirror.config.model import Guard
from dynamirror.engine.source import Table
from dynamirror.engine.tables.findings import Finding, Severity
from dynamirror.engine.tables.surroundings import Surroundings
from dynamirror.errors import AccessDeniedError, TransientError

Answer = dict[str, Any] | Exception


class Plane:
    """Other services with canned answers; one that isn't told is empty."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def call(self, service: str, operation: str, **_: Any) -> dict[str, Any]:
        self.asked.append(f"{service}:{operation}")
        answer = self.answers.get(operation, {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None: ...


def look(
    regions: Regions, plane: Plane | str, spoil: Callable[[dict[str, Any]], None] = lambda _: None
) -> list[Finding]:
    description = {**regions.described(regions.us, "Stories")}
    spoil(description)
    target = Table(regions.described(regions.eu, "Stories"))
    around = Surroundings(
        regions.mirror, {SOURCE: plane, TARGET: plane}, clock=lambda: regions.now_ms
    )
    return asyncio.run(around.look(regions.us, Table(description), {TARGET: (regions.eu, target)}))


def ready(**more: Any) -> Regions:
    regions = Regions(**more)
    regions.source()
    regions.init()
    return regions


def mapping(name: str, state: str = "Enabled") -> dict[str, str]:
    return {"FunctionArn": f"arn:aws:lambda:us-east-1:1:function:{name}", "State": state}


def told(found: list[Finding], severity: Severity) -> list[str]:
    return [one.what for one in found if one.severity is severity]


def test_what_cannot_be_looked_at_is_said_once_with_the_reason() -> None:
    """Silence is not a clean bill: what was not seen is listed."""
    found = told(look(ready(), "no such thing here"), Severity.NOTE)

    (what,) = (one for one in found if "no such thing here" in one)
    assert "other readers of the stream" in what
    assert "the source's write rate" in what


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (AccessDeniedError("AccessDenied", "no"), "not allowed: lambda:ListEventSourceMappings"),
        (TransientError("ConnectTimeoutError", "no"), "us-east-1 answers ConnectTimeoutError"),
    ],
)
def test_a_refusal_is_no_failure(error: Exception, why: str) -> None:
    """One service that doesn't answer takes nothing from what the others tell."""
    plane = Plane(ListEventSourceMappings=error)

    found = look(ready(), plane)

    assert any(why in what for what in told(found, Severity.NOTE))
    assert "cloudwatch:GetMetricStatistics" in plane.asked


def test_readers_of_the_stream_are_counted() -> None:
    """One is told, two leave no room; a disabled mapping reads nothing; replication does."""
    one = look(ready(), Plane(ListEventSourceMappings={"EventSourceMappings": [mapping("a")]}))
    two = Plane(ListEventSourceMappings={"EventSourceMappings": [mapping("a"), mapping("b")]})
    off = Plane(
        ListEventSourceMappings={"EventSourceMappings": [mapping("a"), mapping("b", "Disabled")]}
    )

    def replicate(description: dict[str, Any]) -> None:
        description["Replicas"] = [{"RegionName": "ap-south-1"}]

    assert any("read by the Lambda function a;" in what for what in told(one, Severity.NOTE))
    assert told(one, Severity.FINDING) == []
    (what,) = told(look(ready(), two), Severity.FINDING)
    assert "the Lambda function a and the Lambda function b" in what
    assert told(look(ready(), off), Severity.FINDING) == []
    (what,) = told(look(ready(), off, replicate), Severity.FINDING)
    assert "global table replication to ap-south-1" in what


@pytest.mark.parametrize(
    ("guard", "sums", "count"),
    [
        (Guard.ORDER, [600.0, 59.0], 0),
        (Guard.ORDER, [601.0], 1),
        (Guard.LEDGER, [301.0], 1),
    ],
)
def test_a_target_slower_than_the_source_was_is_told(
    guard: Guard, sums: list[float], count: int
) -> None:
    """Capacity is held against the busiest minute that was, doubled by transactions."""
    regions = Regions(guard=guard)
    regions.source(
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 10},
    )
    regions.init()
    points = [{"Sum": one} for one in sums]

    found = look(regions, Plane(GetMetricStatistics={"Datapoints": points}))

    assert len(told(found, Severity.FINDING)) == count


@pytest.mark.parametrize(
    ("ahead_s", "how"), [(0, ""), (-90, "90 s behind"), (400, "400 s ahead of")]
)
def test_a_wrong_clock_is_told(ahead_s: int, how: str) -> None:
    """Leases and versions in milliseconds go by the clock: one that is wrong is a finding."""
    regions = ready()
    date = datetime.fromtimestamp(regions.now_ms / 1_000 - ahead_s, UTC)
    headers = {"date": format_datetime(date, usegmt=True)}
    plane = Plane(DescribeLimits={"ResponseMetadata": {"HTTPHeaders": headers}})

    found = told(look(regions, plane), Severity.FINDING)

    assert len(found) == bool(how)
    assert how in "".join(found)


def test_a_table_full_of_indexes_is_told() -> None:
    """The quota of the account counts, if it is told."""
    regions = ready()
    index = {
        "IndexName": "by-x",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }
    regions.eu.perform(
        "UpdateTable",
        {"TableName": "Stories", "GlobalSecondaryIndexUpdates": [{"Create": index}]},
    )
    quota = {"QuotaName": "Global Secondary Indexes per table", "Value": 1.0}

    assert any(
        "has 1 global indexes, as many as may be" in what
        for what in told(look(regions, Plane(ListServiceQuotas={"Quotas": [quota]})), Severity.NOTE)
    )


def test_a_region_full_of_tables_is_told() -> None:
    """Init makes tables: where hardly any more may be, that is said before it fails."""
    regions = ready()
    quota = {"QuotaName": "Maximum number of tables", "Value": 1.0}
    plane = Plane(ListServiceQuotas={"Quotas": [quota]})

    assert told(look(regions, plane), Severity.FINDING) == [
        "this region has 1 tables, of 1 that may be"
    ]
