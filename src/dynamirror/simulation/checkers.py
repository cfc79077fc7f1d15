"""What must hold once everything has fallen quiet. Each checker complains in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dynamirror.core.rank import EXPIRY
from dynamirror.core.values import Wire
from dynamirror.simulation.applications import STAMP, Applications, shown

if TYPE_CHECKING:
    from dynamirror.simulation.world import World

RECORDS_PER_WRITE = 3
"""An application's write makes at most so many records at each replica: itself, a raise, a put."""


class Ending(NamedTuple):
    """What is left of a world at rest, as its omniscient view has it."""

    items: dict[str, Wire | None]
    """What each replica holds."""
    lost: list[str]
    """Saves that nothing left knows of."""
    missed: list[str]
    """Those of them that are in no journal."""
    false: list[str]
    """Saves that are in a journal, though they are not lost, and were in no conflict with what is
    said there to have won: one of the two knew of the other."""


def ending(world: World) -> Ending:
    """Return how a world ended."""
    items = {name: place.table.items.get(("k",)) for name, place in world.places.items()}
    item = next(iter(items.values()))
    lost = _lost(world.applications, item["value"]["S"] if item else None)
    rows = [row for place in world.places.values() for row in place.journal()]
    known = journaled = {row["loser"]["value"]["S"] for row in rows}
    if world.setting.profile.counts:
        known = journaled | {value for consumer in world.actors for value in consumer.unseen}
    missed = [name for name in lost if name not in known]
    just = {row["loser"]["value"]["S"] for row in rows if _in_conflict(world.applications, row)}
    return Ending(items, lost, missed, sorted(journaled - just - set(lost)))


def _in_conflict(applications: Applications, row: Wire) -> bool:
    """Tell whether neither the loser of a journal's row nor its winner knew of the other."""
    loser = row["loser"]["value"]["S"]
    if row["winner"] is not None:
        winners = [row["winner"]["value"]["S"]]
    else:
        deletes = (one for one in applications.writes.values() if one.how == "delete")
        winners = [one.value for one in deletes if row["by"] in (one.at, EXPIRY)]
    return any(
        loser not in applications.chain(winner) and winner not in applications.chain(loser)
        for winner in winners
    )


def complaints(world: World) -> list[str]:
    """Return what is wrong with a world at rest."""
    profile = world.setting.profile
    end = ending(world)
    found = [*_differing(end.items)]
    item = next(iter(end.items.values()))
    applications = world.applications
    if profile.leaves or profile.exact:
        found += _replaced(applications, item)
    if profile.exact:
        found += _not_highest(applications, item)
    if profile.journal:
        found += [f"vanished: {name} is lost and in no journal" for name in end.missed]
    if profile.lossless and end.lost:
        found.append(f"lost: {', '.join(end.lost)}, though one region wrote at a time")
    if profile.quiet and end.false:
        found.append(f"false: {', '.join(end.false)} journaled and not lost, one region wrote")
    found += _too_many(world)
    return found


def _differing(items: dict[str, Wire | None]) -> list[str]:
    plain = [
        None if item is None else {name: item[name] for name in item if name != STAMP}
        for item in items.values()
    ]
    if all(item == plain[0] for item in plain):
        return []
    told = ", ".join(f"{name} has {shown(item)}" for name, item in items.items())
    return [f"differ: {told}"]


def _replaced(applications: Applications, item: Wire | None) -> list[str]:
    """Complain of a value that is left though another write knowingly replaced it.

    What was lifted over a delete is a later write than its writer's: it may outrank a save that
    knew it as it was. That save is then lost as any loser is, which ``vanished`` tells.
    """
    if item is not None:
        left = applications.writes[item["value"]["S"]]
        lifted = int(item.get("version", {"N": "0"})["N"]) > left.rank.version
        by = [
            one.value
            for one in applications.writes.values()
            if one.knew == left.value and not (lifted and one.how != "delete")
        ]
        return [f"replaced: {left.value} is left, which {by[0]} knowingly replaced"] if by else []
    leaves = applications.leaves().values()
    if not leaves or any(leaf.how == "delete" for leaf in leaves):
        return []
    return ["replaced: nothing is left, though every delete was followed by a save that knew it"]


def _not_highest(applications: Applications, item: Wire | None) -> list[str]:
    writes = applications.writes.values()
    saves = [one for one in writes if one.how != "delete"]
    if not saves:
        return []
    highest = max(saves, key=lambda one: one.rank)
    if item is None:
        # A delete of what was outranked already is none.
        deleted = any(one.how == "delete" and one.rank > highest.rank for one in writes)
        return [] if deleted else [f"rank: nothing is left, not {highest.value}"]
    writer = applications.writes[item["value"]["S"]]
    # A lifted item has more than its writer gave it.
    if max(writer.rank.version, int(item["version"]["N"])) >= highest.rank.version:
        return []
    return [f"rank: {writer.value} is left, but {highest.value} has the highest rank"]


def _lost(applications: Applications, left: str | None) -> list[str]:
    return [
        name for name, one in applications.leaves().items() if one.how != "delete" and name != left
    ]


def records_per_write(world: World) -> float:
    """Return how many records each replica's stream has for one of the applications' writes."""
    written = sum(len(place.records()) for place in world.places.values())
    return written / len(world.places) / max(1, len(world.applications.writes))


def _too_many(world: World) -> list[str]:
    if (found := records_per_write(world)) <= RECORDS_PER_WRITE:
        return []
    return [f"loop: {found:.1f} records at each replica for one of the applications' writes"]
