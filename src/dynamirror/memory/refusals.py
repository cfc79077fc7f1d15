"""The service's refusals: our error classes, each with a body in the service's own shape."""

from __future__ import annotations

from typing import Any, TypeVar

from dynamirror.core.values import Wire, encode
from dynamirror.errors import (
    ConditionFailedError,
    ExpiredIteratorError,
    InUseError,
    NotFoundError,
    RefusedError,
    ServiceError,
    ThrottledError,
    TransactionCanceledError,
    TrimmedError,
)

_E = TypeVar("_E", bound=ServiceError)


def refusal(kind: type[_E], code: str, message: str, **members: Any) -> _E:
    """Return an error as the service would answer it, with further members of its body."""
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message, **members}
    return kind(code, message, encode(body))


def invalid(message: str) -> RefusedError:
    return refusal(RefusedError, "ValidationException", message)


def malformed(message: str) -> RefusedError:
    return refusal(RefusedError, "SerializationException", message)


def not_found(what: str) -> NotFoundError:
    return refusal(
        NotFoundError, "ResourceNotFoundException", f"Requested resource not found: {what}"
    )


def in_use(message: str) -> InUseError:
    return refusal(InUseError, "ResourceInUseException", message)


def too_many(message: str) -> ThrottledError:
    return refusal(ThrottledError, "ProvisionedThroughputExceededException", message)


def trimmed() -> TrimmedError:
    return refusal(
        TrimmedError,
        "TrimmedDataAccessException",
        "The position asked for lies before the trim horizon",
    )


def expired() -> ExpiredIteratorError:
    return refusal(
        ExpiredIteratorError,
        "ExpiredIteratorException",
        "The shard iterator is older than 15 minutes",
    )


CONDITION_FAILED = "The conditional request failed"


def condition_failed(item: Wire | None) -> ConditionFailedError:
    """``item`` is the one that is there, if the caller wanted to see it."""
    members = {"Item": item} if item else {}
    return refusal(
        ConditionFailedError, "ConditionalCheckFailedException", CONDITION_FAILED, **members
    )


def canceled(reasons: list[Wire]) -> TransactionCanceledError:
    """One reason for each request of the transaction, in order."""
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    return refusal(
        TransactionCanceledError,
        "TransactionCanceledException",
        message,
        Message=message,
        CancellationReasons=reasons,
    )
