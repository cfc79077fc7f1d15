"""A target made like its source on a real server, drifted apart, and mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.storm.world import SOURCE, TARGET, World

Make = Callable[..., World]

UNITS = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4}

COPIED = ("KeySchema", "ProvisionedThroughput", "DeletionProtectionEnabled")


def _index(name: str) -> dict[str, Any]:
    return {
        "IndexName": f"by-{name}",
        "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
        "ProvisionedThroughput": UNITS,
    }


def _described(world: World, api: Any) -> dict[str, Any]:
    table = api.describe_table(TableName=world.table)["Table"]
    told = {name: table.get(name) for name in COPIED}
    told["indexes"] = sorted(
        (one["IndexName"], one["IndexStatus"]) for one in table.get("GlobalSecondaryIndexes", ())
    )
    tags = api.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    told["tags"] = {tag["Key"]: tag["Value"] for tag in tags}
    backups = api.describe_continuous_backups(TableName=world.table)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    told["recovery"] = recovery["PointInTimeRecoveryStatus"]
    return told


def _apart(world: World) -> list[str]:
    """Return what ``check`` says differs."""
    _, said = world.command("check", "--json")
    (mirror,) = json.loads(said)["mirrors"]
    return [one["what"] for one in mirror["findings"] if one["here"] is not None]


def test_a_target_is_like_its_source_and_made_so_again(make_world: Make) -> None:
    """Whatever AWS tells of the one is true of the other; after a drift, once it is mended."""
    world = make_world("order")
    name = world.table
    world.source.update_table(
        TableName=name, BillingMode="PROVISIONED", ProvisionedThroughput=UNITS
    )
    world.source.update_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "author", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": _index("author")}],
    )
    arn = f"arn:aws:dynamodb:{SOURCE}:000000000000:table/{name}"
    world.source.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "news"}])
    specification = {"PointInTimeRecoveryEnabled": True}
    world.source.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification=specification
    )
    world.target.delete_table(TableName=name)
    assert world.command("init", "--yes")[0] == 0
    assert _described(world, world.target) == _described(world, world.source)
    assert _apart(world) == []

    world.target.update_table(
        TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-author"}}]
    )
    world.target.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}
    )
    arn = arn.replace(SOURCE, TARGET)
    world.target.untag_resource(ResourceArn=arn, TagKeys=["team"])
    assert len(_apart(world)) == 3
    assert world.command("init")[0] == 0
    assert len(_apart(world)) == 3

    status, said = world.command("init", "--mend", "--yes")

    assert status == 0, said
    assert _described(world, world.target) == _described(world, world.source)
    assert _apart(world) == []
