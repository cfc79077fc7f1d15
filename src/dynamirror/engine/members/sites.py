"""What is needed to work at the replicas of a two-way mirror, whatever is done there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from dynamirror.config.model import Side
from dynamirror.core.mesh import Steps
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.reads import Reads
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.source import described
from dynamirror.engine.stream.checkpoints import Checkpoints, Known
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.writing.mesh import MeshLinks
from dynamirror.engine.writing.steps import answered
from dynamirror.errors import NotFoundError
from dynamirror.ports import DynamoDB

T = TypeVar("T")

AT_ONCE = 64
"""Rows or items of a page that are written at the same time."""


class Site(msgspec.Struct, frozen=True):
    """One replica, and what is needed to work there."""

    side: Side
    api: DynamoDB
    checkpoints: Checkpoints
    lease: Lease
    """Of this process, which need not have it."""
    backoff: Backoff
    links: Callable[[], MeshLinks]
    """Makes the writing side of its consumer."""

    @property
    def name(self) -> str:
        """Its short name."""
        return self.side.source.name

    @property
    def table(self) -> str:
        """The replica itself."""
        return self.side.source.table

    async def reads(self) -> Reads:
        """Return what reads its items. Raises NotFoundError if it isn't there."""
        table = await described(self.api, self.table, self.backoff)
        return Reads(self.api, self.side.source, table.key_names, self.backoff)

    async def known(self) -> Known:
        """Return what its checkpoint table tells; nothing, before there is one."""
        try:
            return await self.checkpoints.load()
        except NotFoundError:
            return Known()

    async def call(self, operation: str, request: Wire) -> Wire:
        """Send one request until it is answered."""
        body = encode(request)
        return decode(await persist(lambda: self.api.call(operation, body), self.backoff))


async def carry_out(steps: Steps, apis: Mapping[str, DynamoDB], backoff: Backoff) -> None:
    """Send the requests of a rule, each until it is answered."""
    with contextlib.suppress(StopIteration):
        ask = next(steps)
        while True:
            now = ask
            ask = steps.send(await persist(lambda: answered(apis, now), backoff))  # noqa: B023


async def each(page: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do it for every one of a page, some at the same time."""
    for at in range(0, len(page), AT_ONCE):
        await asyncio.gather(*(work(one) for one in page[at : at + AT_ONCE]))
