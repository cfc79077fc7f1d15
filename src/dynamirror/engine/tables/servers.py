"""What ``check`` says of servers that are not DynamoDB, judged from what their tables tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dynamirror.config.model import Deletes, Guard, Mirror, Place, Side
from dynamirror.core.servers import SAFE_ISOLATION, Kind, denied, detected, habits_of
from dynamirror.engine.source import Table
from dynamirror.engine.tables.findings import Finding, Severity, found


def of_server(mirror: Mirror, place: Place, table: Table) -> Iterator[Finding]:
    """Yield that a place's server is another than declared, and what its kind means."""
    arn = str(table.description.get("TableArn", ""))
    kind = detected(arn)
    said = f'and the configuration says "{place.server}"'
    # Streams of the one read as the other's: a change would get lost in a two-way mirror.
    streams = Severity.UNUSABLE if Kind.ALTERNATOR in (kind, place.server) else Severity.FINDING
    if kind is not None and kind is not place.server:
        yield found(
            streams,
            place,
            f"this is {habits_of(kind).title}, {said}",
            f'set server = "{kind}" for this place',
        )
    elif kind is None and denied(place.server, arn):
        yield found(
            streams,
            place,
            f"this is not {habits_of(place.server).title}, {said}",
            f'set server = "{Kind.COMPATIBLE}" for this place, or "{Kind.DYNAMODB}" if it is that',
        )
    elif kind is None and place.server is Kind.COMPATIBLE:
        yield found(
            Severity.NOTE,
            place,
            "which server this is can't be told; it is taken to do as DynamoDB does"
            " (server = ... says otherwise)",
        )
    habits = habits_of(place.server)
    ignoring = mirror.ttl_deletes is not mirror.deletes
    if place == mirror.source and ignoring and habits.marks_ttl_deletes is None:
        yield found(
            Severity.FINDING if place.server is Kind.ALTERNATOR else Severity.NOTE,
            place,
            f"not every version of {habits.title} tells deletes by time to live from others:"
            f' ttl_deletes = "{mirror.ttl_deletes}" counts for nothing where it does not',
            f'set deletes and ttl_deletes alike, such as deletes = "{Deletes.MIRROR}", or see that'
            " the records of expired items have a userIdentity",
        )


def of_isolation(mirror: Mirror, place: Place, tags: Mapping[str, str] | None) -> Iterator[Finding]:
    """Yield what a user's table's tag tells of how its writes are isolated.

    It matters for the table itself where we write to it on conditions, and for our own tables, all
    of which are written so, wherever they are.
    """
    habits = habits_of(place.server)
    conditional = isinstance(mirror, Side) or (
        mirror.guard is not Guard.ORDER and place != mirror.source
    )
    told = (tags or {}).get(habits.isolation_tag)
    if conditional and told is not None and told not in SAFE_ISOLATION:
        yield found(
            Severity.FINDING,
            place,
            f"its tag {habits.isolation_tag} is {told!r}: conditions may not see all writes",
            f"tag it {habits.isolation_tag} = always_use_lwt",
        )
    elif (conditional and told is None) or place == mirror.source:
        which = "this table and dynamirror's own" if conditional else "dynamirror's own tables here"
        yield found(
            Severity.NOTE,
            place,
            f"{which} are written on conditions, which hold if {habits.isolation_option} is"
            " always_use_lwt, which can't be seen from here, or they are tagged"
            f" {habits.isolation_tag} = always_use_lwt",
        )
