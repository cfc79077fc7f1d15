"""What botocore's own signer makes of a request of ours."""

from __future__ import annotations

from unittest import mock

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.compat import datetime

from dynamirror.aws.credentials import Credentials


def head_of(message: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST / HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines)
    return {name.lower(): value for name, value in fields.items()}, body


def botocore_signed(
    head: dict[str, str], body: bytes, credentials: Credentials, region: str
) -> str:
    """Return the Authorization header that botocore gives to the same head, at the same time."""
    unsigned = ("authorization", "content-length", "user-agent", "accept-encoding", "host")
    kept = {name: value for name, value in head.items() if name not in unsigned}
    request = AWSRequest("POST", f"https://{head['host']}/", kept, body)
    at = datetime.datetime.strptime(head["x-amz-date"], "%Y%m%dT%H%M%SZ")
    with mock.patch.object(auth, "get_current_datetime", return_value=at):
        auth.SigV4Auth(credentials, "dynamodb", region).add_auth(request)
    signed: str = request.headers["Authorization"]
    return signed
