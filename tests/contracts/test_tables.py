"""The control plane: tables, expiry, backups, tags."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.contracts.conftest import TableHelper

from dynamirror.errors import InUseError, NotFoundError, RefusedError


def test_a_table_is_described_as_it_was_made(make_table: Callable[..., TableHelper]) -> None:
    """Keys, types, billing, ARN."""
    table = make_table(keys="author:S at:N")

    described = table.service.described(table.name)
    profile = table.service.profile

    assert re.fullmatch(profile.table_arn, described["TableArn"])
    assert described["TableName"] == table.name
    assert described["KeySchema"] == [
        {"AttributeName": "author", "KeyType": "HASH"},
        {"AttributeName": "at", "KeyType": "RANGE"},
    ]
    assert {
        one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]
    } == {"author": "S", "at": "N"}
    assert described["TableArn"].endswith(f":table/{table.name}")
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert "LatestStreamArn" not in described


def test_a_name_is_taken_once(table: TableHelper) -> None:
    """A table of the same name can't be made."""
    with pytest.raises(InUseError):
        table.service.create_table(table.name)


def test_a_deleted_table_is_gone(make_table: Callable[..., TableHelper]) -> None:
    """Not described, not listed, and its name is free."""
    table = make_table()
    table.put({"id": {"S": "a"}})

    table.service.drop(table.name)

    with pytest.raises(NotFoundError):
        table.service.described(table.name)
    assert table.name not in table.service.ask("ListTables")["TableNames"]
    table.service.create_table(table.name)
    assert table.get({"id": {"S": "a"}}) is None


def test_expiry_is_switched_on_and_off(table: TableHelper) -> None:
    """What it was set to is described; what is so already is refused."""

    def status() -> tuple[str, str | None]:
        found = table.ask("DescribeTimeToLive")["TimeToLiveDescription"]
        return found["TimeToLiveStatus"], found.get("AttributeName")

    assert status() == ("DISABLED", None)
    wanted = {"AttributeName": "expires_at", "Enabled": True}
    assert table.ask("UpdateTimeToLive", TimeToLiveSpecification=wanted) == {
        "TimeToLiveSpecification": wanted
    }
    assert status() in (("ENABLED", "expires_at"), ("ENABLING", "expires_at"))
    try:
        table.ask("UpdateTimeToLive", TimeToLiveSpecification=wanted)
    except RefusedError:
        refused = True
    else:
        refused = False
    assert refused is table.service.profile.switching_twice_refused


@pytest.mark.needs("UpdateContinuousBackups")
def test_continuous_backups_are_switched(table: TableHelper) -> None:
    """Point-in-time recovery is off until it is asked for."""

    def status() -> str:
        described = table.ask("DescribeContinuousBackups")["ContinuousBackupsDescription"]
        return str(described["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"])

    assert status() == "DISABLED"
    table.ask(
        "UpdateContinuousBackups",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    assert status() == "ENABLED"


@pytest.mark.needs("TagResource")
def test_tags_stay_on_a_table(table: TableHelper) -> None:
    """What was tagged is listed, until it is untagged."""
    arn = table.service.described(table.name)["TableArn"]
    tag = {"Key": "dynamirror", "Value": "stories"}

    table.service.ask("TagResource", ResourceArn=arn, Tags=[tag])
    assert table.service.ask("ListTagsOfResource", ResourceArn=arn)["Tags"] == [tag]
    table.service.ask("UntagResource", ResourceArn=arn, TagKeys=["dynamirror"])
    assert table.service.ask("ListTagsOfResource", ResourceArn=arn)["Tags"] == []
