"""What the tests of this folder connect with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dynamirror.aws.client import Client, connect
from dynamirror.aws.credentials import Credentials, CredentialSource

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


@dataclass(frozen=True)
class APlace:
    region: str = "eu-west-1"
    endpoint_url: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None


@dataclass(frozen=True)
class Certificates:
    authority: Path
    right: Path
    other: Path


class Rotating:
    """Credentials of which each renewal gives the next."""

    def __init__(self, *tokens: str) -> None:
        self.left = [Credentials("AKIDEXAMPLE", "secret", token) for token in tokens]

    async def current(self) -> Credentials:
        return self.left[0]

    async def renewed(self, refused: Credentials) -> Credentials | None:
        if self.left[0] is refused and len(self.left) > 1:
            self.left.pop(0)
        return self.left[0] if self.left[0] is not refused else None


@asynccontextmanager
async def client(
    url: str,
    transport: Literal["native", "botocore"] = "native",
    *,
    credentials: CredentialSource | None = None,
    deadline_s: float = 5.0,
    authority: Path | None = None,
    **options: Any,
) -> AsyncIterator[Client]:
    environment = dict(ENVIRONMENT)
    if authority is not None:
        environment["AWS_CA_BUNDLE"] = str(authority)
    connected = connect(
        APlace(endpoint_url=url),
        transport=transport,
        credentials=credentials,
        deadline_s=deadline_s,
        environment=environment,
        **options,
    )
    try:
        yield connected
    finally:
        await connected.close()


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or fail after half a minute: no test may hang."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await story

    asyncio.run(bounded())
