"""Copied items on their way to every target of a mirror."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from dynamirror.config.model import OnPoison
from dynamirror.core.mesh import Skip
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, encode
from dynamirror.engine.stream.follow import to_each
from dynamirror.engine.writing.apply import Applier
from dynamirror.engine.writing.links import Links
from dynamirror.engine.writing.replicas import MeshTarget
from dynamirror.errors import DynamirrorError, PoisonError


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backfill has come."""

    items: int = 0
    """Items read, those of ``resumed`` included."""
    bytes: int = 0
    """JSON text of the items read."""
    resumed: int = 0
    """Items that an earlier attempt had copied, on which this one goes on."""
    skipped: int = 0
    """Items that were there already, or of which a newer change had arrived."""
    raised: int = 0
    """Items of a two-way mirror that had no version: they were given one, and the engine carries
    them on."""
    deletes: int = 0
    """Deletes carried from a two-way replica's ledger."""
    left: int = 0
    """Items that can't be at a target as they are, each target counted."""
    expected_items: int = 0
    """About how many there are; the service counts them every six hours."""
    expected_bytes: int = 0
    """About how large they are."""
    read_units: float = 0
    """Consumed by this attempt, all tables together."""
    write_units: float = 0
    throttles: int = 0
    """Requests that a table took only later."""


class Left(msgspec.Struct, frozen=True):
    """One item that can't be copied."""

    target: str
    """The target's short name."""
    key: Wire
    error: str


class Copier:
    """Writes items to the targets while it is open; what it counts outlives that."""

    def __init__(self, links: Links, on_left: Callable[[Left], None]) -> None:
        self.left = 0
        self._links = links
        self._on_left = on_left
        self._stale = 0
        self._raised = 0
        self._appliers: list[Applier] = []
        self._failure: BaseException | None = None
        self._writing: set[asyncio.Future[None]] = set()

    @property
    def stale(self) -> int:
        """Items that a guard refused: they were there already, or something newer was."""
        return self._stale + sum(applier.target.stale for applier in self._appliers)

    @property
    def raised(self) -> int:
        """Items that were given a version first, and travel as the next change."""
        return self._raised + sum(map(_raised, self._appliers))

    def open(self, epoch: int | None, may_write: Callable[[], bool]) -> None:
        """Begin; ``epoch``: the one that these copies begin, ``may_write``: see Applier."""
        self._appliers = self._links.open_for_copies(self._fail, epoch, self._leave, may_write)

    async def close(self) -> None:
        """Send nothing more, and give up what is unanswered."""
        await asyncio.gather(*(applier.stop() for applier in self._appliers))
        for applier in self._appliers:
            self._stale += applier.target.stale
            self._raised += _raised(applier)
        self._appliers = []

    def write(self, records: Sequence[StreamRecord]) -> asyncio.Future[None]:
        """Hand records to every target; the future is done when all have them, or one failed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing.add(future)
        future.add_done_callback(self._writing.discard)
        if self._failure is not None:
            future.set_exception(self._failure)
        else:
            submit = to_each([applier.submit for applier in self._appliers])
            submit(self._links.wanted(records), lambda: _settle(future))
        return future

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        for future in list(self._writing):
            if not future.done():
                future.set_exception(error)
                future.exception()  # who waits for another hears of it there

    def _leave(self, record: StreamRecord, target: str, error: DynamirrorError) -> None:
        """Pass over an item that can't be at a target, or end there."""
        if self._links.mirror.on_poison is OnPoison.STOP:
            key = encode(record.keys).decode()
            raise PoisonError(f"{target}: the item {key} can't be copied: {error}")
        self.left += 1
        self._on_left(Left(target, record.keys, str(error)))


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _raised(applier: Applier) -> int:
    target = applier.target
    return target.skipped[Skip.RAISED] if isinstance(target, MeshTarget) else 0
