"""What CreateTable must be told so that a table comes out like another one, or as one of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dynamirror.core.values import Wire
from dynamirror.engine.source import Table

if TYPE_CHECKING:
    from dynamirror.core.view.lens import View

ON_DEMAND = "PAY_PER_REQUEST"

AWS_KEY = "alias/aws/dynamodb"
"""The KMS key that AWS manages for DynamoDB: every account has one in every region."""


def billing(description: Wire) -> str:
    """Return a table's billing mode; DescribeTable leaves it out where it was always provisioned.

    Some servers leave it out everywhere: without throughput it must be on demand.
    """
    summary = description.get("BillingModeSummary") or {}  # null of DynamoDB Local
    mode = summary.get("BillingMode") or description.get("BillingMode")
    if mode:
        return str(mode)
    return "PROVISIONED" if write_units(description) else ON_DEMAND


def write_units(description: Wire) -> int:
    """Return a table's provisioned write capacity units; 0 on demand."""
    return int(description.get("ProvisionedThroughput", {}).get("WriteCapacityUnits", 0))


def creation(description: Wire, keys: Wire | None = None) -> Wire:
    """Return CreateTable's members, but for the name, that make a table like the described one.

    ``keys``: KeySchema and AttributeDefinitions of a table whose keys are others; it has no
    indexes, for the attributes may be others too.
    """
    request: Wire = {
        "KeySchema": (keys or description)["KeySchema"],
        "BillingMode": billing(description),
    }
    if request["BillingMode"] != ON_DEMAND:
        request |= throughput(description)
    elif units := limits(description):
        request["OnDemandThroughput"] = units
    if keys is None:
        local = [_plain(index) for index in local_indexes(description)]
        indexes = [
            index_of(index, description)
            for index in description.get("GlobalSecondaryIndexes") or ()
            if index.get("IndexStatus") != "DELETING"
        ]
        request |= {"LocalSecondaryIndexes": local} if local else {}
        request |= {"GlobalSecondaryIndexes": indexes} if indexes else {}
    table_class = (description.get("TableClassSummary") or {}).get("TableClass")
    if table_class:
        request["TableClass"] = table_class
    if description.get("DeletionProtectionEnabled"):
        request["DeletionProtectionEnabled"] = True
    if kms_key(description) == AWS_KEY:
        request["SSESpecification"] = {"Enabled": True, "SSEType": "KMS"}
    indexes = [
        *request.get("LocalSecondaryIndexes", ()),
        *request.get("GlobalSecondaryIndexes", ()),
    ]
    parts = definitions(keys or description, [request, *indexes])
    return {**request, "AttributeDefinitions": parts}


def keys_seen(view: View, table: Table) -> Wire | None:
    """Return the key of a target that sees a view, as ``creation`` takes it; None: the source's."""
    if not view.key and not view.shape.rename:
        return None
    types = dict(zip(table.key_names, table.key_types, strict=True))
    names = view.key_names(table.key_names)
    if view.key:
        # A template that is one attribute keeps its type; one of an attribute that is no key of
        # the source is taken for text, for nothing tells what it is.
        kinds = [
            types.get(template.names[0], "S") if template.is_plain else "S"
            for template in view.key.values()
        ]
    else:
        kinds = list(table.key_types)
    pairs = list(zip(names, kinds, strict=True))
    return {
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for (name, _), kind in zip(pairs, ("HASH", "RANGE"), strict=False)
        ],
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in pairs
        ],
    }


def expiry_seen(view: View | None, name: str | None) -> str | None:
    """Return what a target that sees a view calls the attribute by which the source's items expire;
    None: none do, or it isn't in the view.
    """
    return name and (name if view is None else view.shape.called(name))


def of_ours(keys: tuple[str, ...]) -> Wire:
    """Return CreateTable's members, but for the name, for a table of our own."""
    return {
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in keys],
        "BillingMode": ON_DEMAND,
    }


def left_behind(description: Wire, keys: Wire | None = None) -> Iterator[str]:
    """Yield what a table made from a description does not have of the other one."""
    if keys is not None and (
        description.get("GlobalSecondaryIndexes") or local_indexes(description)
    ):
        yield "indexes, for the target sees a view with other keys or names: add its own"
    if kms_key(description) not in (None, AWS_KEY):
        yield (
            "encryption with a KMS key (keys belong to a region and an account: set one of its own,"
            " if it should have one)"
        )
    if description.get("Replicas"):
        yield "its global table replicas"
    yield (
        "backups, auto scaling, alarms, resource policies, Kinesis destinations and contributor"
        " insights (none of these is part of a table's description)"
    )


def kms_key(description: Wire) -> str | None:
    """Return the ARN of the KMS key that a table is encrypted with, or ``AWS_KEY``; None where it
    is DynamoDB's own. The ARN of the AWS managed key can't be told from another.
    """
    told = description.get("SSEDescription") or {}
    if told.get("SSEType") != "KMS" or told.get("Status") == "DISABLED":
        return None
    arn = str(told.get("KMSMasterKeyArn", ""))
    return AWS_KEY if arn.endswith(AWS_KEY) else arn


def local_indexes(description: Wire) -> list[Wire]:
    """Return a table's local indexes."""
    return list(description.get("LocalSecondaryIndexes") or ())


def index_of(index: Wire, table: Wire) -> Wire:
    """Return what makes a global index like this one in a table like that one."""
    made = _plain(index)
    if billing(table) != ON_DEMAND:
        # Of an index of a table on demand there is no throughput to copy.
        given = index if write_units(index) else table
        made |= throughput(given)
    elif units := limits(index):
        made["OnDemandThroughput"] = units
    return made


def definitions(description: Wire, keyed: Sequence[Wire]) -> list[Wire]:
    """Return the types of the attributes that are keys of these tables and indexes."""
    used = {part["AttributeName"] for one in keyed for part in one["KeySchema"]}
    return [one for one in description["AttributeDefinitions"] if one["AttributeName"] in used]


def throughput(description: Wire) -> Wire:
    """Return the provisioned throughput of a table or an index, as a request's member."""
    given = description["ProvisionedThroughput"]
    units = {name: given[name] for name in ("ReadCapacityUnits", "WriteCapacityUnits")}
    return {"ProvisionedThroughput": units}


def limits(description: Wire) -> Wire:
    """Return the ceilings of an on-demand table or index; -1 stands for none."""
    given = description.get("OnDemandThroughput") or {}
    return {name: units for name, units in given.items() if units and units > 0}


def _plain(index: Wire) -> Wire:
    return {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
