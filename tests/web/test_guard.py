"""Who may ask the dashboard for what, before any browser is trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.web.stand import TOKEN, US, Stand, story

from dynamirror.web.guard import Guard, new_token
from dynamirror.web.http import Request

PAUSE = {"link": "stories/us-east-1"}


def request(method: str = "GET", path: str = "/api/state", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"host": "127.0.0.1:8787", "content-type": "application/json", **named}
    return Request(method=method, path=path, query={}, headers=told, body=b"{}")


def guard(host: str = "127.0.0.1", *, writes: bool = True) -> Guard:
    return Guard(host=host, writes=writes, token=TOKEN)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8787", "localhost:8787", "localhost", "[::1]:8787", "LOCALHOST:1"]
)
def test_this_machine_may_look(host: str) -> None:
    assert guard().refusal(request(host=host)) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", ""]
)
@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - not bound
def test_a_name_that_was_made_to_point_here_is_refused(host: str, listens: str) -> None:
    """DNS rebinding: a page of somebody else's can't read ours through the browser."""
    asked = request(path="/", host=host)

    assert guard(listens).refusal(asked) is HTTPStatus.MISDIRECTED_REQUEST


def test_who_listens_for_all_wants_the_token_even_to_read() -> None:
    """An address isn't rebound, so it may be used; but not without the secret."""
    everywhere = guard("0.0.0.0")  # noqa: S104 - not bound
    known = {"x_dynamirror_token": TOKEN}

    assert everywhere.refusal(request(path="/", host="10.1.2.3:8787")) is None
    assert everywhere.refusal(request(host="10.1.2.3:8787")) is HTTPStatus.UNAUTHORIZED
    assert everywhere.refusal(request(host="10.1.2.3:8787", **known)) is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, HTTPStatus.UNAUTHORIZED),
        ({"x_dynamirror_token": "guessed"}, HTTPStatus.UNAUTHORIZED),
        ({"x_dynamirror_token": "gu\u00e9ss\u00e9d"}, HTTPStatus.UNAUTHORIZED),
        ({"x_dynamirror_token": TOKEN, "sec_fetch_site": "cross-site"}, HTTPStatus.FORBIDDEN),
        ({"x_dynamirror_token": TOKEN, "sec_fetch_site": "same-site"}, HTTPStatus.FORBIDDEN),
        (
            {"x_dynamirror_token": TOKEN, "content_type": "text/plain"},
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        ),
        ({"x_dynamirror_token": TOKEN, "sec_fetch_site": "same-origin"}, None),
        ({"x_dynamirror_token": TOKEN}, None),
    ],
)
def test_only_our_own_page_changes_anything(
    headers: dict[str, str], status: HTTPStatus | None
) -> None:
    """CSRF: what a form or a script elsewhere can send isn't enough."""
    assert guard().refusal(request("POST", "/api/pause", **headers)) is status


def test_a_dashboard_that_only_shows_changes_nothing() -> None:
    asked = request("POST", "/api/pause", x_dynamirror_token=TOKEN)

    assert guard(writes=False).refusal(asked) is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"])
def test_other_methods_are_refused(method: str) -> None:
    assert guard().refusal(request(method)) is HTTPStatus.METHOD_NOT_ALLOWED


def test_tokens_are_new_each_time() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert all(len(new_token()) >= 32 for _ in range(10))


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with Stand(tmp_path_factory.mktemp("stand")) as made:
        made.run()
        yield made


def asked(stand: Stand, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Return status, headers and body of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def talk() -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
        data = b"" if body is None else json.dumps(body).encode()
        told = {
            "Host": f"127.0.0.1:{stand.port}",
            "Content-Length": str(len(data)),
            "Connection": "close",
            **named,
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        head, _, rest = answer.partition(b"\r\n\r\n")
        status, *pairs = head.decode().split("\r\n")
        return int(status.split()[1]), dict(pair.split(": ", 1) for pair in pairs), rest

    return asyncio.run(talk())


POST = {"Content-Type": "application/json", "X-Dynamirror-Token": TOKEN}


def test_every_answer_has_the_headers_that_keep_a_page_to_itself(stand: Stand) -> None:
    """No script but ours, no other origin, no frame: on pages, documents and refusals alike."""
    for path in ("/", "/app.js", "/api/state", "/nothing", "/metrics"):
        _, headers, _ = asked(stand, "GET", path)
        policy = headers["Content-Security-Policy"]

        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_files_outside_the_page_are_not_served(stand: Stand) -> None:
    for path in ("/../app.py", "/..%2fapp.py", "/static/app.js", "//etc/passwd", "/app.py"):
        assert asked(stand, "GET", path)[0] == 404


def test_what_has_not_changed_is_not_sent_again(stand: Stand) -> None:
    status, headers, body = asked(stand, "GET", "/app.js")
    again = asked(stand, "GET", "/app.js", If_None_Match=headers["ETag"])

    assert (status, again[0]) == (200, 304)
    assert body
    assert again[2] == b""


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/pause", {"link": "stories/mars"}, 404),
        ("/api/pause", {"lnk": "x"}, 400),
        ("/api/pause", "nonsense", 400),
        ("/api/explode", PAUSE, 404),
        ("/api/restore", {**PAUSE, "conflict": "x"}, 404),
    ],
)
def test_what_makes_no_sense_is_told_so(stand: Stand, path: str, body: Any, status: int) -> None:
    answer = asked(stand, "POST", path, body, **POST)

    assert answer[0] == status
    assert json.loads(answer[2])["error"]


def test_documents_of_unknown_links_are_not_found(stand: Stand) -> None:
    for path in ("/api/link", "/api/link?link=x", "/api/parked?link=x", "/api/conflicts?link=x"):
        assert asked(stand, "GET", path)[0] == 404


def test_a_region_that_does_not_answer_is_an_error_not_a_silence(stand: Stand) -> None:
    """Whoever looks is told that the table didn't answer; the engine is not held up by it."""
    stand.asleep = True
    try:
        status, _, body = asked(stand, "GET", "/api/link?link=stories/us-east-1")
    finally:
        stand.asleep = False

    assert status == 502
    assert "failed 5 times" in json.loads(body)["error"]
    stand.put(US, "Stories", story("after"))
    stand.until(lambda: stand.items("eu-west-1", "Stories") == 1)


def test_secrets_of_the_configuration_are_not_shown(tmp_path: Path) -> None:
    text = """
[mirrors.stories]
mode = "one-way"
source = { region = "us-east-1", table = "Stories", role_arn = "arn:aws:iam::123456789012:role/r", external_id = "hush" }
targets = [{ region = "eu-west-1" }]
"""  # noqa: E501 - an inline table
    with Stand(tmp_path, text) as stand:
        body = asked(stand, "GET", "/api/link?link=stories/us-east-1")[2]

    assert b"role/r" in body
    assert b"hush" not in body
