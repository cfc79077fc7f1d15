"""What servers that speak DynamoDB's protocol do otherwise, as far as it matters here.

A place's ``server`` names its kind. What every server may do otherwise needs no kind: records are
read by their images and not by their event names, a record of a write that changed nothing does no
harm, and nobody takes the ARN of a stream or the name of a shard apart.

Sources: scylladb/scylladb docs/alternator (compatibility.md, new-apis.md), alternator/streams.cc,
alternator/server.cc and issues 6918, 6930, 11523; Developer Guide, 'Differences between
downloadable DynamoDB and the DynamoDB web service'.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Which server answers at a place."""

    DYNAMODB = "dynamodb"
    ALTERNATOR = "alternator"
    """ScyllaDB's."""
    DYNAMODB_LOCAL = "dynamodb-local"
    COMPATIBLE = "compatible"
    """Another one: taken to do as DynamoDB does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """A server's habits where they ask for something; the defaults are DynamoDB's."""

    title: str
    """What people call it."""
    lacks: frozenset[str] = frozenset()
    """Operations that it doesn't have, of those that a mirror would use."""
    marks_ttl_deletes: bool | None = True
    """Whether a stream tells deletes by time to live from others; None: not every version."""
    puts_in_pairs: bool = False
    """Whether a put of an item that is there may come as two records, REMOVE and MODIFY."""
    visible_after_s: float = 0.0
    """How long the stream holds a change back."""
    scans_by_segment: bool = True
    """Whether a segment of a scan is a part of the table, and not the whole of it."""
    shards_many: bool = False
    """Whether a small table has hundreds of shards, of which most are silent."""
    isolation_tag: str = ""
    """The tag of a table that says how its writes are isolated; empty: they always are."""
    isolation_option: str = ""
    """The server's option that says so for all tables without the tag."""


_OF = {
    Kind.DYNAMODB: Habits(title="DynamoDB"),
    Kind.ALTERNATOR: Habits(
        title="ScyllaDB Alternator",
        lacks=frozenset({"TransactWriteItems", "UpdateContinuousBackups"}),
        marks_ttl_deletes=None,  # those since the end of 2025 do (scylladb/scylladb, issue 11523)
        puts_in_pairs=True,
        visible_after_s=10.0,  # alternator_streams_time_window_s, unless changed
        shards_many=True,
        isolation_tag="system:write_isolation",
        isolation_option="alternator_write_isolation",
    ),
    Kind.DYNAMODB_LOCAL: Habits(
        title="DynamoDB Local",
        lacks=frozenset({"TagResource", "UpdateContinuousBackups"}),
        scans_by_segment=False,
    ),
    Kind.COMPATIBLE: Habits(title="another server", marks_ttl_deletes=None),
}

SAFE_ISOLATION = ("a", "always", "always_use_lwt")
"""Values of the isolation's tag under which a condition always sees the write before it."""

_ARNS = {
    "arn:scylla:alternator:": Kind.ALTERNATOR,
    "arn:aws:dynamodb:ddblocal:": Kind.DYNAMODB_LOCAL,
}


def habits_of(kind: Kind) -> Habits:
    """Return what is known of a kind."""
    return _OF[kind]


def denied(kind: Kind, table_arn: str) -> bool:
    """Tell whether a table's ARN is none that a server of this kind would give."""
    start = next((start for start, one in _ARNS.items() if one is kind), "")
    return not table_arn.startswith(start)


def detected(table_arn: str) -> Kind | None:
    """Return the kind of server that a table's ARN gives away; None: it could be any."""
    return next((kind for start, kind in _ARNS.items() if table_arn.startswith(start)), None)
