"""boto3's batch_writer: 25 items to a request, the last change of a key in a batch wins."""

import base64
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

table = boto3.resource("dynamodb", region_name="eu-west-1").Table("Bench")


class Deserializer(TypeDeserializer):  # type: ignore[misc]
    """Lambda's events spell binary as base64 text."""

    def _deserialize_b(self, value: str) -> Any:
        return super()._deserialize_b(base64.b64decode(value))


deserialize = Deserializer().deserialize


def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001 -- Lambda's signature
    with table.batch_writer(overwrite_by_pkeys=["id"]) as batch:
        for record in event["Records"]:
            change = record["dynamodb"]
            if record["eventName"] == "REMOVE":
                batch.delete_item({n: deserialize(v) for n, v in change["Keys"].items()})
            else:
                batch.put_item({n: deserialize(v) for n, v in change["NewImage"].items()})
