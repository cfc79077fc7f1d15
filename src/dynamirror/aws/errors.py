"""One table from the service's error codes to our errors. A code it lacks keeps its name.

Sources: the error shapes of botocore's ``dynamodb`` and ``dynamodbstreams`` models; API Reference,
'Common Errors'; botocore's standard retry mode (``retries/standard.py``) for what is a throttle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dynamirror.errors import (
    AccessDeniedError,
    BusyError,
    ConditionFailedError,
    ExpiredIteratorError,
    InUseError,
    NotFoundError,
    RefusedError,
    ServiceError,
    ThrottledError,
    TransactionCanceledError,
    TransientError,
    TrimmedError,
)

ERRORS: Mapping[str, type[ServiceError]] = {
    "BandwidthLimitExceeded": ThrottledError,
    "EC2ThrottledException": ThrottledError,
    "KMSThrottlingException": ThrottledError,
    "LimitExceededException": ThrottledError,
    "PriorRequestNotComplete": ThrottledError,
    "ProvisionedThroughputExceededException": ThrottledError,
    "RequestLimitExceeded": ThrottledError,
    "RequestThrottled": ThrottledError,
    "RequestThrottledException": ThrottledError,
    "SlowDown": ThrottledError,
    "ThrottledException": ThrottledError,
    "Throttling": ThrottledError,
    "ThrottlingException": ThrottledError,
    "TooManyRequestsException": ThrottledError,
    "InternalFailure": TransientError,
    "InternalServerError": TransientError,
    "RequestTimeout": TransientError,
    "RequestTimeoutException": TransientError,
    "ServiceUnavailable": TransientError,
    "ServiceUnavailableException": TransientError,
    "ReplicatedWriteConflictException": BusyError,
    "TransactionConflictException": BusyError,
    "TransactionInProgressException": BusyError,
    "ConditionalCheckFailedException": ConditionFailedError,
    "TransactionCanceledException": TransactionCanceledError,
    "ItemCollectionSizeLimitExceededException": RefusedError,
    "RequestEntityTooLarge": RefusedError,
    "SerializationException": RefusedError,
    "UnknownOperationException": RefusedError,
    "ValidationError": RefusedError,
    "ValidationException": RefusedError,
    "AccessDenied": AccessDeniedError,
    "AccessDeniedException": AccessDeniedError,
    "ExpiredToken": AccessDeniedError,
    "ExpiredTokenException": AccessDeniedError,
    "IncompleteSignature": AccessDeniedError,
    "IncompleteSignatureException": AccessDeniedError,
    "InvalidClientTokenId": AccessDeniedError,
    "InvalidSignatureException": AccessDeniedError,
    "KMSAccessDeniedException": AccessDeniedError,
    "KMSDisabledException": AccessDeniedError,
    "KMSInvalidStateException": AccessDeniedError,
    "KMSNotFoundException": AccessDeniedError,
    "KMSOptInRequired": AccessDeniedError,
    "MissingAuthenticationToken": AccessDeniedError,
    "MissingAuthenticationTokenException": AccessDeniedError,
    "NotAuthorized": AccessDeniedError,
    "OptInRequired": AccessDeniedError,
    "RequestExpired": AccessDeniedError,
    "RequestTimeTooSkewed": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "IndexNotFoundException": NotFoundError,
    "ResourceNotFoundException": NotFoundError,
    "TableNotFoundException": NotFoundError,
    "ResourceInUseException": InUseError,
    "TableAlreadyExistsException": InUseError,
    "TableInUseException": InUseError,
    "TrimmedDataAccessException": TrimmedError,
    "ExpiredIteratorException": ExpiredIteratorError,
}

# What a load balancer or a proxy answers in words of its own, with no code in it.
_STATUSES: Mapping[int, type[ServiceError]] = {
    401: AccessDeniedError,
    403: AccessDeniedError,
    408: TransientError,
    413: RefusedError,
    429: ThrottledError,
}

# The service was within its rights to say no and will say it again: a refresh of credentials or
# of the clock comes first.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
SKEWED = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)

_SERVER_ERROR = 500
_MESSAGE_CHARS_MAX = 500  # of an answer that isn't the service's JSON


def refusal(status: int, body: bytes) -> ServiceError:
    """Return the error that an answer other than 200 stands for.

    A 5xx is a TransientError whatever it says, unless it says throttle: the outcome is unknown.
    """
    code, message = _spelled(body)
    kind = ERRORS.get(code)
    if status >= _SERVER_ERROR and kind is not ThrottledError:
        kind = TransientError
    if kind is None:
        kind = ServiceError if code else _STATUSES.get(status, ServiceError)
    return kind(code or f"HTTP {status}", message, body)


def named(code: str, message: str) -> ServiceError:
    """Return the error for a code that another of AWS's clients has already read."""
    return ERRORS.get(code, ServiceError)(code, message)


def _spelled(body: bytes) -> tuple[str, str]:
    try:
        answer: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if not isinstance(answer, dict):
        return "", body[:_MESSAGE_CHARS_MAX].decode(errors="replace").strip()
    # ``com.amazonaws.dynamodb.v20120810#Code``, and with some services ``Code:http://...``.
    code = str(answer.get("__type") or answer.get("code") or "").rpartition("#")[2]
    return code.partition(":")[0], str(answer.get("message") or answer.get("Message") or "")
