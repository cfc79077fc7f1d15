"""The plain way: one put_item for each record, in order.

It uses the client, which takes DynamoDB JSON as it is: cheaper than boto3's Table, which converts
every value twice. Binary has to be decoded, or it would be stored encoded twice.
"""

import base64
from typing import Any

import boto3

client = boto3.client("dynamodb", region_name="eu-west-1")


def decoded(value: dict[str, Any]) -> dict[str, Any]:
    ((kind, body),) = value.items()
    match kind:
        case "B":
            return {"B": base64.b64decode(body)}
        case "BS":
            return {"BS": [base64.b64decode(member) for member in body]}
        case "M":
            return {"M": {name: decoded(member) for name, member in body.items()}}
        case "L":
            return {"L": [decoded(member) for member in body]}
        case _:
            return value


def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001 -- Lambda's signature
    for record in event["Records"]:
        change = record["dynamodb"]
        if record["eventName"] == "REMOVE":
            client.delete_item(TableName="Bench", Key=change["Keys"])
        else:
            item = {name: decoded(value) for name, value in change["NewImage"].items()}
            client.put_item(TableName="Bench", Item=item)
