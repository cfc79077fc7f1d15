"""Mirrors of many tables at once: ``table = "prod-*"`` names every table that matches.

Each such table has a mirror of its own, called ``<mirror>.<table>``, with its own link and its own
tables of ours. Which tables there are is asked of the service, by whoever runs a command; here it
is only said what a pattern means for one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynamirror.config.problems import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamirror.config.model import Place

ANY = "*"

SAMPLE = "xxx"
"""Stands for what matches, so that a pattern's mirror can be looked through for faults."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A mirror that is declared for every table of a name."""

    name: str
    """The mirror's."""
    place: Place
    """Its source; the table is the pattern."""

    def matches(self, table: str) -> bool:
        """Tell whether a table is one of its sources; those of dynamirror's own never are."""
        return part_of(self.place.table, table) is not None and not re.fullmatch(OURS, table)


def pattern_of(raw: Mapping[str, Any]) -> str | None:
    """Return the pattern that a mirror's source, or its first replica, is named by, if it is."""
    replicas = raw.get("replicas")
    place = replicas[0] if isinstance(replicas, list) and replicas else raw.get("source")
    table = place.get("table") if isinstance(place, dict) else None
    return table if isinstance(table, str) and table.count(ANY) == 1 else None


def part_of(pattern: str, table: str) -> str | None:
    """Return what of a table's name the pattern leaves open; None if it doesn't match."""
    before, _, after = pattern.partition(ANY)
    fits = table.startswith(before) and table.endswith(after)
    if not fits or len(table) <= len(before) + len(after):
        return None
    return table[len(before) : len(table) - len(after)]


def for_table(raw: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return a pattern's mirror as it is for one table: each name's ``*`` is what matched."""

    def named(place: Any) -> Any:
        if not isinstance(place, dict) or not isinstance(table := place.get("table"), str):
            return place
        return {**place, "table": table.replace(ANY, part)}

    mirror = dict(raw)
    if "source" in mirror:
        mirror["source"] = named(mirror["source"])
    for places in ("targets", "replicas"):
        if isinstance(mirror.get(places), list):
            mirror[places] = [named(place) for place in mirror[places]]
    return mirror
