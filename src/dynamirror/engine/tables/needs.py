"""What a mirror needs of its tables, and the judgement whether they are like that.

Nothing here asks anything: ``check`` and ``init`` look, and bring what they saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from dynamirror.config.model import Deletes, Guard, Mirror, OnPoison, Place, Side
from dynamirror.core.marks import STAMP_ATTRIBUTE
from dynamirror.engine.source import Table
from dynamirror.engine.stream.checkpoints import Known
from dynamirror.engine.stream.history import why_lost
from dynamirror.engine.tables.findings import Finding, Severity, found, label
from dynamirror.engine.tables.schema import ON_DEMAND, billing, expiry_seen, keys_seen, write_units
from dynamirror.engine.writing.viewed import changed_views
from dynamirror.errors import HistoryLostError

INIT = "run `dynamirror init CONFIG --yes`"

EXPIRES_AT = "expires_at"
"""The attribute by which rows of our tables expire."""

IMAGES = "NEW_AND_OLD_IMAGES"


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """A table of our own that a mirror needs."""

    place: Place
    keys: tuple[str, ...]
    """All of type S, partition key first."""
    purpose: str


def spot(place: Place, table: str | None = None) -> Place:
    """Return what identifies a table: its place without the short name."""
    return replace(place, name="", table=table or place.table)


def tables_of_ours(mirror: Mirror) -> list[Ours]:
    """Return the tables that a mirror keeps for itself."""
    tables = [
        Ours(
            place=spot(mirror.source, mirror.checkpoints),
            keys=("link", "shard"),
            purpose="how far the stream was applied",
        ),
        Ours(
            place=spot(mirror.source, mirror.parked),
            keys=("k", "seq"),
            purpose="changes that can't be applied",
        ),
    ]
    if isinstance(mirror, Side):
        place = mirror.source
        ledger = spot(place, mirror.ledger_of(place))
        journal = spot(place, mirror.journal_of(place))
        tables += [
            Ours(place=ledger, keys=("k",), purpose="the last delete of each key"),
            Ours(place=journal, keys=("k", "at"), purpose="writes that lost a conflict"),
        ]
    if mirror.guard is Guard.LEDGER:
        tables += [
            Ours(
                place=spot(target, mirror.ledger_of(target)),
                keys=("k",),
                purpose="the last change of each key",
            )
            for target in mirror.targets
        ]
    return tables


def view_type(place: Place, table: Table) -> Finding:
    """Return the finding that a stream carries too little."""
    return found(
        Severity.UNUSABLE,
        place,
        f"the stream carries {table.view_type}, a mirror needs {IMAGES}",
        "a stream's view type can't be changed: see that no reader needs this stream, turn it off"
        " (UpdateTable, StreamEnabled=false), then run `dynamirror init CONFIG --yes`",
    )


def wrong_keys(ours: Ours, table: Table) -> Finding | None:
    """Return the finding that a table of our name isn't ours, unless its keys say that it is."""
    if table.key_names == ours.keys and set(table.key_types) == {"S"}:
        return None
    return found(
        Severity.UNUSABLE,
        ours.place,
        f"the table for {ours.purpose} has the key {_spelled(table)}, not "
        + ", ".join(f"{name} (S)" for name in ours.keys),
        "give this mirror another table of its own (checkpoint_table, parked_table, ledger_table)",
    )


def wrong_expiry(place: Place, attribute: str) -> Finding:
    """Return the finding that rows of ours expire by another attribute than they carry."""
    return found(
        Severity.FINDING,
        place,
        f"time to live goes by {attribute!r}, rows of dynamirror carry {EXPIRES_AT!r}",
        "turn time to live off, wait for an hour, then run `dynamirror init CONFIG --yes`",
    )


def of_source(mirror: Mirror, source: Table) -> Iterator[Finding]:
    """Yield what is wrong with a source."""
    place = mirror.source
    if source.stream is None:
        yield found(Severity.UNUSABLE, place, "the table's stream is off", INIT)
    elif source.view_type != IMAGES:
        yield view_type(place, source)
    names = {STAMP_ATTRIBUTE, mirror.sequence_attribute}
    if isinstance(mirror, Side):
        names = {mirror.stamp_attribute, mirror.version_attribute}
    taken = names & set(source.key_names)
    for name in sorted(taken):
        yield found(
            Severity.UNUSABLE,
            place,
            f"the key attribute {name!r} is called like an attribute of dynamirror",
            'set sequence_attribute = "..." to another name'
            if name == mirror.sequence_attribute
            else "this table can't be mirrored",
        )
    if mirror.on_poison is OnPoison.STOP:
        what = 'on_poison = "stop": one change that can\'t be applied stops the whole mirror'
        yield found(Severity.NOTE, place, what)


def of_view(mirror: Mirror, target: Place, source: Table) -> Finding | None:
    """Return the finding that a target's view can't be had of such a source, if that is so."""
    view = mirror.views.get(target.name)
    fault = None if view is None else next(view.faults(source.key_names), None)
    if fault is None:
        return None
    return found(
        Severity.UNUSABLE, target, f"its view can't be had of {label(mirror.source)}", fault
    )


def of_keys(mirror: Mirror, target: Place, table: Table, source: Table) -> Iterator[Finding]:
    """Yield the finding that a target's key is another than the source's, or its view's."""
    if (fault := of_view(mirror, target, source)) is not None:
        yield fault
        return
    view = mirror.views.get(target.name)
    if view is not None and (seen := keys_seen(view, source)) is not None:
        wanted = Table(seen)
        # Nothing tells the type of a key made of an attribute that is no key of the source.
        if wanted.key_names != table.key_names:
            yield found(
                Severity.UNUSABLE,
                target,
                f"its key is {_spelled(table)}, the view's is {', '.join(wanted.key_names)}",
                "name another table, or change key or rename of the view",
            )
        return
    mine, theirs = (_spelled(source), _spelled(table))
    if mine != theirs:
        yield found(
            Severity.UNUSABLE,
            target,
            f"its key is {theirs}, the source's is {mine}",
            "name another table, one with the source's key or none: a table's key can't be changed,"
            " and `dynamirror init CONFIG --yes` makes what isn't there",
        )


def _spelled(table: Table) -> str:
    pairs = zip(table.key_names, table.key_types, strict=True)
    return ", ".join(f"{name} ({kind})" for name, kind in pairs)


def of_capacity(mirror: Mirror, target: Place, table: Table, source: Table) -> Iterator[Finding]:
    """Yield what a target is too slow for."""
    if billing(table.description) == ON_DEMAND:
        return
    has = write_units(table.description)
    factor = 2 if mirror.guard is Guard.LEDGER else 1
    if billing(source.description) == ON_DEMAND:
        what = f"provisioned for {has} write units a second, the source is on demand"
        yield found(Severity.NOTE, target, f"{what}: the mirror lags where the source is faster")
    elif has < (needs := write_units(source.description) * factor):
        doubled = " (guard ledger's transactions double the source's)" if factor > 1 else ""
        yield found(
            Severity.FINDING,
            target,
            f"provisioned for {has} write units a second, where the mirror may need {needs}"
            f"{doubled}: it lags when the source is busy",
            f"raise its write capacity to {needs}, or make it on demand",
        )


def of_expiries(mirror: Mirror, target: Place, mine: str, theirs: str) -> Iterator[Finding]:
    """Yield what time to live at a target means; ``mine`` is the source's attribute, if any."""
    if not theirs:
        return
    what = f"time to live is on ({theirs!r}): the target deletes items on its own"
    wanted = expiry_seen(mirror.views.get(target.name), mine)
    if mirror.ttl_deletes is Deletes.IGNORE:
        remedy = 'turn it off, or set ttl_deletes = "mirror"'
        yield found(Severity.FINDING, target, f'{what}, despite ttl_deletes = "ignore"', remedy)
    elif wanted != theirs:
        told = "has none" if not mine else f"goes by {mine!r}"
        if mine and wanted != mine:
            told += f", here {wanted!r}" if wanted else ", which is not in the view"
        remedy = "turn it off at the target, or on alike at the source"
        yield found(Severity.FINDING, target, f"{what}, while the source {told}", remedy)
    else:
        yield found(
            Severity.NOTE,
            target,
            f"{what} when they expire, maybe days before or after the source's delete arrives;"
            " both come to the same",
        )


def of_history(mirror: Mirror, known: Known, stream: str | None, now_ms: int) -> Iterator[Finding]:
    """Yield what the checkpoints tell: lost history, another reader."""
    place, remedy = mirror.source, HistoryLostError.hint.replace("NAME", mirror.name)
    # A stream that is off is a finding of its own.
    why = known.lost if stream is None else why_lost(known, stream, None, now_ms)
    if why is not None:
        yield found(Severity.UNUSABLE, place, f"history was lost: {why}", remedy)
    if changed := changed_views(mirror, known):
        yield found(
            Severity.FINDING,
            place,
            f"the view of {', '.join(changed)} has changed since it was copied or verified",
            f"run `dynamirror verify CONFIG --mirror {mirror.name} --repair`",
        )
    if known.lease is not None and known.lease["until_ms"] > now_ms:
        what = f"its stream is read by {known.lease['owner']}; a second run would be refused"
        yield found(Severity.NOTE, place, what)
