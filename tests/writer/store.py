"""A table and a versioned client of either kind, spoken to in Python's types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.servers import Server

from dynamirror import versioned

Item = dict[str, Any]

SPOKEN = ("Item", "Key", "ExpressionAttributeValues")


def wire(item: Mapping[str, Any]) -> Item:
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


def python(item: Mapping[str, Any]) -> Item:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def arguments(server: Server) -> Item:
    """Return what boto3 needs to reach the server."""
    given: Item = {
        "region_name": server.regions[0],
        "endpoint_url": server.url,
        "config": Config(max_pool_connections=16, retries={"max_attempts": 1}),
    }
    if server.url is not None:
        given |= {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return given


def code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


@dataclass(slots=True)
class Clock:
    """Stands still until told."""

    at: int = 1_000

    def __call__(self) -> int:
        return self.at


@dataclass(slots=True)
class Requests:
    """What went over the wire, by operation; a hook may come between."""

    sent: list[tuple[str, Item]] = field(default_factory=list)
    before: Callable[[str, Item], None] | None = None

    def watch(self, client: Any) -> None:
        client.meta.events.register("provide-client-params.dynamodb.*", self._seen)

    def _seen(self, params: Item, model: Any, **_: Any) -> None:
        self.sent.append((model.name, params))
        if self.before is not None:
            self.before(model.name, params)

    def of(self, operation: str) -> list[Item]:
        return [params for name, params in self.sent if name == operation]


class Store:
    """One table, through a versioned client (``kind`` "client") or Table ("resource")."""

    def __init__(self, plain: Any, name: str, kind: str, server: Server) -> None:
        self.plain = plain
        self.name = name
        self.kind = kind
        self.clock = Clock()
        self.requests = Requests()
        self._server = server
        self.writer = self.another()

    def another(self, **options: Any) -> Any:
        """Return one more versioned client of the table, which has seen nothing."""
        options = {"clock": self.clock, **options}
        if self.kind == "client":
            client = boto3.client("dynamodb", **arguments(self._server))
            self.requests.watch(client)
            return versioned(client, **options)
        table = boto3.resource("dynamodb", **arguments(self._server)).Table(self.name)
        self.requests.watch(table.meta.client)
        return versioned(table, **options)

    def call(self, method: str, *, by: Any = None, **request: Any) -> Item:
        """Call the versioned method, given Python's types; return its answer in them."""
        writer = by or self.writer
        if self.kind == "resource":
            answer: Item = getattr(writer, method)(**request)
            return answer
        spoken = {name: wire(request[name]) for name in SPOKEN if name in request}
        answer = getattr(writer, method)(TableName=self.name, **{**request, **spoken})
        for name in ("Attributes", "Item"):
            if name in answer:
                answer[name] = python(answer[name])
        return answer

    def put(self, *, by: Any = None, **item: Any) -> Item:
        """Put an item with id "a" unless it says another."""
        return self.call("put_item", by=by, Item={"id": "a", **item})

    def refused(self, method: str, **request: Any) -> Item:
        """Return the response of a call that fails its condition."""
        with pytest.raises(ClientError, match="ConditionalCheckFailedException") as caught:
            self.call(method, **request)
        response: Item = caught.value.response
        return response

    def given(self, **item: Any) -> None:
        """Let an item be there that this client has not seen."""
        self.plain.put_item(TableName=self.name, Item=wire({"id": "a", **item}))

    def held(self, key: str = "a") -> Item:
        """Return the item that is there, {} if none is."""
        found = self.plain.get_item(TableName=self.name, Key=wire({"id": key}), ConsistentRead=True)
        return python(found.get("Item", {}))

    def version(self, key: str = "a") -> int:
        return int(self.held(key)["version"])
