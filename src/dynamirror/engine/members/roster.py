"""Who takes part in a mirror, as its checkpoint tables remember it.

The configuration says who should. A consumer goes on only where the two agree: one that serves a
target too few would leave that target behind for ever, and nobody would see it.

The row ``#targets`` beside a source has ``names``, the targets that have all that came before the
positions; of a two-way mirror also ``replicas``, all of them in their order, and ``left``, when
those that have left did so. The row ``#member`` beside a replica says whether that one is joining,
or has left.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from dynamirror.config.model import Mirror, Side
from dynamirror.engine.stream.checkpoints import TARGETS_ROW, Checkpoints, Known
from dynamirror.errors import NewReplicaError, NewTargetError, RosterError

MEMBER_ROW = "#member"


class Member(StrEnum):
    """How a replica stands to its two-way mirror."""

    REBUILDING = "rebuilding"
    """What only it holds is being taken away; nobody writes to it."""
    JOINING = "joining"
    """The others write to it; its own stream waits until it has their tombstones."""
    COPYING = "copying"
    """Its stream is read; items of the others are still being copied to it."""
    MEMBER = "member"
    LEFT = "left"


BARRED = (Member.REBUILDING, Member.JOINING)
"""While it is one of these, nobody may read a replica's stream."""


def member_of(known: Known) -> dict[str, Any]:
    """Return how a replica stands to its mirror; empty for one that was always there."""
    return known.rows.get(MEMBER_ROW, {})


def left_of(known: Known) -> dict[str, int]:
    """Return who has left the mirror, and when, milliseconds since the epoch."""
    return {name: int(wire["N"]) for name, wire in _roster(known).get("left", {}).items()}


def agreed(mirror: Mirror, known: Known) -> bool:
    """Tell whether the row says just what the configuration does."""
    if known.targets is None or set(known.targets) != {place.name for place in mirror.targets}:
        return False
    return not isinstance(mirror, Side) or _roster(known).get("replicas") == _order(mirror)


def require(mirror: Mirror, known: Known, *, running: bool = False) -> None:
    """See that a consumer may go on with this configuration.

    ``running``: it has begun, so whoever joins now, joins without it. Raises RosterError.
    """
    names = [place.name for place in mirror.targets]
    if isinstance(mirror, Side):
        _require_member(mirror, known)
    if known.targets is None:
        return
    if new := sorted(set(names) - set(known.targets)):
        _refuse_new(mirror, known, ", ".join(new))
    gone = ", ".join(sorted(set(known.targets) - set(names)))
    if gone and isinstance(mirror, Side):
        error = RosterError(f"{gone} is a replica of {mirror.name}, and the configuration has none")
        error.hint += (
            " One that is to leave stays listed until `dynamirror replica remove` is done."
        )
        raise error
    if gone and running:
        raise RosterError(f"{gone} has joined {mirror.name} since this process began")
    if isinstance(mirror, Side):
        _require_order(mirror, known)


def require_joined(mirror: Mirror, known: Known) -> None:
    """See that no replica of a two-way mirror joins by a mere copy, without the tombstones.

    Raises NewReplicaError.
    """
    if isinstance(mirror, Side):
        _require_member(mirror, known)
        names = {place.name for place in mirror.targets}
        if known.targets is not None and (new := sorted(names - set(known.targets))):
            _refuse_new(mirror, known, ", ".join(new))


async def note(checkpoints: Checkpoints, mirror: Mirror, left: Mapping[str, int]) -> None:
    """Write down that all that the configuration names take part, and who has left."""
    more: dict[str, Any] = {}
    if isinstance(mirror, Side):
        wire = {name: {"N": str(at_ms)} for name, at_ms in sorted(left.items())}
        more = {"replicas": _order(mirror), "left": wire}
    names = [place.name for place in mirror.targets]
    await checkpoints.put(TARGETS_ROW, names=names, **more)


def _roster(known: Known) -> dict[str, Any]:
    return known.rows.get(TARGETS_ROW, {})


def _order(side: Side) -> list[str]:
    return [place.name for place in side.replicas]


def _require_member(side: Side, known: Known) -> None:
    member, name = member_of(known), side.source.name
    state = member.get("state")
    if state == Member.LEFT:
        at = _spelled(member["at_ms"])
        error = NewReplicaError(f"{name} left {side.name} at {at}, and is listed still or again")
        error.hint = _to_add(side, name) + ", or take it out of the configuration."
        raise error
    if state in BARRED:
        error = NewReplicaError(f"{name} is joining {side.name}, and has not all it needs yet")
        error.hint = f"Wait for `dynamirror replica add`. If it was stopped: {_to_add(side, name)}."
        raise error


def _refuse_new(mirror: Mirror, known: Known, new: str) -> None:
    why = f"{new} joined the mirror after it had begun, and lacks what came before"
    if not isinstance(mirror, Side):
        raise NewTargetError(why)
    left = left_of(known)
    if new in left:
        why = f"{new} left the mirror at {_spelled(left[new])}, and is listed still or again"
    error = NewReplicaError(why)
    error.hint = _to_add(mirror, new) + ", or take it out of the configuration."
    raise error


def _require_order(side: Side, known: Known) -> None:
    before, now = _roster(known).get("replicas", _order(side)), _order(side)
    if before == now:
        return
    error = RosterError(
        f"the replicas of {side.name} are in another order than {', '.join(before)}: the order"
        " decides ties, and what is on its way was judged by the old one"
    )
    error.hint = (
        "Put them back in that order; new ones come last. To change it, drain the mirror with"
        " nobody writing, then run `dynamirror backfill CONFIG --mirror NAME`."
    )
    raise error


def _to_add(side: Side, name: str) -> str:
    return f"Run `dynamirror replica add CONFIG --mirror {side.name} --replica {name}`"


def _spelled(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
