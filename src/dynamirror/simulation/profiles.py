"""What the applications of a history are like, and what may be asked of its end."""

from __future__ import annotations

from dataclasses import dataclass

from dynamirror.config.model import Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of history. ``writes`` are the application's ways of saving, drawn evenly."""

    name: str
    writes: tuple[str, ...]
    concurrent: bool
    """Whether several regions write at once; else one at a time, handed over when all is quiet."""
    deletes: bool = True
    expiring: bool = False
    """Whether TTL makes half of the deletes."""
    copying: bool = False
    """Whether backfills and redrives run beside the consumers."""
    repairing: bool = False
    """Whether the item is repaired now and then beside the consumers."""
    away: bool = False
    """Whether replicas are taken for away, and have their changes parked until they are back."""
    ageing: bool = False
    """Whether days go by, so that tombstones expire."""
    saved: bool = True
    """Whether positions are saved before writers move on: else what was applied long ago comes
    again over what the next region writes."""
    skew_ms: int = 0
    """By how much a region's clock may be ahead."""
    bump: bool = True

    counts: bool = False
    """Whether versions may be counters that start again at 1. If the mirror removes an item that
    was made so, and never hears of it, that looks as if an application had."""

    exact: bool = False
    """Whether the save or delete of the highest rank must be what is left."""
    leaves: bool = True
    """Whether what is left must not be a value that another write knowingly replaced."""
    quiet: bool = False
    """Whether the journal must be empty of what isn't lost: stamps are kept, and no counter starts
    again, which makes two images of one rank."""
    lossless: bool = False
    """Whether nothing may be lost: one region at a time."""
    journal: bool = True
    """Whether every lost write must be in the journal. Where several regions write at once, and
    versions start again or stay the same, a few are missed: see docs/correctness.md."""


HYBRID = ("hybrid", "hybrid", "hybrid-put")
DROPS = ("hybrid", "hybrid-put", "hybrid-put-drops")
MIXED = ("hybrid", "hybrid", "hybrid", "hybrid-put", "hybrid", "keep", "lower")
UNAWARE = ("keep", "keep", "put-plain")
ANY = ("hybrid", "hybrid-put-drops", "add", "keep", "lower", "put-plain", "put-keeps")

_ONE = {"concurrent": False, "lossless": True}
_MANY = {"concurrent": True, "leaves": False}

PROFILES = {
    one.name: one
    for one in (
        Profile(name="hybrid-one", writes=HYBRID, exact=True, quiet=True, **_ONE),
        Profile(name="hybrid-many", writes=HYBRID, exact=True, concurrent=True),
        Profile(name="expiring-one", writes=HYBRID, exact=True, quiet=True, expiring=True, **_ONE),
        Profile(name="expiring-many", writes=HYBRID, exact=True, expiring=True, concurrent=True),
        Profile(name="copying-many", writes=HYBRID, exact=True, copying=True, concurrent=True),
        Profile(name="repairing-many", writes=HYBRID, exact=True, repairing=True, concurrent=True),
        Profile(name="away-one", writes=HYBRID, exact=True, quiet=True, away=True, **_ONE),
        Profile(name="away-many", writes=HYBRID, exact=True, away=True, concurrent=True),
        Profile(name="away-unaware", writes=UNAWARE, away=True, **_ONE),
        Profile(name="ageing-one", writes=HYBRID, exact=True, quiet=True, ageing=True, **_ONE),
        Profile(name="ageing-many", writes=HYBRID, exact=True, ageing=True, concurrent=True),
        Profile(name="drops-one", writes=DROPS, exact=True, **_ONE),
        Profile(name="drops-many", writes=DROPS, exact=True, concurrent=True),
        Profile(name="add-one", writes=("add",), counts=True, concurrent=False),
        Profile(name="add-many", writes=("add",), counts=True, journal=False, **_MANY),
        Profile(name="skewed-many", writes=HYBRID, skew_ms=1_000, **_MANY),
        Profile(name="mixed-one", writes=MIXED, **_ONE),
        Profile(name="mixed-many", writes=MIXED, journal=False, **_MANY),
        Profile(name="unaware-one", writes=UNAWARE, **_ONE),
        Profile(name="unaware-many", writes=UNAWARE, journal=False, **_MANY),
        Profile(name="any-many", writes=ANY, counts=True, journal=False, **_MANY),
    )
}

STRICTER = {
    one.name: one
    for one in (
        # What is applied again can't be told from what is new once versions are left out.
        Profile(name="unaware-replayed", writes=UNAWARE, quiet=True, saved=False, **_ONE),
        # An unversioned write is judged by what is there when its consumer meets it.
        Profile(name="mixed-quiet", writes=MIXED, quiet=True, **_ONE),
        Profile(name="unaware-quiet", writes=UNAWARE, quiet=True, **_ONE),
        # Of a counter that started again, two images may have one rank.
        Profile(name="add-quiet", writes=("add",), counts=True, quiet=True, concurrent=False),
    )
}
"""Of no use with fresh seeds, for they ask for more than is promised: about one history in a
thousand, or in eight thousand, ends otherwise. Some broken rules show only here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWayProfile:
    """A kind of history of a one-way mirror."""

    name: str
    guard: Guard
    late: bool = False
    """Whether requests that nobody waits for may land at any time; under guards ``order`` and
    ``item`` that can undo a newer change, so there they land before anything else, or never."""
    poison: bool = True
    """Whether some items can't be at the target as they are."""


ONE_WAY = {
    one.name: one
    for one in (
        OneWayProfile(name="one-way-order", guard=Guard.ORDER),
        OneWayProfile(name="one-way-item", guard=Guard.ITEM),
        OneWayProfile(name="one-way-ledger", guard=Guard.LEDGER, late=True),
    )
}
"""Asked for by name, lest every seed tell another story."""
