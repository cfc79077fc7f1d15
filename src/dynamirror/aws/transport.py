"""What carries a request to one endpoint and brings the answer: native, or botocore's."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable
from typing import Protocol

from dynamirror.aws.credentials import Credentials
from dynamirror.errors import TransientError

Answer = tuple[int, bytes, bytes]
"""Status, body, and of a refusal the Date header (empty where there was none)."""

OK = 200
"""The status of every answer that is no refusal."""

CONNECTIONS_MAX = 128
"""Per endpoint. At a round trip of 80 ms this sends 1,600 requests a second."""

DEADLINE_S = 10.0
"""From a request's call to its answer. DynamoDB's slowest answers take a few seconds."""

CONNECT_S = 3.0
"""For one connection, from name look-up to the end of the TLS handshake."""

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""The API's largest answer is 16 MB of items (BatchGetItem); base64 and escapes lengthen it."""


class Transport(Protocol):
    """One endpoint."""

    def send(
        self, target: str, body: bytes, credentials: Credentials, at_s: int
    ) -> Awaitable[Answer]:
        """Sign a request as of ``at_s`` (seconds since the epoch), send it, return the answer.

        Raises TransientError where there is no whole answer by the deadline.
        """
        ...

    async def close(self) -> None: ...


def check_crc32(expected: bytes, body: bytes) -> None:
    """Raise TransientError unless the body has the CRC-32 that the service says it sent.

    Source: DynamoDB Developer Guide, 'Low-level API': ``x-amz-crc32``, in decimal.
    """
    if not expected.isdigit() or zlib.crc32(body) != int(expected):
        raise TransientError(
            "ChecksumMismatch", f"the answer of {len(body)} bytes was damaged on its way"
        )
