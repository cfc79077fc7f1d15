"""Saves that a two-way mirror ranks well, in plain expressions: no wrapper, any language.

    python examples/plain_expressions.py TABLE

The table has the key ``id`` (S); boto3 finds region, credentials and endpoint as ever. An update
raises the version that is there. A put has no update expression, so it brings its version along,
under the condition that it is above the one that is there, and tries again if it isn't.
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from typing import Any

import boto3

TRIES = 10


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def rename(table: Any, session: str, user: str) -> int:
    """Update one attribute; the new version comes back with it."""
    answer = table.update_item(
        Key={"id": session},
        UpdateExpression="SET #user = :user, #version = if_not_exists(#version, :now) + :one",
        ExpressionAttributeNames={"#user": "user", "#version": "version"},
        ExpressionAttributeValues={":user": user, ":now": now_ms(), ":one": 1},
        ReturnValues="UPDATED_NEW",
    )
    return int(answer["Attributes"]["version"])


def rename_if_unchanged(table: Any, session: str, user: str, version: int) -> int:
    """Update only what was read: the version is still the one that was read with it."""
    answer = table.update_item(
        Key={"id": session},
        UpdateExpression="SET #user = :user, #version = #version + :one",
        ConditionExpression="#version = :version",
        ExpressionAttributeNames={"#user": "user", "#version": "version"},
        ExpressionAttributeValues={":user": user, ":version": version, ":one": 1},
        ReturnValues="UPDATED_NEW",
    )
    return int(answer["Attributes"]["version"])


def replace(table: Any, item: dict[str, Any]) -> int:
    """Put a whole item. One that was read before carries its version: it is the floor."""
    version = max(now_ms(), int(item.get("version", 0)) + 1)
    for _ in range(TRIES):
        try:
            table.put_item(
                Item={**item, "version": Decimal(version)},
                ConditionExpression="attribute_not_exists(#version) OR #version < :version",
                ExpressionAttributeNames={"#version": "version"},
                ExpressionAttributeValues={":version": version},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except table.meta.client.exceptions.ConditionalCheckFailedException as error:
            held = int(error.response["Item"]["version"]["N"])  # DynamoDB JSON, also here
            version = max(now_ms(), held + 1)
        else:
            return version
    raise TimeoutError(f"{item['id']} was saved by others {TRIES} times meanwhile")


def main() -> None:
    table = boto3.resource("dynamodb").Table(sys.argv[1])
    made = replace(table, {"id": "s1", "user": "ana"})
    renamed = rename(table, "s1", "ben")
    replaced = replace(table, {"id": "s1", "user": "cleo"})
    last = rename_if_unchanged(table, "s1", "dora", replaced)
    print(f"made {made}, then +{renamed - made}, +{replaced - renamed}, +{last - replaced}")
    table.delete_item(Key={"id": "s1"})  # the mirror counts a delete as one version more


if __name__ == "__main__":
    main()
