"""An asynchronous client as aiobotocore's is to its user, over DynamoDB in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from botocore.exceptions import ClientError

from dynamirror.core.values import Wire, decode, encode
from dynamirror.errors import ServiceError
from dynamirror.memory import MemoryDynamoDB


class AwaitedClient:
    """``put_item(...)`` and the like, to be awaited; what was sent is listed, its crowd counted."""

    def __init__(self) -> None:
        self.port = MemoryDynamoDB(clock=lambda: 0)
        self.sent: list[tuple[str, Wire]] = []
        self.under_way = 0
        self.crowd = 0
        self.instead: dict[str, Callable[..., Any]] = {}
        self.before: Callable[[str, Wire], Awaitable[None]] | None = None

    def __getattr__(self, method: str) -> Any:
        if method in self.instead:
            return self.instead[method]
        operation = "".join(part.title() for part in method.split("_"))

        async def asked(**request: Any) -> Wire:
            self.sent.append((method, request))
            if self.before is not None:
                await self.before(method, request)
            self.under_way += 1
            self.crowd = max(self.crowd, self.under_way)
            await asyncio.sleep(0)
            try:
                return decode(await self.port.call(operation, encode(request)))
            except ServiceError as error:
                raise _as_botocore(error, operation) from None
            finally:
                self.under_way -= 1

        return asked

    async def create_tables(self, *names: str) -> None:
        for name in names:
            await self.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )

    async def held(self, table: str, key: str = "a") -> Wire:
        answer = decode(
            await self.port.call("GetItem", encode({"TableName": table, "Key": {"id": {"S": key}}}))
        )
        item: Wire = answer.get("Item", {})
        return item

    def of(self, method: str) -> list[Wire]:
        return [request for name, request in self.sent if name == method]


def _as_botocore(error: ServiceError, operation: str) -> ClientError:
    body = decode(error.body)
    body.pop("__type", None)
    return ClientError({"Error": {"Code": error.code, "Message": error.message}, **body}, operation)
