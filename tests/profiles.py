"""What servers do differently from DynamoDB, declared once. Tests read it; they skip nothing.

The defaults are DynamoDB's own habits. Each deviation says what the server does instead, so that a
test that holds it to that goes red on the day the server changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dynamirror.core.servers import Kind

ALTERNATOR_HAS = frozenset(
    {
        "BatchGetItem",
        "BatchWriteItem",
        "CreateTable",
        "DeleteItem",
        "DeleteTable",
        "DescribeContinuousBackups",
        "DescribeEndpoints",
        "DescribeStream",
        "DescribeTable",
        "DescribeTimeToLive",
        "GetItem",
        "GetRecords",
        "GetShardIterator",
        "ListStreams",
        "ListTables",
        "ListTagsOfResource",
        "PutItem",
        "Query",
        "Scan",
        "TagResource",
        "UntagResource",
        "UpdateItem",
        "UpdateTable",
        "UpdateTimeToLive",
    }
)
"""The operations that ScyllaDB Alternator has (scylladb/scylladb, alternator/server.cc)."""

LOCAL_LACKS = frozenset(
    {
        "DescribeContinuousBackups",
        "DescribeKinesisStreamingDestination",
        "ListTagsOfResource",
        "TagResource",
        "UntagResource",
        "UpdateContinuousBackups",
    }
)
"""Operations that DynamoDB Local doesn't have (Developer Guide, 'DynamoDB local usage notes')."""

TRIED = frozenset(
    {
        "TagResource",
        "TransactWriteItems",
        "UpdateContinuousBackups",
    }
)
"""Operations that the contract's tests are about, and not every server has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A server's habits where servers differ."""

    name: str
    respelled_writes_recorded: bool = False
    """A put of an equal item, spelled differently (1.0 for 1, a set in another order), makes a
    stream record."""
    records_limit_enforced: bool = True
    """GetRecords refuses a Limit over 1,000."""
    old_streams_listed: bool = True
    """A disabled stream stays in ListStreams after the table has a new one."""
    drained_shard_described: bool = True
    """A closed shard says so (EndingSequenceNumber), also one without records."""
    record_bytes_told: bool = True
    """Stream records have their SizeBytes."""
    number_keys_found_by_value: bool = True
    """An item whose key is 10 is found by the key 10.00."""
    expressions_exact: bool = True
    """An expression at fault is refused: an empty set or booleans in order among its values, an
    attribute compared with itself, paths that overlap or lead into nothing. An attribute of a type
    that size() or begins_with() doesn't take makes a comparison false."""
    binaries_contain: bool = True
    """``contains`` finds a part of a binary value, as of a text."""
    missing_differs_from_missing: bool = True
    """``a <> b`` holds where neither is there, and ``a = b`` doesn't."""
    sums_exact: bool = True
    """SET + and ADD count in 38 digits, and refuse what needs more."""
    switching_twice_refused: bool = True
    """A stream or expiry can't be switched on that is on, nor a stream off that is off."""
    base64_checked: bool = True
    """Binary that isn't base64 is refused."""
    lacks: frozenset[str] = frozenset()
    """Operations that it doesn't know; of those in ``TRIED``."""
    scans_by_segment: bool = True
    """A segment of a scan is a part of the table, and not the whole of it."""
    records_are_writes: bool = True
    """A record is one write that changed something, and its event name says how."""
    records_fill_pages: bool = True
    """An answer with records ends at 1 MB, whatever its limit."""
    event_source: str = "aws:dynamodb"
    record_region: str | None = None
    """What records have for their region; None: what the stream's ARN has."""
    table_arn: str = r"arn:aws:dynamodb:[a-z0-9-]+:\d{12}:table/.+"
    stream_arn: str | None = None
    """None: the table's, ``/stream/`` and its label."""
    sequence_digits: int | None = None
    """None: 21 to 40."""


DYNAMODB = Profile(name="DynamoDB")

MEMORY = Profile(name="memory")

MINISTACK = Profile(
    name="ministack",
    respelled_writes_recorded=True,
    records_limit_enforced=False,
    old_streams_listed=False,
    drained_shard_described=False,
    record_bytes_told=False,
    number_keys_found_by_value=False,
    expressions_exact=False,
    binaries_contain=False,
    missing_differs_from_missing=False,
    base64_checked=False,
    sums_exact=False,
    switching_twice_refused=False,
)


def imitated_profile(kind: Kind, behind: Profile) -> Profile:
    """Return the habits of the imitation of a kind before a server."""
    if kind is Kind.DYNAMODB_LOCAL:
        return replace(
            behind,
            name=kind.value,
            lacks=TRIED & LOCAL_LACKS,
            scans_by_segment=False,
            table_arn=r"arn:aws:dynamodb:ddblocal:\d{12}:table/.+",
        )
    return replace(
        behind,
        name=kind.value,
        lacks=TRIED - ALTERNATOR_HAS,
        records_limit_enforced=True,
        records_are_writes=False,
        records_fill_pages=False,
        record_bytes_told=False,
        event_source="scylladb:alternator",
        record_region="datacenter1",
        table_arn=r"arn:scylla:alternator:alternator_.+:scylla:table/.+",
        stream_arn=r"S[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        sequence_digits=37,
    )


PROFILES = {one.name: one for one in (DYNAMODB, MEMORY, MINISTACK)}
