"""What ``check`` and ``init`` have to say: each thing found, where, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from dynamirror.config.model import Place


class Severity(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    """Good to know; nothing is to be done."""
    FINDING = "finding"
    """The mirror would work, but not as well as it might, or not for ever."""
    UNUSABLE = "unusable"
    """The mirror can't run like this."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found."""

    severity: Severity
    region: str
    table: str
    what: str
    remedy: str
    here: str | None = None
    """Of two tables that differ: how the one is that should be the model."""
    there: str | None = None
    """And how this one is."""


def found(severity: Severity, place: Place, what: str, remedy: str = "") -> Finding:
    """Return a finding about the table at a place."""
    return Finding(
        severity=severity, region=place.region, table=bare(place.table), what=what, remedy=remedy
    )


def bare(table: str) -> str:
    """Return a table's name, given its name or ARN."""
    return table.rpartition("/")[2]


def label(place: Place) -> str:
    """Name the table at a place for people: ``us-east-1/Stories``."""
    return f"{place.region}/{bare(place.table)}"
