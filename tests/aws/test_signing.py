"""Our signer against botocore's, on whatever can differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.aws.botocore_signed import botocore_signed, head_of

from dynamirror.aws.credentials import Credentials
from dynamirror.aws.signing import Signer

WORDS = st.text("abcXYZ019/+=", min_size=1, max_size=40)
CREDENTIALS = st.builds(Credentials, WORDS, WORDS, st.none() | WORDS)
REGIONS = st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "local"])
HOSTS = st.sampled_from(
    [
        "dynamodb.eu-west-1.amazonaws.com",
        "streams.dynamodb.cn-north-1.amazonaws.com.cn",
        "127.0.0.1:8000",
        "[::1]:8000",
    ]
)
TARGETS = st.sampled_from(["DynamoDB_20120810.PutItem", "DynamoDBStreams_20120810.GetRecords"])
SECONDS = st.integers(0, 4_102_444_800)
REQUESTS = st.lists(st.tuples(TARGETS, st.binary(max_size=300)), min_size=1, max_size=4)


@given(credentials=CREDENTIALS, region=REGIONS, host=HOSTS, requests=REQUESTS, at_s=SECONDS)
def test_a_signature_is_botocores(
    credentials: Credentials,
    region: str,
    host: str,
    requests: list[tuple[str, bytes]],
    at_s: int,
) -> None:
    """Whatever the body, the host, the token and the second: the service gets the signature that
    botocore would send, and the body untouched."""
    signer = Signer(region=region, host=host)
    for target, body in requests:
        message = signer.signed(target, body, credentials, at_s)
        head, sent = head_of(message)
        assert sent == body
        assert head["content-length"] == str(len(body))
        assert head["authorization"] == botocore_signed(head, body, credentials, region)


@given(
    first=CREDENTIALS,
    second=CREDENTIALS,
    start_s=SECONDS,
    steps=st.lists(st.sampled_from([0, 1, 59, 86_399, 86_400, -1]), max_size=8),
)
def test_nothing_kept_outlives_its_second(
    first: Credentials, second: Credentials, start_s: int, steps: list[int]
) -> None:
    """One signer goes through seconds, days and changes of credentials, back and forth, and every
    signature is that of its own moment."""
    signer = Signer(region="eu-west-1", host="localhost:8000")
    at_s = start_s
    for number, step in enumerate([0, *steps]):
        at_s = max(0, at_s + step)
        credentials = (first, second)[number % 2]
        message = signer.signed("DynamoDB_20120810.GetItem", b"{}", credentials, at_s)
        head, body = head_of(message)
        assert head["authorization"] == botocore_signed(head, body, credentials, "eu-west-1")


def test_a_secret_is_never_printed() -> None:
    """Credentials in a log show whose they are, and nothing that signs."""
    shown = repr(Credentials("AKIDEXAMPLE", "topsecret", "token-of-mine"))
    assert "AKIDEXAMPLE" in shown
    assert "topsecret" not in shown
    assert "token" not in shown
