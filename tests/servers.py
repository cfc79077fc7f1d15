"""The servers that tests run against: the embedded one, or any that the environment names.

DYNAMIRROR_SERVER_PYTHON    the interpreter that has the embedded server, .venv-server's by default
DYNAMIRROR_TEST_ENDPOINT    another server's URL, or ``aws``; its credentials as ever from AWS_*
DYNAMIRROR_TEST_PROFILE     its habits, a name of tests/profiles.py; DynamoDB's by default
DYNAMIRROR_TEST_REGIONS     two regions to use, us-east-1,eu-west-1 by default
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.profiles import DYNAMODB, MINISTACK, PROFILES, Profile

from dynamirror.aws.client import connect
from dynamirror.config.model import Place
from dynamirror.core.mesh import Answer, Ask
from dynamirror.core.values import Wire, decode, encode
from dynamirror.demo.server import EmbeddedServer
from dynamirror.engine.writing.steps import Part
from dynamirror.errors import InUseError, NotFoundError
from dynamirror.ports import DynamoDB

ROOT = Path(__file__).parent.parent

_TEST_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

_WAIT_S_MAX = 60.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A DynamoDB-compatible server with two regions; no URL: AWS itself."""

    url: str | None
    profile: Profile
    regions: tuple[str, str] = ("us-east-1", "eu-west-1")

    def place(self, region: str, table: str = "") -> Place:
        return Place(region=region, table=table, name=region, endpoint_url=self.url)

    def connect(self, region: str) -> DynamoDB:
        """Return an adapter for one region and one event loop."""
        environment = dict(os.environ)
        if self.url is not None and "AWS_ACCESS_KEY_ID" not in environment:
            environment |= _TEST_CREDENTIALS
        return connect(self.place(region), environment=environment)


def server_python() -> Path:
    """Return the interpreter that has the embedded server."""
    return ROOT / os.environ.get("DYNAMIRROR_SERVER_PYTHON", ".venv-server/bin/python")


@contextmanager
def running() -> Iterator[Server]:
    """Run the server that the environment asks for. Raises ServerError where it can't be had."""
    regions = os.environ.get("DYNAMIRROR_TEST_REGIONS", "us-east-1,eu-west-1").split(",")
    first, second = regions
    endpoint = os.environ.get("DYNAMIRROR_TEST_ENDPOINT")
    if endpoint is not None:
        profile = PROFILES[os.environ.get("DYNAMIRROR_TEST_PROFILE", DYNAMODB.name)]
        yield Server(None if endpoint == "aws" else endpoint, profile, (first, second))
        return
    with EmbeddedServer(server_python()) as server:
        yield Server(server.url, MINISTACK, (first, second))


class Service:
    """An adapter of the port as tests like it: no event loop, no bytes."""

    def __init__(self, open_port: Callable[[], DynamoDB], profile: Profile) -> None:
        self.profile = profile
        self._runner = asyncio.Runner()
        self.port = self._runner.run(_opened(open_port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self.port.close())
        self._runner.close()

    def ask(self, operation: str, **request: Any) -> Wire:
        """Send one request and return its answer."""
        return decode(self._runner.run(self.port.call(operation, encode(request))))

    def carry_out(self, steps: Generator[Ask, Answer, Any], replicas: Iterable[str]) -> Any:
        """Carry out the steps of a two-way rule, with all replicas here; return what it returns."""
        apis = dict.fromkeys(replicas, self.port)
        return self._runner.run(Part(steps).carry_out(apis))

    def create_table(self, name: str, *, keys: str = "id:S", view_type: str | None = None) -> None:
        """Create a table, ``keys`` such as ``id:S`` or ``author:S at:N``, and wait for it."""
        parts = [key.split(":") for key in keys.split()]
        kinds = ("HASH", "RANGE")[: len(parts)]
        request: Wire = {
            "TableName": name,
            "KeySchema": [
                {"AttributeName": attribute, "KeyType": kind}
                for (attribute, _), kind in zip(parts, kinds, strict=True)
            ],
            "AttributeDefinitions": [
                {"AttributeName": attribute, "AttributeType": type_} for attribute, type_ in parts
            ],
            "BillingMode": "PAY_PER_REQUEST",
        }
        if view_type is not None:
            request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view_type}
        self.ask("CreateTable", **request)
        self.wait(lambda: self.described(name)["TableStatus"] == "ACTIVE")

    def described(self, name: str) -> Wire:
        table: Wire = self.ask("DescribeTable", TableName=name)["Table"]
        return table

    def drop(self, name: str) -> None:
        """Delete a table, if it is there."""

        def gone() -> bool:
            try:
                self.ask("DeleteTable", TableName=name)
            except NotFoundError:
                return True
            except InUseError:
                return False
            return False

        self.wait(gone)

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something is so, as with a real service it takes its time."""
        deadline = time.monotonic() + _WAIT_S_MAX
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so within {_WAIT_S_MAX:.0f} s: {done}")
            time.sleep(_POLL_S)


async def _opened(open_port: Callable[[], DynamoDB]) -> DynamoDB:
    return open_port()
