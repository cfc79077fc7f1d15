"""The native transport: our own signer and our own pool of connections."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from dynamirror.aws.credentials import Credentials
from dynamirror.aws.pool import Pool
from dynamirror.aws.signing import Signer
from dynamirror.aws.transport import Answer


class NativeTransport:
    """One endpoint, its requests signed for one region."""

    def __init__(self, pool: Pool, signer: Signer) -> None:
        self._exchange = pool.exchange
        self._signed = signer.signed
        self.close = pool.close

    def send(
        self, target: str, body: bytes, credentials: Credentials, at_s: int
    ) -> Coroutine[Any, Any, Answer]:
        """See Transport."""
        return self._exchange(self._signed(target, body, credentials, at_s))
