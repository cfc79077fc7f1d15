"""Event source mappings of Lambda functions, switched on and off: the little of Lambda's API that
a command needs. botocore carries it, in a thread: it is asked once, by a person who waits.

Source: AWS Lambda API, 'ListEventSourceMappings', 'UpdateEventSourceMapping'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from dynamirror.config.model import Place
from dynamirror.errors import DynamirrorError

T = TypeVar("T")

SETTLE_S = 60.0
"""A mapping takes some seconds from ``Disabling`` to ``Disabled``."""

POLL_S = 1.0

CONNECT_S = 3


class MappingError(DynamirrorError):
    """Lambda refused a request, or can't be reached."""

    hint = "The caller needs lambda:ListEventSourceMappings and lambda:UpdateEventSourceMapping."


class Mapping(msgspec.Struct, frozen=True):
    """What delivers a stream to a function."""

    id: str
    function: str
    """The function's ARN."""
    state: str
    """``Enabled``, ``Disabled``, or on its way to one of them."""


class Mappings:
    """The mappings of one region and account."""

    def __init__(self, place: Place) -> None:
        session = Session(profile=place.profile)
        # Behind an endpoint of DynamoDB alone Lambda can't be reached: that must show soon.
        config = Config(connect_timeout=CONNECT_S, retries={"total_max_attempts": 2})
        self._client: Any = session.create_client("lambda", region_name=place.region, config=config)

    async def of(self, stream: str) -> list[Mapping]:
        """List what delivers a stream. Raises MappingError."""
        pages = self._client.get_paginator("list_event_source_mappings")

        def listed() -> list[Mapping]:
            found = pages.paginate(EventSourceArn=stream).build_full_result()
            return [_mapping(one) for one in found["EventSourceMappings"]]

        return await _asked(listed)

    async def switch(self, mapping: Mapping, *, on: bool) -> None:
        """Enable or disable one, and wait until it is. Raises MappingError."""
        client, wanted, identity = self._client, "Enabled" if on else "Disabled", mapping.id
        await _asked(lambda: client.update_event_source_mapping(UUID=identity, Enabled=on))
        try:
            async with asyncio.timeout(SETTLE_S):
                while mapping.state != wanted:
                    await asyncio.sleep(POLL_S)
                    told = await _asked(lambda: client.get_event_source_mapping(UUID=identity))
                    mapping = _mapping(told)
        except TimeoutError:
            raise MappingError(
                f"event source mapping {mapping.id} is still {mapping.state}"
            ) from None


def _mapping(told: dict[str, Any]) -> Mapping:
    return Mapping(told["UUID"], told["FunctionArn"], told["State"])


async def _asked(call: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(call)
    except (BotoCoreError, ClientError) as error:
        raise MappingError(str(error)) from error
