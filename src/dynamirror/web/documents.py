"""What the page is told: documents made of statuses, parked rows, conflicts and configuration.

Whatever belongs to an item (keys, images) is in wire form, so that nothing is lost on the way, and
is only ever shown as text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum
from importlib.metadata import version
from typing import Any

import msgspec

from dynamirror.config.model import Mirror
from dynamirror.engine.journal import Conflict
from dynamirror.observe.status import Status
from dynamirror.runtimes.watching import Watch

SHOWN_MAX = 100
"""Parked keys and conflicts that a page lists; the commands list them all."""

READ_MAX = 2_000
"""Rows that are read for them: a page must not cost a table's scan each time."""

SECRET = frozenset({"external_id"})


class Parked(msgspec.Struct, kw_only=True):
    """A key whose changes are held back."""

    target: str
    key: Any
    changes: int
    error: str
    parked_at: int


class Listed(msgspec.Struct, frozen=True):
    """The newest of something, and whether there are more."""

    rows: Sequence[Any]
    more: bool


def state(watch: Watch, statuses: Sequence[Status], since_ms: int) -> dict[str, Any]:
    """Return what every page shows: how all mirrors stand, and the samples since a time."""
    return {
        "at_ms": watch.wiring.clock(),
        "version": version("dynamirror"),
        "config": watch.config,
        "mirrors": [_brief(status) for status in statuses],
        "errors": list(watch.unseen.values()),
        "series": watch.series.since(since_ms),
    }


def _brief(status: Status) -> Status:
    """Leave out what only one mirror's page shows: there may be thousands of shards."""
    return msgspec.structs.replace(status, positions=[], report=None)


async def parked(rows: AsyncIterator[dict[str, Any]]) -> Listed:
    """Return the parked keys, those of most changes first."""
    found: dict[tuple[str, str], Parked] = {}
    read = 0
    async for row in rows:
        read += 1
        one = found.setdefault(
            (row["target"], row["k"]),
            Parked(
                target=row["target"],
                key=row["keys"],
                changes=0,
                error=row["error"],
                parked_at=row["parked_at"],
            ),
        )
        one.changes += 1
        if row["parked_at"] <= one.parked_at:  # the first is the cause, the others wait behind it
            one.error, one.parked_at = row["error"], row["parked_at"]
        if read >= READ_MAX:
            break
    listed = sorted(found.values(), key=lambda one: one.parked_at)
    return Listed(listed[:SHOWN_MAX], more=len(listed) > SHOWN_MAX or read >= READ_MAX)


async def conflicts(found: AsyncIterator[Conflict]) -> Listed:
    """Return the newest conflicts, without their images."""
    listed: list[Conflict] = []
    async for conflict in found:
        listed.append(conflict)
        if len(listed) >= READ_MAX:
            break
    listed.sort(key=lambda one: (-one.at_ms, one.id))
    more = len(listed) > SHOWN_MAX or len(listed) >= READ_MAX
    return Listed(listed[:SHOWN_MAX], more=more)


def configured(mirror: Mirror) -> dict[str, Any]:
    """Return a mirror's configuration in force, defaults included, secrets left out."""
    told: dict[str, Any] = _plain(dataclasses.asdict(mirror))
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): "(not shown)" if name in SECRET and member is not None else _plain(member)
            for name, member in value.items()
            if member is not None
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(member) for member in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, bool | int | float | str) else repr(value)
