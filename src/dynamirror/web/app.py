"""The dashboard: files of the page, documents for it, and, where allowed, actions."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import msgspec

from dynamirror.config.model import Side
from dynamirror.engine.journal import UnknownConflictError
from dynamirror.errors import ConfigError, DynamirrorError, NotFoundError
from dynamirror.observe.prometheus import CONTENT_TYPE, exposition
from dynamirror.runtimes.process import journal_of
from dynamirror.runtimes.watching import Watch, status_of
from dynamirror.web.actions import Actions, Asked, link_of
from dynamirror.web.documents import configured, conflicts, parked, state
from dynamirror.web.guard import Guard
from dynamirror.web.http import Request, Response

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    # Nothing but our own files and our own documents, and nobody may frame the page.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class File(msgspec.Struct, frozen=True):
    """One file of the page."""

    body: bytes
    content_type: str
    etag: str


@cache
def page_files() -> dict[str, File]:
    """Return the page's files by their paths."""
    found = {}
    for entry in files("dynamirror.web").joinpath("static").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in TYPES:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            found[f"/{entry.name}"] = File(body, TYPES[suffix], etag)
    found["/"] = found["/index.html"]
    return found


class Dashboard:
    """Answers a browser."""

    def __init__(self, watch: Watch, guard: Guard) -> None:
        self._watch = watch
        self._guard = guard
        self._actions = Actions(watch).named
        self._documents: dict[str, Callable[[Request], Awaitable[Any]]] = {
            "/api/state": self._state,
            "/api/link": self._link,
            "/api/parked": self._parked,
            "/api/conflicts": self._conflicts,
            "/api/conflict": self._conflict,
        }

    async def respond(self, request: Request) -> Response:
        """Answer a request; see ``http``."""
        response = await self._respond(request)
        response.headers = {**HEADERS, **response.headers}
        return response

    async def _respond(self, request: Request) -> Response:
        refused = self._guard.refusal(request)
        if refused is not None:
            return _error(refused, refused.description or refused.phrase)
        if request.method == "POST":
            return await self._act(request)
        if (file := page_files().get(request.path)) is not None:
            return _file(request, file)
        if request.path == "/metrics":
            text = exposition(await self._watch.seen())
            return Response(body=text.encode(), content_type=CONTENT_TYPE)
        document = self._documents.get(request.path)
        if document is None:
            return _error(HTTPStatus.NOT_FOUND, "there is no such page")
        return await _answered(document(request))

    async def _act(self, request: Request) -> Response:
        action = self._actions.get(request.path.removeprefix("/api/"))
        if action is None:
            return _error(HTTPStatus.NOT_FOUND, "there is no such action")
        try:
            asked = msgspec.json.decode(request.body, type=Asked)
        except msgspec.DecodeError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        response = await _answered(action(asked))
        self._watch.forget()
        return response

    async def _state(self, request: Request) -> dict[str, Any]:
        since = request.query.get("since", "")
        statuses = await self._watch.seen()
        told = state(self._watch, statuses, int(since) if since.isdecimal() else 0)
        return {**told, "writes": self._guard.writes}

    async def _link(self, request: Request) -> dict[str, Any]:
        wiring = self._watch.wiring
        mirror = link_of(wiring.config, request.query.get("link", ""))
        status = await status_of(wiring, mirror, self._watch.config)
        return {"status": status, "configuration": configured(mirror)}

    async def _parked(self, request: Request) -> Any:
        wiring = self._watch.wiring
        mirror = link_of(wiring.config, request.query.get("link", ""))
        return await parked(wiring.links(mirror).parking_of(epoch=1).rows())

    async def _conflicts(self, request: Request) -> Any:
        return await conflicts(journal_of(self._watch.wiring, self._side(request)).conflicts())

    async def _conflict(self, request: Request) -> Any:
        """Return a conflict with both images, and the item as it is there now."""
        side = self._side(request)
        journal = journal_of(self._watch.wiring, side)
        restoring = await journal.restoring(request.query.get("id", ""))
        return {
            "conflict": restoring.conflict,
            "now": restoring.now,
            "stamp": side.stamp_attribute,
        }

    def _side(self, request: Request) -> Side:
        mirror = link_of(self._watch.wiring.config, request.query.get("link", ""))
        if not isinstance(mirror, Side):
            raise ConfigError(f"mirror {mirror.name!r} is one-way: it has no conflicts")
        return mirror


async def _answered(work: Awaitable[Any]) -> Response:
    try:
        told = await work
    except (ConfigError, NotFoundError, UnknownConflictError) as error:
        return _error(HTTPStatus.NOT_FOUND, str(error), error.hint)
    except DynamirrorError as error:
        return _error(HTTPStatus.BAD_GATEWAY, str(error), error.hint)
    headers = {"Cache-Control": "no-store"}
    body = msgspec.json.encode(told)
    return Response(body=body, content_type="application/json", headers=headers)


def _file(request: Request, file: File) -> Response:
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        none = Response(body=b"", content_type=file.content_type, headers=headers)
        none.status = HTTPStatus.NOT_MODIFIED
        return none
    return Response(body=file.body, content_type=file.content_type, headers=headers)


def _error(status: HTTPStatus, error: str, hint: str = "") -> Response:
    body = msgspec.json.encode({"error": error, "hint": hint})
    headers = {"Cache-Control": "no-store"}
    return Response(body=body, content_type="application/json", status=status, headers=headers)
