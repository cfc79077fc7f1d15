"""What servers do differently from DynamoDB, declared once. Tests read it; they skip nothing.

The defaults are DynamoDB's own habits. Each deviation says what the server does instead, so that a
test that holds it to that goes red on the day the server changes.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    missing_differs_from_missing: bool = True
    """``a <> b`` holds where neither is there, and ``a = b`` doesn't."""
    sums_exact: bool = True
    """SET + and ADD count in 38 digits, and refuse what needs more."""
    switching_twice_refused: bool = True
    """A stream or expiry can't be switched on that is on, nor a stream off that is off."""
    base64_checked: bool = True
    """Binary that isn't base64 is refused."""


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
    missing_differs_from_missing=False,
    base64_checked=False,
    sums_exact=False,
    switching_twice_refused=False,
)

PROFILES = {one.name: one for one in (DYNAMODB, MEMORY, MINISTACK)}
