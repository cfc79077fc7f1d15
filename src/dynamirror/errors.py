"""Every error we raise: what happened, whether trying again helps, and the operator's next step.

An error raised here ends up on a terminal or in a log, so its text names the thing at fault and
its ``hint`` the next command to type. ``exit_status`` is what the command line ends with.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FINDING = 1
    UNUSABLE = 2
    HISTORY_LOST = 3
    INTERRUPTED = 130


class DynamirrorError(Exception):
    """Base of every error we raise."""

    retryable: ClassVar[bool] = False
    exit_status: ClassVar[Exit] = Exit.UNUSABLE
    hint: str = ""


class ConfigError(DynamirrorError):
    """The configuration can't be used; the text lists every fault with its remedy."""


class MalformedRecordError(DynamirrorError, ValueError):
    """Something that calls itself a stream record isn't one; the text says what was wrong."""

    hint = "Pass the event as DynamoDB Streams made it; see the Lambda guide, 'with-ddb'."


class HistoryLostError(DynamirrorError):
    """Changes were trimmed or the stream was re-created before we read it: they are gone."""

    exit_status = Exit.HISTORY_LOST
    hint = "Run `dynamirror backfill CONFIG --mirror NAME`, then `dynamirror verify CONFIG`."


class RosterError(DynamirrorError):
    """The configuration names others than those who take part in the mirror."""

    hint = "Restart with the newest configuration file; all of a mirror's processes share it."


class NewTargetError(RosterError):
    """A target joined a mirror that had begun without it."""

    hint = "Run `dynamirror backfill CONFIG --mirror NAME`: it copies the table to every target."


class NewReplicaError(RosterError):
    """A replica is listed that has not joined its two-way mirror, or not wholly."""

    hint = "Run `dynamirror replica add CONFIG --mirror NAME --replica REPLICA`."


class HeldError(DynamirrorError):
    """Another process reads this stream."""

    hint = "Stop the other process first; if it died on another machine, wait for its lease to end."


class UnfitError(DynamirrorError):
    """A change that can't be applied as it is, seen before it was sent."""


class PoisonError(DynamirrorError):
    """A change can never be applied as it is, and the mirror is set to stop at such a change."""

    exit_status = Exit.FINDING
    hint = 'Mend the cause, or set on_poison = "park" and run `dynamirror redrive CONFIG` later.'


class NewerFormatError(DynamirrorError):
    """A row of our tables was written by a newer dynamirror."""

    hint = "Upgrade this dynamirror to the version that wrote the row."


class ServiceError(DynamirrorError):
    """The service refused a request.

    ``code`` is the service's own name for it, e.g. ``ValidationException``; ``body`` the whole
    answer as JSON bytes, for those who need more of it (the item, the cancellation reasons).
    """

    def __init__(self, code: str, message: str, body: bytes = b"") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.body = body


class ThrottledError(ServiceError):
    """Too fast for the table, its partition or the account."""

    retryable = True
    hint = "Raise the table's capacity, or lower max_writes_per_second."


class TransientError(ServiceError):
    """A 5xx, a reset or a time-out: the outcome is unknown, the request may still take effect."""

    retryable = True


class BusyError(ServiceError):
    """Another transaction or write holds the item just now."""

    retryable = True


class ConditionFailedError(ServiceError):
    """The condition of a conditional write did not hold; ``body`` has the item if asked for."""


class TransactionCanceledError(ServiceError):
    """A transaction was canceled; ``body`` lists a reason for each of its requests."""


class RefusedError(ServiceError):
    """The request can never succeed as it is: malformed, too large, of the wrong key schema."""

    hint = "Compare both tables' key schema and the item's size with `dynamirror check CONFIG`."


class AccessDeniedError(ServiceError):
    """The caller may not do this, or its credentials are not accepted."""

    hint = "Grant the action named above; `dynamirror check CONFIG` lists what is missing."


class NotFoundError(ServiceError):
    """The table or stream does not exist."""

    hint = "Run `dynamirror init CONFIG`, and check region, account and table name."


class InUseError(ServiceError):
    """The table exists already, or is being changed."""


class TrimmedError(ServiceError):
    """The position asked for lies before the trim horizon."""


class ExpiredIteratorError(ServiceError):
    """A shard iterator is older than 15 minutes; a new one from the same position will do."""
