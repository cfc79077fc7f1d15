"""The event source mapping that delivers a stream to a Lambda function, switched off and on.

It takes some seconds until nothing is delivered any more; we wait for it.
Source: AWS Lambda API, 'ListEventSourceMappings', 'UpdateEventSourceMapping'.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from dynamirror.errors import DynamirrorError
from dynamirror.ports import ControlPlane

SETTLE_S = 60.0
"""A mapping takes some seconds from ``Disabling`` to ``Disabled``."""

POLL_S = 1.0


class WhichFunctionError(DynamirrorError):
    """It isn't clear which function's mapping is meant."""

    hint = "Name the function: --function NAME."


class UnsettledError(DynamirrorError):
    """A mapping has not become what it was asked to."""

    hint = "Look at it: aws lambda get-event-source-mapping. Then run the same command again."


class Mapping(msgspec.Struct, frozen=True):
    """What delivers a stream to a function."""

    id: str
    function: str
    """The function's name."""
    state: str
    """``Enabled``, ``Disabled``, or on its way to one of them."""


async def mappings_of(plane: ControlPlane, stream: str) -> list[Mapping]:
    """List all that delivers a stream."""
    found: list[Mapping] = []
    request = {"EventSourceArn": stream}
    while True:
        answer = await plane.call("lambda", "ListEventSourceMappings", **request)
        found += map(_mapping, answer["EventSourceMappings"])
        if not answer.get("NextMarker"):
            return found
        request["Marker"] = answer["NextMarker"]


async def mapping_of(plane: ControlPlane, stream: str, function: str | None) -> Mapping:
    """Return what delivers a stream to a function of that name, or to the only one there is.

    Raises WhichFunctionError if that isn't one: other functions may read the stream too, and are
    nothing to us.
    """
    found = await mappings_of(plane, stream)
    meant = [one for one in found if function in (None, one.function)]
    if len(meant) != 1:
        names = ", ".join(sorted(one.function for one in found)) or "none"
        raise WhichFunctionError(f"functions that {stream} is delivered to: {names}")
    return meant[0]


async def switch(plane: ControlPlane, mapping: Mapping, *, on: bool) -> None:
    """Enable or disable a mapping, and wait until it is. Raises UnsettledError."""
    wanted = "Enabled" if on else "Disabled"
    await plane.call("lambda", "UpdateEventSourceMapping", UUID=mapping.id, Enabled=on)
    try:
        async with asyncio.timeout(SETTLE_S):
            while True:
                answer = await plane.call("lambda", "GetEventSourceMapping", UUID=mapping.id)
                if answer["State"] == wanted:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        told = f"event source mapping {mapping.id} is not {wanted} after {SETTLE_S:.0f} s"
        raise UnsettledError(told) from None


def _mapping(told: dict[str, Any]) -> Mapping:
    return Mapping(told["UUID"], told["FunctionArn"].split(":")[6], told["State"])
