"""Who may ask for what.

Three things could go wrong beside plain curiosity. A page of somebody else's that makes the
browser's own name for it resolve to this machine (DNS rebinding): a Host that isn't ours is
refused. A page that has the browser send requests here (CSRF): whatever changes something wants a
header that only our own page can send, with a token that only its owner has. Somebody else on the
network: whoever listens beyond this machine gives the token for reading, too.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from http import HTTPStatus

import msgspec

from dynamirror.web.http import Request

TOKEN_HEADER = "x-dynamirror-token"  # noqa: S105 - its name

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """Whom one dashboard lets do what."""

    host: str
    """What it listens at, as it was given."""
    writes: bool
    """Whether anything can be changed at all."""
    token: str

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOCAL or self.host.startswith("127.")

    def refusal(self, request: Request) -> HTTPStatus | None:
        """Return why a request is refused; None: it isn't."""
        if not self._is_ours(request.headers.get("host", "")):
            return HTTPStatus.MISDIRECTED_REQUEST
        reads = request.method in ("GET", "HEAD")
        if not reads and (refused := self._writing(request)) is not None:
            return refused
        secret = not reads or (request.path.startswith("/api/") and not self.loopback)
        return HTTPStatus.UNAUTHORIZED if secret and not self._knows(request) else None

    def _writing(self, request: Request) -> HTTPStatus | None:
        if request.method != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED
        if request.headers.get("content-type") != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        same = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        return None if same and self.writes else HTTPStatus.FORBIDDEN

    def _knows(self, request: Request) -> bool:
        given = request.headers.get(TOKEN_HEADER, "")
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _is_ours(self, host: str) -> bool:
        # An address can't be rebound: only names are looked up anew.
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        if name in LOCAL or name == self.host.lower():
            return True
        return not self.loopback and _is_address(name)


def new_token() -> str:
    """Return a secret for one run of the process."""
    return secrets.token_urlsafe(24)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
