"""aiobotocore: one put_item for each record, up to 100 under way at once.

Records of one key overtake one another here; who needs their order has to add it.
"""

import asyncio
import base64
from typing import Any

from aiobotocore.config import AioConfig  # type: ignore[import-not-found]
from aiobotocore.session import get_session  # type: ignore[import-not-found]

CONNECTIONS = 100

loop = asyncio.new_event_loop()
client = loop.run_until_complete(
    get_session()
    .create_client(
        "dynamodb",
        region_name="eu-west-1",
        config=AioConfig(max_pool_connections=CONNECTIONS),
    )
    .__aenter__()
)


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


async def apply(records: list[dict[str, Any]]) -> None:
    slots = asyncio.Semaphore(CONNECTIONS)

    async def write(record: dict[str, Any]) -> None:
        change = record["dynamodb"]
        async with slots:
            if record["eventName"] == "REMOVE":
                await client.delete_item(TableName="Bench", Key=change["Keys"])
            else:
                item = {name: decoded(value) for name, value in change["NewImage"].items()}
                await client.put_item(TableName="Bench", Item=item)

    await asyncio.gather(*map(write, records))


def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001 -- Lambda's signature
    loop.run_until_complete(apply(event["Records"]))
