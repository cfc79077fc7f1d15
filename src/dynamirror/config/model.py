"""The configuration as values: mirrors, the places of their tables, and how each is kept.

Every default stands here and nowhere else. Nothing here checks anything: ``problems`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from dynamirror.core.servers import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamirror.config.patterns import Pattern
    from dynamirror.config.routes import Route
    from dynamirror.core.view.lens import View


class Guard(StrEnum):
    """How a one-way mirror refuses a late or duplicate change."""

    ORDER = "order"
    ITEM = "item"
    LEDGER = "ledger"


class OnPoison(StrEnum):
    """What happens to a change that can never be applied as it is."""

    STOP = "stop"
    PARK = "park"


class Deletes(StrEnum):
    """Whether deletes (or TTL's deletes) of the source reach the targets."""

    MIRROR = "mirror"
    IGNORE = "ignore"


class Unversioned(StrEnum):
    """What happens in a two-way mirror to a write that does not raise the item's version."""

    BUMP = "bump"
    REPORT = "report"


class Transport(StrEnum):
    """Who carries requests: our own connections, or botocore's."""

    NATIVE = "native"
    BOTOCORE = "botocore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a table is, and with whose credentials it is reached."""

    region: str
    table: str
    name: str
    """Short name, unique in its mirror; the region unless given."""
    account: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    server: Kind = Kind.DYNAMODB
    """Which server answers; another endpoint than AWS's is taken for a compatible one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWay:
    """A mirror from one source to one or more targets."""

    name: str
    source: Place
    targets: tuple[Place, ...]
    guard: Guard = Guard.ORDER
    sequence_attribute: str = "_mirror_seq"
    deletes: Deletes = Deletes.MIRROR
    ttl_deletes: Deletes = Deletes.MIRROR
    on_poison: OnPoison = OnPoison.STOP
    max_writes_per_second: float | None = None
    """Write requests' items per second and target; None for as fast as the table takes them."""
    transport: Transport = Transport.NATIVE
    deadline_reserve_ms: int = 2_000
    backlog_seconds: int = 60
    """A target that can't be written for so long has its changes parked; 0: the others wait."""
    ledger_table: str | None = None
    parked_table: str | None = None
    checkpoint_table: str | None = None
    views: Mapping[str, View] = field(default_factory=dict, hash=False)
    """What targets get to see, by their names; one that is not there gets whole items."""

    @property
    def link(self) -> str:
        """What tells this mirror's consumer from all others."""
        return f"{self.name}/{self.source.name}"

    @property
    def title(self) -> str:
        """What people know it by: a mirror's name, and which of its sides, if it has several."""
        return self.name

    @property
    def compared(self) -> tuple[Place, ...]:
        """The tables that its source's is compared with, so that each pair is looked at once."""
        return self.targets

    @property
    def copies_beside(self) -> bool:
        """Whether items can be copied beside the running stream: late copies are refused."""
        return self.guard is Guard.LEDGER

    def ledger_of(self, target: Place) -> str:
        """Return the name of the ledger beside a target."""
        return _beside(target, self.ledger_table, "ledger")

    @property
    def parked(self) -> str:
        """The name of the parked table, beside the source."""
        return _beside(self.source, self.parked_table, "parked")

    @property
    def checkpoints(self) -> str:
        """The name of the checkpoint table, beside the source."""
        return _beside(self.source, self.checkpoint_table, "checkpoints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side(OneWay):
    """One replica of a two-way mirror, with all others as its targets.

    A two-way mirror of n replicas is n sides: each has its own stream, consumer and checkpoints.
    """

    replicas: tuple[Place, ...] = ()
    """All of the mirror's, the strongest first."""
    version_attribute: str = "version"
    stamp_attribute: str = "_mirror"
    unversioned: Unversioned = Unversioned.BUMP
    tombstone_days: int = 7
    journal_days: int = 90
    journal_table: str | None = None

    @property
    def title(self) -> str:
        """What people know it by."""
        return self.link

    @property
    def compared(self) -> tuple[Place, ...]:
        """The weaker replicas; with the stronger ones, these compare themselves."""
        place = [replica.name for replica in self.replicas].index(self.source.name)
        return self.replicas[place + 1 :]

    @property
    def copies_beside(self) -> bool:
        """A copy is put by its rank, as every write is."""
        return True

    def journal_of(self, replica: Place) -> str:
        """Return the name of the journal beside a replica."""
        return _beside(replica, self.journal_table, "journal")


Mirror = OneWay


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration file."""

    mirrors: tuple[Mirror, ...]
    """By consumer: a two-way mirror is there once per replica, under one name."""
    path: str
    """Where it was read from, for messages."""
    patterns: tuple[Pattern, ...] = ()
    """Mirrors declared for every table of a name, of which nobody has said yet which those are."""
    routes: tuple[Route, ...] = ()


def _beside(place: Place, name: str | None, role: str) -> str:
    """Return the name of a table of ours beside another one, in the same account."""
    if name is None:
        return f"{place.table}-dynamirror-{role}"
    arn, slash, _ = place.table.rpartition("/")
    return f"{arn}{slash}{name}"
