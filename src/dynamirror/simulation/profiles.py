"""What the applications of a history are like, and what may be asked of its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of history. ``writes`` are the application's ways of saving, drawn evenly."""

    name: str
    writes: tuple[str, ...]
    concurrent: bool
    """Whether several regions write at once; else one at a time, handed over when all is quiet."""
    deletes: bool = True
    skew_ms: int = 0
    """By how much a region's clock may be ahead."""
    bump: bool = True

    exact: bool = False
    """Whether the save or delete of the highest rank must be what is left."""
    leaves: bool = True
    """Whether what is left must not be a value that another write knowingly replaced."""
    quiet: bool = False
    """Whether the journal must be empty of what isn't lost: stamps are kept."""
    lossless: bool = False
    """Whether nothing may be lost: one region at a time."""
    journal: bool = True
    """Whether every lost write must be in the journal."""


HYBRID = ("hybrid", "hybrid", "hybrid-put")
DROPS = ("hybrid", "hybrid-put", "hybrid-put-drops")
MIXED = ("hybrid", "hybrid", "hybrid", "hybrid-put", "hybrid", "keep", "lower")
UNAWARE = ("keep", "keep", "put-plain")
KEEPS = ("keep",)
ANY = ("hybrid", "hybrid-put-drops", "add", "keep", "lower", "put-plain", "put-keeps")

PROFILES = {
    one.name: one
    for one in (
        Profile(
            name="hybrid-one",
            lossless=True,
            writes=HYBRID,
            concurrent=False,
            exact=True,
            quiet=True,
        ),
        Profile(name="hybrid-many", writes=HYBRID, concurrent=True, exact=True),
        Profile(name="drops-one", lossless=True, writes=DROPS, concurrent=False, exact=True),
        Profile(name="drops-many", writes=DROPS, concurrent=True, exact=True),
        Profile(name="add-one", writes=("add",), concurrent=False, quiet=True),
        Profile(name="add-many", writes=("add",), concurrent=True, leaves=False),
        Profile(name="skewed-many", writes=HYBRID, concurrent=True, skew_ms=1_000, leaves=False),
        Profile(name="mixed-one", lossless=True, writes=MIXED, concurrent=False, quiet=True),
        Profile(name="mixed-many", writes=MIXED, concurrent=True, leaves=False),
        Profile(name="unaware-one", lossless=True, writes=UNAWARE, concurrent=False, quiet=True),
        Profile(name="unaware-many", writes=UNAWARE, concurrent=True, leaves=False),
        Profile(name="any-many", writes=ANY, concurrent=True, leaves=False),
    )
}
