"""Tables on the server, and versioned clients of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import boto3
import pytest
from tests.servers import Server
from tests.writer.store import Store, arguments

_numbers = count(time.time_ns())


@pytest.fixture(scope="module")
def plain(server: Server) -> Any:
    """A boto3 client that knows nothing of versions."""
    return boto3.client("dynamodb", **arguments(server))


@pytest.fixture
def table_name(plain: Any) -> Iterator[str]:
    """A table with the key ``id`` (S)."""
    name = f"writer-{next(_numbers)}"
    plain.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    plain.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    yield name
    plain.delete_table(TableName=name)


@pytest.fixture(params=["client", "resource"])
def store(request: pytest.FixtureRequest, plain: Any, table_name: str, server: Server) -> Store:
    """The table through a versioned client, and through a versioned Table."""
    return Store(plain, table_name, request.param, server)


@pytest.fixture
def client_store(plain: Any, table_name: str, server: Server) -> Store:
    """The table through a versioned client, for what a Table has no method for."""
    return Store(plain, table_name, "client", server)
