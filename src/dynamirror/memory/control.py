"""The control plane: tables, their streams, expiry, backups and tags.

Everything takes effect at once: a table is ACTIVE when CreateTable answers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dynamirror.core.values import Wire
from dynamirror.memory.lineage import VIEW_TYPES, Stream
from dynamirror.memory.refusals import in_use, invalid, not_found
from dynamirror.memory.tables import Region, Table

TABLES_PER_PAGE_MAX = 100

_TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")

_INDEXES = ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")


def create_table(region: Region, request: Wire) -> Wire:
    name = request["TableName"]
    if not _TABLE_NAME.fullmatch(name):
        raise invalid(f"TableName {name!r} is not 3 to 255 of a-z A-Z 0-9 _ . -")
    if name in region.tables:
        raise in_use(f"Table already exists: {name}")
    schema = request["KeySchema"]
    kinds = {one["AttributeName"]: one["AttributeType"] for one in request["AttributeDefinitions"]}
    _check_keys(schema, kinds, request)
    table = Table(
        name=name,
        arn=region.arn(name),
        hash_name=schema[0]["AttributeName"],
        sort_name=schema[1]["AttributeName"] if len(schema) > 1 else None,
        kinds=kinds,
        key_schema=schema,
        created_ms=region.clock(),
        settings={"TableId": str(UUID(int=region.chance.getrandbits(128)))},
        tags={tag["Key"]: tag["Value"] for tag in request.get("Tags", [])},
    )
    _settle(table, request)
    region.tables[name] = table
    _set_stream(region, table, request.get("StreamSpecification"))
    return {"TableDescription": _described(table)}


def describe_table(region: Region, request: Wire) -> Wire:
    return {"Table": _described(region.table(request["TableName"]))}


def update_table(region: Region, request: Wire) -> Wire:
    table = region.table(request["TableName"])
    wanted = request.get("StreamSpecification")
    enabled = table.stream is not None and table.stream.enabled
    if wanted is not None and wanted["StreamEnabled"] == enabled:
        state = "already has an enabled" if enabled else "has no enabled"
        raise invalid(f"Table {state} stream: TableName: {table.name}")
    for one in request.get("AttributeDefinitions", []):
        table.kinds[one["AttributeName"]] = one["AttributeType"]
    _settle(table, request)
    for change in request.get("GlobalSecondaryIndexUpdates", []):
        _change_index(table, change)
    _set_stream(region, table, wanted)
    return {"TableDescription": _described(table)}


def delete_table(region: Region, request: Wire) -> Wire:
    table = region.table(request["TableName"])
    if table.settings.get("DeletionProtectionEnabled"):
        raise invalid(f"Table is protected against deletion: {table.name}")
    if table.stream is not None and table.stream.enabled:
        table.stream.disable()
    del region.tables[table.name]
    return {"TableDescription": _described(table) | {"TableStatus": "DELETING"}}


def list_tables(region: Region, request: Wire) -> Wire:
    limit = request.get("Limit", TABLES_PER_PAGE_MAX)
    names = [n for n in sorted(region.tables) if n > request.get("ExclusiveStartTableName", "")]
    answer: Wire = {"TableNames": names[:limit]}
    return answer if len(names) <= limit else answer | {"LastEvaluatedTableName": names[limit - 1]}


def update_time_to_live(region: Region, request: Wire) -> Wire:
    table = region.table(request["TableName"])
    wanted = request["TimeToLiveSpecification"]
    name, enabled = wanted["AttributeName"], wanted["Enabled"]
    if enabled == (table.ttl_attribute is not None):
        raise invalid(f"TimeToLive is already {'enabled' if enabled else 'disabled'}")
    if not enabled and name != table.ttl_attribute:
        raise invalid(f"TimeToLive is active on a different AttributeName: {table.ttl_attribute}")
    table.ttl_attribute = name if enabled else None
    return {"TimeToLiveSpecification": wanted}


def describe_time_to_live(region: Region, request: Wire) -> Wire:
    name = region.table(request["TableName"]).ttl_attribute
    if name is None:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": name}}


def describe_continuous_backups(region: Region, request: Wire) -> Wire:
    enabled = region.table(request["TableName"]).point_in_time
    return {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {
                "PointInTimeRecoveryStatus": "ENABLED" if enabled else "DISABLED"
            },
        }
    }


def update_continuous_backups(region: Region, request: Wire) -> Wire:
    wanted = request["PointInTimeRecoverySpecification"]
    region.table(request["TableName"]).point_in_time = wanted["PointInTimeRecoveryEnabled"]
    return describe_continuous_backups(region, request)


def list_tags_of_resource(region: Region, request: Wire) -> Wire:
    tags = _resource(region, request).tags
    return {"Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())]}


def tag_resource(region: Region, request: Wire) -> Wire:
    tags = _resource(region, request).tags
    tags.update({tag["Key"]: tag["Value"] for tag in request["Tags"]})
    return {}


def untag_resource(region: Region, request: Wire) -> Wire:
    tags = _resource(region, request).tags
    for key in request["TagKeys"]:
        tags.pop(key, None)
    return {}


def _resource(region: Region, request: Wire) -> Table:
    for table in region.tables.values():
        if table.arn == request["ResourceArn"]:
            return table
    raise not_found(request["ResourceArn"])


def _check_keys(schema: list[Wire], kinds: dict[str, str], request: Wire) -> None:
    roles = [one["KeyType"] for one in schema]
    if roles not in (["HASH"], ["HASH", "RANGE"]):
        raise invalid("KeySchema is a HASH key, or a HASH key and a RANGE key")
    used = {one["AttributeName"] for one in schema}
    for index in (index for part in _INDEXES for index in request.get(part, [])):
        used |= {one["AttributeName"] for one in index["KeySchema"]}
    if used != kinds.keys():
        raise invalid(
            "One or more parameter values were invalid: AttributeDefinitions and the keys of "
            "the table and its indexes name different attributes"
        )


def _settle(table: Table, request: Wire) -> None:
    """Take over what the table only remembers and describes."""
    settings = table.settings
    for name in ("DeletionProtectionEnabled", "OnDemandThroughput", "SSESpecification", *_INDEXES):
        if name in request:
            settings[name] = request[name]
    if "TableClass" in request:
        settings["TableClassSummary"] = {"TableClass": request["TableClass"]}
    billing = request.get("BillingMode")
    if billing is not None:
        settings["BillingModeSummary"] = {"BillingMode": billing}
    if "ProvisionedThroughput" in request:
        settings["ProvisionedThroughput"] = request["ProvisionedThroughput"]
    elif billing == "PAY_PER_REQUEST" or "ProvisionedThroughput" not in settings:
        settings["ProvisionedThroughput"] = {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}


def _change_index(table: Table, change: Wire) -> None:
    ((kind, index),) = change.items()
    indexes: list[Wire] = table.settings.get(_INDEXES[0], [])
    others = [one for one in indexes if one["IndexName"] != index["IndexName"]]
    if kind == "Update":
        others.append(next(one for one in indexes if one not in others) | index)
    elif kind == "Create":
        others.append(index)
    table.settings[_INDEXES[0]] = others


def _set_stream(region: Region, table: Table, wanted: Any) -> None:
    if wanted is None:
        return
    if not wanted["StreamEnabled"]:
        if table.stream is not None:
            table.stream.disable()
        return
    if wanted.get("StreamViewType") not in VIEW_TYPES:
        raise invalid(f"StreamViewType is one of {' '.join(VIEW_TYPES)}")
    at_ms = region.clock()
    while (arn := f"{table.arn}/stream/{_label(at_ms)}") in region.streams:
        at_ms += 1
    table.stream = region.streams[arn] = Stream(
        table=table.name,
        region=region.name,
        arn=arn,
        label=_label(at_ms),
        view_type=wanted["StreamViewType"],
        key_schema=table.key_schema,
        clock=region.clock,
        chance=region.chance,
        shards=region.shards,
    )


def _label(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds")


def _described(table: Table) -> Wire:
    description: Wire = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in table.kinds.items()
        ],
        "CreationDateTime": table.created_ms // 1000,
        "ItemCount": len(table.items),
        "KeySchema": table.key_schema,
        "TableArn": table.arn,
        "TableName": table.name,
        "TableSizeBytes": sum(table.sizes.values()),
        "TableStatus": "ACTIVE",
        **table.settings,
    }
    for part in _INDEXES:
        if part in description:
            description[part] = [
                one | {"IndexStatus": "ACTIVE", "IndexArn": f"{table.arn}/index/{one['IndexName']}"}
                for one in description[part]
            ]
    if (stream := table.stream) is not None:
        description |= {"LatestStreamArn": stream.arn, "LatestStreamLabel": stream.label}
        if stream.enabled:
            description["StreamSpecification"] = {
                "StreamEnabled": True,
                "StreamViewType": stream.view_type,
            }
    return description
