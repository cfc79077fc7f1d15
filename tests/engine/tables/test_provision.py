from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.engine.regions import BACKOFF, SIMPLE, TARGET, Regions
from tests.imitation import imitated

from dynamirror.config.model import Deletes, Guard, Place, Transport
from dynamirror.core.servers import Kind, habits_of
from dynamirror.core.view.lens import View
from dynamirror.core.view.shape import Hiding, Mask, Shape
from dynamirror.core.view.template import Template
from dynamirror.engine.tables.building import UnreadyError, carry_out
from dynamirror.engine.tables.findings import Severity
from dynamirror.engine.tables.provision import PHASES, NoSourceError
from dynamirror.ports import DynamoDB

RICH = {
    "KeySchema": [
        {"AttributeName": "id", "KeyType": "HASH"},
        {"AttributeName": "at", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "at", "AttributeType": "N"},
        {"AttributeName": "tag", "AttributeType": "B"},
    ],
    "BillingMode": "PROVISIONED",
    "ProvisionedThroughput": {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-tag-of-one",
            "KeySchema": [
                {"AttributeName": "id", "KeyType": "HASH"},
                {"AttributeName": "tag", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-tag",
            "KeySchema": [{"AttributeName": "tag", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x"]},
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 2},
        }
    ],
    "TableClass": "STANDARD_INFREQUENT_ACCESS",
    "DeletionProtectionEnabled": True,
}


@pytest.mark.parametrize("guard", Guard)
def test_after_init_nothing_is_left_to_do(guard: Guard) -> None:
    """Init makes all that a mirror needs, and a second init finds nothing to do."""
    regions = Regions(guard=guard)
    regions.source()

    regions.init()

    ledger = ["eu-west-1/Stories-dynamirror-ledger"] if guard is Guard.LEDGER else []
    assert regions.there() == [
        "us-east-1/Stories",
        "eu-west-1/Stories",
        "us-east-1/Stories-dynamirror-checkpoints",
        "us-east-1/Stories-dynamirror-parked",
        *ledger,
    ]
    assert regions.plan().steps == ()


def test_a_plan_changes_nothing() -> None:
    """Looking and planning send no request that could change a table."""
    regions = Regions(guard=Guard.LEDGER)
    regions.source()

    assert regions.plan().steps
    assert regions.called == []


def test_a_target_is_made_like_its_source() -> None:
    """Keys, indexes, projections, billing, class, protection and expiry are the source's."""
    regions = Regions()
    regions.source(**RICH)
    regions.us.perform(
        "UpdateTimeToLive",
        {
            "TableName": "Stories",
            "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "until"},
        },
    )

    regions.init()

    made, model = (regions.described(api, "Stories") for api in (regions.eu, regions.us))
    own = {"TableArn", "TableId", "LatestStreamArn", "LatestStreamLabel", "StreamSpecification"}
    indexes = {"LocalSecondaryIndexes", "GlobalSecondaryIndexes"}
    plain = model.keys() - own - indexes
    assert {name: made[name] for name in plain} == {name: model[name] for name in plain}
    for part in indexes:
        (mine,), (theirs,) = made[part], model[part]
        assert {**mine, "IndexArn": ""} == {**theirs, "IndexArn": ""}
    assert regions.expires_by(regions.eu, "Stories") == "until"


def test_an_on_demand_source_makes_an_on_demand_target() -> None:
    """A target of an on-demand table has no throughput of its own to run into."""
    regions = Regions()
    regions.source(OnDemandThroughput={"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": 50})

    (create,) = (step for step in regions.plan().steps if step.place.region == "eu-west-1")

    assert create.request["BillingMode"] == "PAY_PER_REQUEST"
    assert "ProvisionedThroughput" not in create.request


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        (Kind.ALTERNATOR, ["point-in-time recovery"]),
        (Kind.DYNAMODB_LOCAL, ["point-in-time recovery", "tags"]),
    ],
)
def test_what_a_target_can_not_have_is_told_and_not_tried(kind: Kind, lost: list[str]) -> None:
    """A target on a server that lacks an operation is made without; neither a second init, a mend
    nor a check asks for more.
    """
    regions = Regions(targets=(replace(TARGET, server=kind),))
    regions.source(Tags=[{"Key": "team", "Value": "stories"}])
    regions.us.perform(
        "UpdateContinuousBackups",
        {
            "TableName": "Stories",
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        },
    )
    there = imitated(kind, regions.eu, clock=lambda: regions.now_ms)

    def api_of(place: Place, _: Transport = Transport.NATIVE) -> DynamoDB:
        return there if place.region == TARGET.region else regions.us

    regions.api_of = api_of  # type: ignore[method-assign, assignment]
    told = [one.what for one in regions.plan().findings]

    regions.init()

    for what in ("point-in-time recovery", "tags"):
        note = f"not copied: {what}, which {habits_of(kind).title} does not have"
        assert (note in told) is (what in lost)
    assert regions.plan(mend=True).steps == ()
    assert regions.plan(mend=True).findings == ()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(), "until"),
        (Shape(rename={"until": "gone_at"}), "gone_at"),
        (Shape(exclude=frozenset({"until"})), None),
        (Shape(include=frozenset({"text"})), None),
        (Shape(mask={"until": Mask(Hiding.REDACT)}), None),
        (Shape(set={"until": {"N": "1900000000"}}), "until"),
    ],
)
def test_a_target_expires_items_by_what_its_view_calls_it(
    shape: Shape, expected: str | None
) -> None:
    """Renamed it goes by the new name; where the view leaves it out or hides it, nothing expires;
    a second init and a mend agree.
    """
    regions = Regions(views={"eu-west-1": View(shape=shape)})
    regions.source()
    specification = {"Enabled": True, "AttributeName": "until"}
    regions.us.perform(
        "UpdateTimeToLive", {"TableName": "Stories", "TimeToLiveSpecification": specification}
    )

    regions.init()

    assert regions.expires_by(regions.eu, "Stories") == expected
    assert regions.plan(mend=True).steps == ()
    if expected is not None:
        specification["Enabled"], specification["AttributeName"] = False, expected
        regions.eu.perform(
            "UpdateTimeToLive", {"TableName": "Stories", "TimeToLiveSpecification": specification}
        )
        regions.init(mend=True)
        assert regions.expires_by(regions.eu, "Stories") == expected


def test_a_target_that_keeps_expired_items_does_not_expire_them_itself() -> None:
    """With ttl_deletes = "ignore", time to live is not copied to the target."""
    regions = Regions(ttl_deletes=Deletes.IGNORE)
    regions.source()
    specification = {"Enabled": True, "AttributeName": "until"}
    regions.us.perform(
        "UpdateTimeToLive", {"TableName": "Stories", "TimeToLiveSpecification": specification}
    )

    regions.init()

    assert regions.expires_by(regions.eu, "Stories") is None


def test_rows_of_ours_expire() -> None:
    """Every table of our own lets rows go by expires_at, those that were there before too."""
    regions = Regions(guard=Guard.LEDGER)
    regions.source()
    row_keys = {
        "KeySchema": [
            {"AttributeName": "k", "KeyType": "HASH"},
            {"AttributeName": "seq", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "k", "AttributeType": "S"},
            {"AttributeName": "seq", "AttributeType": "S"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }
    regions.us.perform("CreateTable", {"TableName": "Stories-dynamirror-parked", **row_keys})

    regions.init()

    for api, name in (
        (regions.us, "checkpoints"),
        (regions.us, "parked"),
        (regions.eu, "ledger"),
    ):
        assert regions.expires_by(api, f"Stories-dynamirror-{name}") == "expires_at"


def test_a_missing_source_is_an_error_that_names_it() -> None:
    """A source is the user's: init never makes one, and says which mirror lacks which table."""
    regions = Regions()

    with pytest.raises(NoSourceError, match="mirror stories: no table us-east-1/Stories"):
        regions.plan()


def test_a_chain_is_made_in_one_go() -> None:
    """A source that an earlier mirror's target becomes counts as there."""
    regions = Regions()
    regions.source()
    onward = regions.with_mirror(
        name="onward",
        source=TARGET,
        targets=(Place(region="us-east-1", table="Copy", name="us-east-1"),),
    )

    regions.init(onward, regions.mirror)

    assert regions.described(regions.us, "Copy")["KeySchema"] == SIMPLE["KeySchema"]
    assert regions.described(regions.eu, "Stories")["StreamSpecification"]["StreamEnabled"]
    assert regions.plan(onward, regions.mirror).steps == ()


def test_two_mirrors_of_a_source_share_its_tables() -> None:
    """What two mirrors need alike is made once."""
    regions = Regions()
    regions.source()
    other = Place(region="eu-west-1", table="Other", name="eu-west-1")
    second = regions.with_mirror(name="second", targets=(other,))

    steps = regions.plan(regions.mirror, second).steps

    made = [(step.operation, step.place) for step in steps]
    assert len(made) == len(set(made))


def test_a_wrong_view_type_is_left_to_the_user() -> None:
    """Another reader may need a stream as it is: init says what is needed and lets it be."""
    regions = Regions()
    regions.source(StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})

    made = regions.plan()

    assert "UpdateTable" not in {step.operation for step in made.steps}
    (finding,) = (one for one in made.findings if one.severity is Severity.UNUSABLE)
    assert "KEYS_ONLY" in finding.what
    assert "NEW_AND_OLD_IMAGES" in finding.what


def test_a_table_that_is_not_ours_is_left_alone() -> None:
    """A table called like one of ours but with other keys is a finding; nothing is done to it."""
    regions = Regions()
    regions.source()
    regions.us.perform("CreateTable", {"TableName": "Stories-dynamirror-parked", **SIMPLE})

    made = regions.plan()

    assert not [step for step in made.steps if step.place.table.endswith("parked")]
    assert any("id (S), not k (S), seq (S)" in finding.what for finding in made.findings)


def test_a_target_of_another_key_is_left_to_the_user() -> None:
    """Init replaces nothing, and doesn't say that all is done."""
    regions = Regions()
    regions.source()
    other = {
        "KeySchema": [{"AttributeName": "other", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "other", "AttributeType": "S"}],
    }
    regions.eu.perform("CreateTable", {"TableName": "Stories", **SIMPLE, **other})

    findings = [one for one in regions.plan().findings if one.severity is Severity.UNUSABLE]

    assert ["its key is other (S)" in one.what for one in findings] == [True]


def test_expiry_by_another_attribute_is_a_finding() -> None:
    """Time to live goes by one attribute per table: init doesn't take it away from another."""
    regions = Regions()
    regions.source()
    regions.init()
    name = "Stories-dynamirror-parked"
    for on, attribute in ((False, "expires_at"), (True, "other")):
        specification = {"Enabled": on, "AttributeName": attribute}
        regions.us.perform(
            "UpdateTimeToLive", {"TableName": name, "TimeToLiveSpecification": specification}
        )

    made = regions.plan()

    assert made.steps == ()
    assert [finding.severity for finding in made.findings] == [Severity.FINDING]


def test_what_is_not_copied_is_said() -> None:
    """A new target lacks what DescribeTable doesn't tell; the plan says so."""
    regions = Regions()
    regions.source()

    told = [finding.what for finding in regions.plan().findings]
    for what in ("backups", "auto scaling", "resource policies", "Kinesis destinations"):
        assert any(what in one for one in told if one.startswith("not copied: "))


def test_a_table_made_meanwhile_is_as_good() -> None:
    """Two people running init at once both succeed."""
    regions = Regions()
    regions.source()
    made = regions.plan()
    asyncio.run(
        carry_out(
            type(made)(tuple(s for s in made.steps if s.operation == PHASES[0]), ()),
            regions.api_of,
            BACKOFF,
            lambda _: None,
        )
    )

    asyncio.run(carry_out(made, regions.api_of, BACKOFF, lambda _: None))

    assert regions.plan().steps == ()


def test_waiting_for_a_table_ends() -> None:
    """A table that never becomes ACTIVE is an error, not a command that hangs."""
    regions = Regions()
    regions.source()

    async def forget(operation: str, _: bytes) -> None:
        if operation == "DescribeTable":
            regions.eu.table("Stories").settings["TableStatus"] = "CREATING"

    made = regions.plan()
    regions.eu.before = forget
    with pytest.raises(UnreadyError, match="eu-west-1/Stories: the table is CREATING, not ACTIVE"):
        asyncio.run(carry_out(made, regions.api_of, BACKOFF, lambda _: None, poll_s=0))


def test_steps_come_in_an_order_that_works() -> None:
    """Tables before streams before expiry, whatever order mirrors need them in."""
    regions = Regions(guard=Guard.LEDGER)
    regions.source()

    operations = [step.operation for step in regions.plan().steps]

    assert operations == sorted(operations, key=PHASES.index)
    assert {"CreateTable", "UpdateTable", "UpdateTimeToLive"} == set(operations)


def test_a_view_in_which_items_could_meet_makes_no_table() -> None:
    """Init and check refuse it before anything is mirrored, and say what it lacks."""
    regions = Regions(views={TARGET.name: View(key={"pk": Template("{kind}")})})
    regions.source()

    made = regions.plan()

    assert TARGET not in {step.place for step in made.steps}
    (finding,) = (one for one in made.findings if one.severity is Severity.UNUSABLE)
    assert finding.table == "Stories"
    assert "two items could become one" in finding.remedy
    regions.eu.perform("CreateTable", {"TableName": "Stories", **SIMPLE})
    assert finding in regions.plan().findings
