"""A two-way mirror as its rules see it: replicas, requests and answers, and what a record asks for.

Every rule is a generator that yields requests and is sent their answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import StrEnum
from typing import TypeVar

import msgspec

from dynamirror.core.conflict import Loss, journal_rows
from dynamirror.core.ledger import Entry, Ledger, Tombstone
from dynamirror.core.rank import Peers, Rank
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Bounds, Marks, Seen
from dynamirror.core.values import Image, Wire, row_key

V = TypeVar("V")

REMEMBERED_MAX = 10_000
"""Keys remembered for a reason: more than ever have it at a time, and a bound."""


class Replica(msgspec.Struct, frozen=True):
    """One replica, and the tables of ours beside it."""

    name: str
    table: str
    ledger: str
    journal: str


class Mesh(msgspec.Struct, frozen=True):
    """What the rules need to know of a two-way mirror."""

    mirror: str
    replicas: tuple[Replica, ...]
    """The strongest first."""
    version_attribute: str = "version"
    stamp_attribute: str = "_mirror"
    bump: bool = True
    """Whether unversioned writes are raised; else they are only told of."""
    tombstone_days: int = 7
    journal_days: int = 90


class Ask(msgspec.Struct, frozen=True):
    """A request to the region of one replica."""

    replica: str
    operation: str
    request: Wire


class Answer(msgspec.Struct, frozen=True):
    """What came of it."""

    held: bool
    """Whether the condition did."""
    item: Wire | None = None
    """What was asked for: the item or row, old or new."""


class Skip(StrEnum):
    """Why a record is not forwarded."""

    ECHO = "echo"
    UNCHANGED = "unchanged"
    RAISED = "raised"
    """An unversioned write, made a proper one: what flows is the next record."""
    UNVERSIONED = "unversioned"
    """One that is only told of."""
    OUTRANKED = "outranked"


class Put(msgspec.Struct, frozen=True):
    """An image to put at every other replica."""

    rank: Rank
    keys: Wire
    row: str
    image: Image
    """With its stamp."""
    inserted: bool
    seen: Seen = {}
    """The stamp's."""


class Delete(msgspec.Struct, frozen=True):
    """A delete to carry out at every other replica."""

    rank: Rank
    keys: Wire
    row: str
    tombstone: Tombstone
    record: StreamRecord
    old_rank: Rank | None
    """Of the image that it removed at its own replica; None: an unversioned write's."""


class Hidden(msgspec.Struct, frozen=True):
    """An image that no other replica has seen, for its version was given before."""

    record: StreamRecord
    """That made it."""
    floor: Rank


class Again(msgspec.Struct, frozen=True):
    """An item that was inserted below a tombstone."""

    tombstone: Tombstone
    versioned: bool


Steps = Generator[Ask, Answer, None]
Verdict = Put | Delete | Skip
Judgement = Generator[Ask, Answer, Verdict]


class Here:
    """What all rules of the consumer of one replica's stream have in common."""

    def __init__(self, mesh: Mesh, here: str) -> None:
        self.mesh = mesh
        self.here = here
        self.peers = Peers([replica.name for replica in mesh.replicas])
        self.marks = Marks(self.peers, mesh.version_attribute, mesh.stamp_attribute)
        self.bounds = Bounds(self.marks)
        self.ledger = Ledger(self.peers)
        self._replicas = {replica.name: replica for replica in mesh.replicas}
        self._mine = self._replicas[here]
        self.conflicts = 0
        """Writes that lost and were journaled; one that is noticed twice counts twice."""
        self.on_conflict: Callable[[Loss], None] = lambda _: None
        # What follows is lost with the process, so it decides nothing but what is journaled.
        # Unversioned writes whose fate their key's next record tells: what is here now doesn't.
        self._hidden: dict[str, Hidden] = {}
        # Likewise the keys that were brought back or made again below a tombstone: their versions
        # may be ones that others saw of an earlier item: those below that delete, or that it saw.
        self._again: dict[str, Again] = {}
        # What the mirror had put before an application changed it: should the same put land once
        # more, over a version that was lowered, it looks like that application's.
        self._placed: dict[str, tuple[Rank, str]] = {}

    def table_of(self, name: str) -> str:
        """Return the table of a replica."""
        return self._replicas[name].table

    def _read(self, record: StreamRecord, now_ms: int) -> Generator[Ask, Answer, Entry]:
        row = row_key(self.mesh.mirror, record.key)
        answer = yield Ask(self.here, "GetItem", self.ledger.read(self._mine.ledger, row))
        return self.ledger.entry(answer.item, now_ms // 1_000)

    def _journal(self, loss: Loss, there: Replica | None = None) -> Steps:
        there = there or self._mine
        self.conflicts += 1
        self.on_conflict(loss)
        for row in journal_rows(self.mesh.mirror, self.mesh.journal_days, loss):
            yield Ask(there.name, "PutItem", {"TableName": there.journal, "Item": row})

    def _until(self, record: StreamRecord) -> int:
        return int(record.created_at) + self.mesh.tombstone_days * 86_400


def remember(memory: dict[str, V], row: str, what: V) -> None:
    """Note something of a key, and forget what was noted first where too much is."""
    while len(memory) >= REMEMBERED_MAX:
        del memory[next(iter(memory))]
    memory[row] = what
