"""What the engine asks of the world, and all it asks.

The one port is DynamoDB's own JSON protocol: an operation's name and its request as JSON bytes.
Bytes, because an image that nobody looks into must never be parsed. Everything above (write path,
checkpoints, ledger, backfill) is engine code that runs unchanged on every adapter, so a simulator
that puts something between any two calls has put it between any two requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Clock = Callable[[], int]
"""The wall clock, in milliseconds since the epoch."""


class DynamoDB(Protocol):
    """One region and account of a DynamoDB-compatible service, streams included."""

    async def call(self, operation: str, request: bytes) -> bytes:
        """Send one request and return its answer.

        ``operation`` is the API's name of it, ``PutItem`` or ``GetRecords``; ``request`` and the
        answer are the operation's JSON in wire form (binary as base64 text).

        Raises a ServiceError subclass for every refusal; TransientError where the outcome is
        unknown. Credentials are refreshed and stale connections replaced below this line; every
        other retry is the caller's.
        """
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...


class ControlPlane(Protocol):
    """AWS's other services, in one region and with one's credentials: for who deploys."""

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send one request and return its answer, as the AWS SDK for Python has them.

        ``service`` and ``operation`` are AWS's names, ``cloudformation`` and ``DescribeStacks``.
        Raises a ServiceError subclass for every refusal; what may pass has been tried again.
        """
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...
