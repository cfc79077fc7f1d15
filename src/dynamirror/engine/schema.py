"""What CreateTable must be told so that a table comes out like another one, or as one of ours."""

from __future__ import annotations

from collections.abc import Iterator

from dynamirror.core.values import Wire

ON_DEMAND = "PAY_PER_REQUEST"


def billing(description: Wire) -> str:
    """Return a table's billing mode; DescribeTable leaves it out where it was always provisioned.

    Some servers leave it out everywhere: without throughput it must be on demand.
    """
    mode = description.get("BillingModeSummary", {}).get("BillingMode") or description.get(
        "BillingMode"
    )
    if mode:
        return str(mode)
    return "PROVISIONED" if write_units(description) else ON_DEMAND


def write_units(description: Wire) -> int:
    """Return a table's provisioned write capacity units; 0 on demand."""
    return int(description.get("ProvisionedThroughput", {}).get("WriteCapacityUnits", 0))


def creation(description: Wire) -> Wire:
    """Return CreateTable's members, but for the name, that make a table like the described one."""
    request: Wire = {
        "KeySchema": description["KeySchema"],
        "BillingMode": billing(description),
    }
    provisioned = request["BillingMode"] != ON_DEMAND
    if provisioned:
        request["ProvisionedThroughput"] = _throughput(description)
    elif limits := _limits(description):
        request["OnDemandThroughput"] = limits
    for part in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        of_its_own = provisioned and part == "GlobalSecondaryIndexes"
        indexes = [
            _index(index, of_its_own=of_its_own)
            for index in description.get(part) or ()
            if index.get("IndexStatus") != "DELETING"
        ]
        if indexes:
            request[part] = indexes
    table_class = (description.get("TableClassSummary") or {}).get("TableClass")
    if table_class:
        request["TableClass"] = table_class
    if description.get("DeletionProtectionEnabled"):
        request["DeletionProtectionEnabled"] = True
    return {**request, "AttributeDefinitions": _definitions(description, request)}


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


def left_behind(description: Wire) -> Iterator[str]:
    """Yield what a table made from a description does not have of the other one."""
    if description.get("SSEDescription", {}).get("SSEType") == "KMS":
        yield "encryption with a key of your own (keys are regional: set the target's yourself)"
    if description.get("Replicas"):
        yield "its global table replicas"
    yield (
        "backups, tags, auto scaling, alarms and resource policies"
        " (DescribeTable doesn't tell of them)"
    )


def _definitions(description: Wire, request: Wire) -> list[Wire]:
    """Return the types of those attributes that the table and the copied indexes have as keys."""
    indexes = [
        *request.get("LocalSecondaryIndexes", ()),
        *request.get("GlobalSecondaryIndexes", ()),
    ]
    schemas = [request["KeySchema"], *(index["KeySchema"] for index in indexes)]
    used = {part["AttributeName"] for schema in schemas for part in schema}
    return [one for one in description["AttributeDefinitions"] if one["AttributeName"] in used]


def _index(index: Wire, *, of_its_own: bool) -> Wire:
    """``of_its_own``: whether it has a throughput of its own."""
    made = {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
    if of_its_own:
        made["ProvisionedThroughput"] = _throughput(index)
    return made


def _throughput(description: Wire) -> Wire:
    given = description["ProvisionedThroughput"]
    return {name: given[name] for name in ("ReadCapacityUnits", "WriteCapacityUnits")}


def _limits(description: Wire) -> Wire:
    """Return the ceilings of an on-demand table; -1 stands for none."""
    given = description.get("OnDemandThroughput") or {}
    return {name: units for name, units in given.items() if units and units > 0}
