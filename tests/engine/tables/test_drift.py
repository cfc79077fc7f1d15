"""Tables that have drifted apart: what differs is told, and mended on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.regions import SIMPLE, SOURCE, TARGET, Regions
from tests.engine.tables.test_preflight import checked
from tests.engine.tables.test_provision import RICH

from dynamirror.config.model import Deletes, Side
from dynamirror.core.values import Wire
from dynamirror.core.view.lens import View
from dynamirror.core.view.shape import Shape
from dynamirror.core.view.template import Template
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.findings import Severity
from dynamirror.engine.tables.provision import Step
from dynamirror.memory import MemoryDynamoDB

TAGS = [{"Key": "team", "Value": "news"}, {"Key": "cost", "Value": "7"}]
TAG_KEYS = {"AttributeName": "tag", "AttributeType": "B"}


def update(api: MemoryDynamoDB, **request: Any) -> None:
    api.perform("UpdateTable", {"TableName": "Stories", **request})


def recover(api: MemoryDynamoDB, *, on: bool) -> None:
    specification = {"PointInTimeRecoveryEnabled": on}
    api.perform(
        "UpdateContinuousBackups",
        {"TableName": "Stories", "PointInTimeRecoverySpecification": specification},
    )


def expire(api: MemoryDynamoDB, *, on: bool) -> None:
    specification = {"AttributeName": "until", "Enabled": on}
    api.perform(
        "UpdateTimeToLive", {"TableName": "Stories", "TimeToLiveSpecification": specification}
    )


def untag(api: MemoryDynamoDB) -> None:
    arn = api.table("Stories").arn
    api.perform("UntagResource", {"ResourceArn": arn, "TagKeys": ["team"]})


def tags(api: MemoryDynamoDB) -> Wire:
    return dict(api.table("Stories").tags)


@pytest.fixture
def regions() -> Regions:
    """A table with everything a table can have, and its mirror as init made it."""
    made = Regions()
    made.source(**RICH, Tags=TAGS)
    recover(made.us, on=True)
    expire(made.us, on=True)
    made.init()
    made.called.clear()
    return made


def test_a_new_target_has_recovery_and_tags(regions: Regions) -> None:
    """Point-in-time recovery and the tags come with the table."""
    assert regions.eu.table("Stories").point_in_time
    assert tags(regions.eu) == {"team": "news", "cost": "7"}
    assert regions.plan(mend=True).steps == ()


DRIFTED: dict[str, tuple[Callable[[MemoryDynamoDB], None], Severity, str, str]] = {
    "recovery": (
        lambda eu: recover(eu, on=False),
        Severity.FINDING,
        "point-in-time recovery: off here, on at us-east-1/Stories",
        "UpdateContinuousBackups",
    ),
    "protection": (
        lambda eu: update(eu, DeletionProtectionEnabled=False),
        Severity.FINDING,
        "protection from deletion: off here, on at us-east-1/Stories",
        "UpdateTable",
    ),
    "class": (
        lambda eu: update(eu, TableClass="STANDARD"),
        Severity.NOTE,
        "table class: STANDARD here, STANDARD_INFREQUENT_ACCESS at us-east-1/Stories",
        "UpdateTable",
    ),
    "billing": (
        lambda eu: update(eu, BillingMode="PAY_PER_REQUEST"),
        Severity.NOTE,
        "billing: on demand here, provisioned at us-east-1/Stories",
        "UpdateTable",
    ),
    "tags": (
        untag,
        Severity.NOTE,
        "tags: none of them here, team=news at us-east-1/Stories",
        "TagResource",
    ),
    "expiry": (
        lambda eu: expire(eu, on=False),
        Severity.NOTE,
        "time to live: off here, by 'until' at us-east-1/Stories",
        "UpdateTimeToLive",
    ),
    "index": (
        lambda eu: update(eu, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-tag"}}]),
        Severity.FINDING,
        "global index by-tag: missing here, there at us-east-1/Stories",
        "UpdateTable",
    ),
}


@pytest.mark.parametrize("drifted", DRIFTED)
def test_what_drifted_apart_is_told_and_mended(drifted: str, regions: Regions) -> None:
    """Each difference is told with both sides; a mended table differs in nothing more."""
    drift, severity, what, operation = DRIFTED[drifted]
    drift(regions.eu)

    (finding,) = (one for one in checked(regions).findings if one.here is not None)
    assert (finding.severity, finding.what) == (severity, what)
    assert "init CONFIG --mend" in finding.remedy
    assert [step.operation for step in regions.plan().steps] == []
    steps = regions.init(mend=True)

    assert [step.operation for step in steps] == [operation]
    assert [one for one in checked(regions).findings if one.here is not None] == []
    assert regions.plan(mend=True).steps == ()
    for part in ("GlobalSecondaryIndexes", "ProvisionedThroughput", "BillingModeSummary"):
        mine, theirs = (regions.described(api, "Stories")[part] for api in (regions.us, regions.eu))
        if isinstance(mine, list):
            mine, theirs = ([{**one, "IndexArn": ""} for one in part] for part in (mine, theirs))
        assert mine == theirs


def test_everything_is_mended_at_once_one_index_at_a_time(regions: Regions) -> None:
    """An UpdateTable changes one thing: an index, or the billing, or a switch."""
    for drift, *_ in DRIFTED.values():
        drift(regions.eu)
    kinds = [{"AttributeName": name, "AttributeType": "S"} for name in ("x", "y")]
    for name in ("x", "y"):
        index = {
            "IndexName": f"by-{name}",
            "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        }
        update(
            regions.us,
            AttributeDefinitions=kinds,
            GlobalSecondaryIndexUpdates=[{"Create": index}],
        )

    steps = regions.init(mend=True)

    created = [step.request.get("GlobalSecondaryIndexUpdates", []) for step in steps]
    assert max(map(len, created)) == 1
    assert sum(map(len, created)) == 3
    assert regions.plan(mend=True).steps == ()


def test_an_index_that_is_filled_is_waited_for(regions: Regions) -> None:
    """A step is over when its index is ACTIVE, and what it waits for is told meanwhile."""
    DRIFTED["index"][0](regions.eu)
    looks = 0
    told: list[str] = []

    async def count(operation: str, _: bytes) -> None:
        nonlocal looks
        looks += operation == "DescribeTable"

    regions.eu.before = count
    perform = regions.eu.perform

    def slowly(operation: str, request: Wire) -> Wire:
        answer = perform(operation, request)
        if operation == "DescribeTable" and looks < 5:
            for index in answer["Table"].get("GlobalSecondaryIndexes", []):
                index["IndexStatus"] = "CREATING"
        return answer

    made = regions.plan(mend=True)
    regions.eu.perform = slowly  # type: ignore[method-assign]

    def waiting(_: Step, what: str) -> None:
        told.append(what)

    asyncio.run(
        carry_out(made, regions.api_of, Backoff(), lambda _: None, poll_s=0, on_wait=waiting)
    )

    assert set(told) == {"index by-tag is CREATING"}
    assert looks == 5


def test_nothing_is_ever_taken_away(regions: Regions) -> None:
    """What a target has more is its owner's: an index is told of, a tag left alone."""
    update(regions.us, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-tag"}}])
    untag(regions.us)
    recover(regions.us, on=False)

    assert regions.init(mend=True) == []

    assert tags(regions.eu) == {"team": "news", "cost": "7"}
    told = [one.what for one in checked(regions).findings if one.here is not None]
    assert told == ["global index by-tag: there here, missing at us-east-1/Stories"]


def test_what_cannot_be_mended_is_said() -> None:
    """An index of another projection can't be changed, a local one not added: init says so."""
    regions = Regions()
    regions.source(**RICH)
    other = {
        **RICH,
        "LocalSecondaryIndexes": [],
        "GlobalSecondaryIndexes": [
            {**RICH["GlobalSecondaryIndexes"][0], "Projection": {"ProjectionType": "ALL"}}  # type: ignore[index]
        ],
    }
    regions.eu.perform("CreateTable", {"TableName": "Stories", **SIMPLE, **other})

    made = regions.plan(mend=True)

    assert not [
        step
        for step in made.steps
        if step.place.table == "Stories" and step.place.region == "eu-west-1"
    ]
    told = [one.what for one in made.findings if one.severity is Severity.FINDING]
    assert told == [
        "key or projection of global index by-tag: its own here, another at us-east-1/Stories",
        "local index by-tag-of-one: missing here, there at us-east-1/Stories",
    ]


def test_what_may_not_be_looked_at_is_not_judged(regions: Regions) -> None:
    """Without permission to read tags and backups nothing is said of them, and nothing breaks."""
    untag(regions.eu)
    recover(regions.eu, on=False)
    regions.denied |= {"ListTagsOfResource", "DescribeContinuousBackups"}

    assert [one for one in checked(regions).findings if one.here is not None] == []
    assert regions.plan(mend=True).steps == ()


def test_a_target_that_keeps_expired_items_is_not_mended_into_expiring_them() -> None:
    """With ttl_deletes = "ignore" a target without time to live is as it should be."""
    regions = Regions(ttl_deletes=Deletes.IGNORE)
    regions.source()
    expire(regions.us, on=True)
    regions.init()

    assert regions.plan(mend=True).steps == ()


def test_a_target_that_sees_a_view_gets_the_views_key() -> None:
    """Composed keys are text, renamed ones keep their type; indexes are left to the user."""
    for view, names, kinds in (
        (View(key={"pk": Template("STORY#{id}#{at}")}), ("pk",), ("S",)),
        (View(shape=Shape(rename={"at": "when"})), ("id", "when"), ("S", "N")),
    ):
        regions = Regions(views={"eu-west-1": view})
        regions.source(**RICH)

        regions.init()

        made = Table(regions.described(regions.eu, "Stories"))
        assert (made.key_names, made.key_types) == (names, kinds)
        assert "GlobalSecondaryIndexes" not in made.description
        made_plan = regions.plan(mend=True)
        assert made_plan.steps == ()
        assert [one for one in made_plan.findings if one.severity is not Severity.NOTE] == []


def test_the_strongest_replica_is_the_model() -> None:
    """Of two replicas that differ only one is mended, or each would be made like the other."""
    sides = tuple(
        Side(
            name="stories",
            source=one,
            targets=(other,),
            replicas=(SOURCE, TARGET),
        )
        for one, other in ((SOURCE, TARGET), (TARGET, SOURCE))
    )
    regions = Regions()
    regions.source()
    regions.init(*sides)
    update(regions.us, DeletionProtectionEnabled=True)
    update(regions.eu, TableClass="STANDARD_INFREQUENT_ACCESS")

    steps = regions.init(*sides, mend=True)

    assert [(step.place.region, step.sentence) for step in steps] == [
        ("eu-west-1", "eu-west-1/Stories: protect it from deletion"),
        ("eu-west-1", "eu-west-1/Stories: make its class STANDARD"),
    ]
