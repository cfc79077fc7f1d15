"""What the service's refusals become."""

from __future__ import annotations

import json

import pytest
from botocore.loaders import create_loader
from botocore.retries.standard import ThrottledRetryableChecker
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.aws.errors import ERRORS, refusal
from dynamirror.errors import (
    BusyError,
    RefusedError,
    ServiceError,
    ThrottledError,
    TransientError,
)

# Of operations that we never call, or that only an error of ours brings about: they keep their
# names and are no class of their own.
PLAIN = {
    "BackupInUseException",
    "BackupNotFoundException",
    "ContinuousBackupsUnavailableException",
    "DuplicateItemException",
    "ExportConflictException",
    "ExportNotFoundException",
    "GlobalTableAlreadyExistsException",
    "GlobalTableNotFoundException",
    "IdempotentParameterMismatchException",
    "ImportConflictException",
    "ImportNotFoundException",
    "InvalidEndpointException",
    "InvalidExportTimeException",
    "InvalidRestoreTimeException",
    "PointInTimeRecoveryUnavailableException",
    "PolicyNotFoundException",
    "ReplicaAlreadyExistsException",
    "ReplicaNotFoundException",
}


def spelled(code: str, message: str = "no", **more: object) -> bytes:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return json.dumps({"__type": kind, "message": message, **more}).encode()


def test_every_error_of_the_api_has_a_place() -> None:
    """No error of either API is unknown to us: it has a class, or is known to need none."""
    codes: set[str] = set()
    for service in ("dynamodb", "dynamodbstreams"):
        model = create_loader().load_service_model(service, "service-2")
        codes |= {name for name, shape in model["shapes"].items() if shape.get("exception")}
    assert codes - ERRORS.keys() - PLAIN == set()
    assert PLAIN & ERRORS.keys() == set()


def test_throttles_are_botocores() -> None:
    """What botocore takes for a throttle is one, save a transaction under way, which is busy."""
    for code in ThrottledRetryableChecker._THROTTLED_ERROR_CODES:
        expected = BusyError if code == "TransactionInProgressException" else ThrottledError
        assert type(refusal(400, spelled(code))) is expected


@pytest.mark.parametrize("code", [*ERRORS, "BrandNewException"])
@pytest.mark.parametrize("key", ["message", "Message"])
def test_an_error_keeps_what_the_service_said(code: str, key: str) -> None:
    """Code, message and the whole answer are there for whoever needs them."""
    body = json.dumps({"__type": f"com.amazon.coral.service#{code}", key: "why", "Item": 1})
    error = refusal(400, body.encode())
    assert type(error) is ERRORS.get(code, ServiceError)
    assert (error.code, error.message, error.body) == (code, "why", body.encode())
    assert str(error) == f"{code}: why"


@pytest.mark.parametrize(
    "spelling", ["ValidationException", "a#ValidationException", "a#ValidationException:http://x/"]
)
def test_a_code_is_read_however_it_is_spelled(spelling: str) -> None:
    """With a namespace, without, with an address behind it: servers differ."""
    assert type(refusal(400, json.dumps({"__type": spelling}).encode())) is RefusedError


def test_a_5xx_may_have_taken_effect() -> None:
    """A 5xx is an unknown outcome whatever it calls itself, unless it is a throttle."""
    for code in ERRORS:
        expected = ThrottledError if ERRORS[code] is ThrottledError else TransientError
        assert type(refusal(503, spelled(code))) is expected


@given(status=st.integers(300, 599), body=st.binary(max_size=200) | st.text().map(str.encode))
def test_any_answer_is_some_error(status: int, body: bytes) -> None:
    """Whatever a load balancer makes of it: an error of ours, with status or code in it."""
    error = refusal(status, body)
    assert error.code
    assert isinstance(error, TransientError) or status < 500


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'"text"', b"{}", b'{"__type": 5}', b'{"__type": null}', b"", b"<p>"]
)
def test_an_answer_without_a_code_is_its_status(body: bytes) -> None:
    """An answer that isn't the service's is told by its status."""
    assert refusal(418, body).code in {"HTTP 418", "5"}
