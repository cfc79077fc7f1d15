"""Whose requests these are, from wherever that is configured."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from tests.aws.place import run

from dynamirror.aws.credentials import (
    BotocoreCredentials,
    Credentials,
    EnvironmentCredentials,
    credential_source,
)
from dynamirror.errors import AccessDeniedError, ConfigError, TransientError

ROLE = "arn:aws:iam::123456789012:role/mirror"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials but the test's own."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return tmp_path


def write_profile(home: Path, name: str, key: str) -> None:
    (home / "credentials").write_text(
        f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"
    )


def test_the_environments_credentials() -> None:
    """The three variables, as AWS Lambda sets them; a token that is empty is none."""
    environment = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}

    async def story() -> None:
        for token, expected in (("token", "token"), ("", None)):
            source = credential_source(
                region="eu-west-1",
                profile=None,
                role_arn=None,
                external_id=None,
                environment=environment | {"AWS_SESSION_TOKEN": token},
            )
            assert isinstance(source, EnvironmentCredentials)
            held = await source.current()
            assert tuple(held) == ("AKID", "secret", expected)
            assert await source.current() is held
            assert await source.renewed(held) is None

    run(story())


def test_the_environments_credentials_may_change() -> None:
    """Refused credentials are read again, and only then."""
    environment = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}

    async def story() -> None:
        source = EnvironmentCredentials(environment)
        old = await source.current()
        environment["AWS_ACCESS_KEY_ID"] = "NEW"
        assert await source.current() is old
        new = await source.renewed(old)
        assert new is not None
        assert new.access_key == "NEW"
        assert await source.renewed(old) is new
        assert await source.current() is new

    run(story())


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_ACCESS_KEY_ID": "AKID"},
        {"AWS_ACCESS_KEY_ID": "AKID\n", "AWS_SECRET_ACCESS_KEY": "secret"},
        {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "sec ret"},
        {
            "AWS_ACCESS_KEY_ID": "A",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_SESSION_TOKEN": "t\r\nX-Evil: 1",
        },
    ],
)
def test_broken_credentials_are_told(environment: dict[str, str]) -> None:
    """Half a pair, or a line break from a bad paste: said at the start, and what it was."""
    with pytest.raises(ConfigError, match=r"[sS]et") as caught:
        EnvironmentCredentials(environment)
    assert "sec ret" not in str(caught.value)


def test_a_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place's profile goes before the environment's credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "WRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    write_profile(home, "mine", "AKIDMINE")

    async def story() -> None:
        source = credential_source(
            region="eu-west-1", profile="mine", role_arn=None, external_id=None
        )
        held = await source.current()
        assert tuple(held) == ("AKIDMINE", "secret", None)
        assert await source.current() is held
        assert await source.renewed(held) is None
        write_profile(home, "mine", "AKIDNEW")
        assert await source.current() is held
        renewed = await asyncio.gather(*(source.renewed(held) for _ in range(5)))
        assert {found.access_key for found in renewed if found} == {"AKIDNEW"}

    run(story())


def test_the_shared_default_profile(home: Path) -> None:
    """Without anything configured, what boto3 would find."""
    write_profile(home, "default", "AKIDDEFAULT")

    async def story() -> None:
        source = credential_source(
            region="eu-west-1", profile=None, role_arn=None, external_id=None
        )
        assert (await source.current()).access_key == "AKIDDEFAULT"

    run(story())


@pytest.mark.parametrize(("profile", "says"), [("absent", "absent"), (None, "no credentials")])
def test_no_credentials(profile: str | None, says: str) -> None:
    """No credentials, or no such profile: a fault of the configuration with its remedy."""

    async def story() -> None:
        source = BotocoreCredentials(region="eu-west-1", profile=profile)
        for _ in range(2):
            with pytest.raises(ConfigError, match=says):
                await source.current()

    run(story())


def test_credentials_near_their_end(home: Path) -> None:
    """Near their end credentials are renewed beside the requests, once, and nobody waits; at
    their end everybody waits."""
    count, ends = home / "count", home / "ends"
    script = home / "process.py"
    script.write_text(
        "import json, pathlib, time\n"
        f"count, ends = pathlib.Path({str(count)!r}), pathlib.Path({str(ends)!r})\n"
        "n = len(count.read_text()) if count.exists() else 0\n"
        "count.write_text('x' * (n + 1))\n"
        "time.sleep(0.2 if n > 1 else 0)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AKID{n}', 'SecretAccessKey': 's',\n"
        "    'SessionToken': 't', 'Expiration': json.loads(ends.read_text())[n]}))\n"
    )
    now = datetime.now(UTC)
    times = [now + timedelta(seconds=seconds) for seconds in (700, 700, 5_000)]
    ends.write_text(json.dumps([at.isoformat() for at in times]))
    (home / "config").write_text(
        f"[profile process]\ncredential_process = {sys.executable} {script}\n"
    )

    async def story() -> None:
        source = BotocoreCredentials(region="eu-west-1", profile="process")
        first = await source.current()
        assert first.access_key == "AKID1"  # botocore found the first too near its end
        start = time.monotonic()
        held = [await source.current() for _ in range(20)]
        assert time.monotonic() - start < 0.1
        assert set(held) == {first}
        assert source._fetching is not None
        await source._fetching
        assert (await source.current()).access_key == "AKID2"
        assert count.read_text() == "xxx"

    run(story())


class Sts(BaseHTTPRequestHandler):
    """Answers AssumeRole, as often as it is told to, with credentials numbered from 1."""

    asked: list[tuple[str, dict[str, list[str]]]]
    refuse: bytes | None

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.asked.append((self.headers["Authorization"], form))
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = (
            self.refuse
            or (
                "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
                f"<AccessKeyId>ASIA{len(self.asked)}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
                f"<SessionToken>t</SessionToken><Expiration>{ends}</Expiration>"
                "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
            ).encode()
        )
        self.send_response(403 if self.refuse else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[type[Sts]]:
    class Mine(Sts):
        asked: list[tuple[str, dict[str, list[str]]]] = []  # noqa: RUF012  # the class is ours
        refuse = None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
    write_profile(home, "default", "AKIDOWN")
    yield Mine
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_role_is_assumed(sts: type[Sts]) -> None:
    """A place's role is assumed through the STS of its region, with its external id, once an
    hour; when the service calls the result expired, once more."""

    async def story() -> None:
        source = credential_source(
            region="eu-west-1", profile=None, role_arn=ROLE, external_id="outside"
        )
        first = await asyncio.gather(*(source.current() for _ in range(5)))
        assert set(first) == {Credentials("ASIA1", "s", "t")}
        authorization, form = sts.asked[0]
        assert "AKIDOWN/" in authorization
        assert "/eu-west-1/sts/" in authorization
        assert form["RoleArn"] == [ROLE]
        assert form["ExternalId"] == ["outside"]
        assert form["RoleSessionName"] == ["dynamirror"]
        renewed = await source.renewed(first[0])
        assert renewed is not None
        assert renewed.access_key == "ASIA2"
        assert await source.current() is renewed
        assert len(sts.asked) == 2

    run(story())


def test_a_role_that_may_not_be_assumed(sts: type[Sts]) -> None:
    """A role's refusal is an AccessDeniedError that names the role."""
    sts.refuse = (
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
        b"</ErrorResponse>"
    )

    async def story() -> None:
        source = BotocoreCredentials(region="eu-west-1", role_arn=ROLE)
        with pytest.raises(AccessDeniedError, match=r"role/mirror.*not you"):
            await source.current()
        sts.refuse = None
        assert (await source.current()).access_key == "ASIA2"

    run(story())


def test_an_sts_out_of_reach(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Where credentials can't be had just now, trying again helps."""
    write_profile(home, "default", "AKIDOWN")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    async def story() -> None:
        with pytest.raises(TransientError, match="role/mirror"):
            await BotocoreCredentials(region="eu-west-1", role_arn=ROLE).current()

    run(story())
