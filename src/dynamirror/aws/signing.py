"""Signature version 4 for the one kind of request we send: ``POST /`` with a JSON body.

Everything that stays the same for a second is made once a second: the signing key (the same for
a day), the two halves of its HMAC as started hashes, and per operation the head of the request.
What is left per request is three short hashes.

Source: IAM User Guide, 'Create a signed AWS API request'.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import sha256
from time import gmtime, strftime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

    from dynamirror.aws.credentials import Credentials

    # Second, credentials, both halves of the HMAC, and per target the started canonical request
    # and head. Swapped as one, so that two threads can never mix two seconds.
    _Moment = tuple[int, Credentials, _Hash, _Hash, dict[str, tuple[_Hash, bytes]]]

SERVICE = "dynamodb"
"""The signing name of both APIs, tables and streams (botocore's models, ``signingName``)."""

CONTENT_TYPE = "application/x-amz-json-1.0"
USER_AGENT = "dynamirror"

_BLOCK_BYTES = 64  # SHA-256's, which HMAC pads its key to (RFC 2104)
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class Signer:
    """Makes the signed requests of one region and endpoint.

    ``host`` is the value of the Host header, with the port where it isn't the scheme's own.
    """

    def __init__(self, *, region: str, host: str) -> None:
        self._region = region
        self._host = host
        self._moment: _Moment | None = None

    def signed(self, target: str, body: bytes, credentials: Credentials, at_s: int) -> bytes:
        """Return the whole request, head and body.

        ``target`` is the API's version and the operation, ``DynamoDB_20120810.PutItem``; ``at_s``
        the time of signing in seconds since the epoch.
        """
        moment = self._moment
        if moment is None or moment[0] != at_s or moment[1] is not credentials:
            moment = self._moment = self._begin(credentials, at_s)
        _, _, inner, outer, targets = moment
        try:
            canonical, head = targets[target]
        except KeyError:
            canonical, head = targets[target] = self._parts(target, credentials, at_s)
        canonical = canonical.copy()
        canonical.update(sha256(body).hexdigest().encode())
        inner = inner.copy()
        inner.update(canonical.hexdigest().encode())
        outer = outer.copy()
        outer.update(inner.digest())
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
            head,
            outer.hexdigest().encode(),
            len(body),
            body,
        )

    def _begin(self, credentials: Credentials, at_s: int) -> _Moment:
        stamp = timestamp(at_s)
        scope = self._scope(stamp)
        key = _signing_key(credentials.secret_key, stamp[:8], self._region)
        block = key.ljust(_BLOCK_BYTES, b"\0")
        inner = sha256(block.translate(_INNER_PAD))
        inner.update(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n".encode())
        return at_s, credentials, inner, sha256(block.translate(_OUTER_PAD)), {}

    def _parts(self, target: str, credentials: Credentials, at_s: int) -> tuple[_Hash, bytes]:
        stamp = timestamp(at_s)
        # Must be signed: Host, Content-Type and every X-Amz header. In this, sorted, order.
        headers = {"content-type": CONTENT_TYPE, "host": self._host, "x-amz-date": stamp}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        headers["x-amz-target"] = target
        signed = ";".join(headers)
        canonical = "".join(f"{name}:{value}\n" for name, value in headers.items())
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST / HTTP/1.1\r\n{lines}Accept-Encoding: identity\r\nUser-Agent: {USER_AGENT}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 "
            f"Credential={credentials.access_key}/{self._scope(stamp)}, "
            f"SignedHeaders={signed}, Signature="
        )
        return sha256(f"POST\n/\n\n{canonical}\n{signed}\n".encode()), head.encode()

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self._region}/{SERVICE}/aws4_request"


def timestamp(at_s: int) -> str:
    """Return a time in seconds since the epoch as ``X-Amz-Date`` wants it: 20260131T235959Z."""
    return strftime("%Y%m%dT%H%M%SZ", gmtime(at_s))


# As many as one process can have in use: regions times accounts, at the turn of a day.
@lru_cache(maxsize=64)
def _signing_key(secret_key: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
