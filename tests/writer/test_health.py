"""A health check says whether the region's data path works, in time, whatever hangs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from tests.servers import Server
from tests.writer.store import arguments

from dynamirror import health, lag_from, versioned
from dynamirror.writer.health import AT_ONCE, KEEP_S, Health
from dynamirror.writer.saving import now_ms

KEY = {"id": "health"}


def table(server: Server, name: str) -> Any:
    return boto3.resource("dynamodb", **arguments(server)).Table(name)


def looked(check: Health) -> tuple[int, dict[str, Any]]:
    status, body = check.look()
    return status, json.loads(body)


def test_a_table_that_answers_is_well(server: Server, table_name: str) -> None:
    """The key need not be there; nothing is written."""
    status, told = looked(health(table(server, table_name), KEY))

    assert status == 200
    assert told["status"] == "ok"
    assert told["region"] == server.regions[0]
    assert told["read_ms"] > 0
    assert "write_ms" not in told
    assert table(server, table_name).scan()["Items"] == []


def test_the_write_is_a_row_that_no_mirror_has(server: Server, plain: Any, table_name: str) -> None:
    """And it goes by itself: it has the expiry attribute of every table of ours. A versioned Table
    gives it no version.
    """
    name = f"{table_name}-dynamirror-checkpoints"
    plain.create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": "link", "KeyType": "HASH"},
            {"AttributeName": "shard", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": "S"} for key in ("link", "shard")
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    wrapped = versioned(table(server, table_name))

    status, told = looked(health(wrapped, KEY, checkpoint_table=name))

    assert (status, told["status"]) == (200, "ok")
    (row,) = table(server, name).scan()["Items"]
    assert row.keys() == {"link", "shard", "at_ms", "expires_at", "format"}
    assert row["expires_at"] > time.time()
    plain.put_item(
        TableName=name,
        Item={
            "link": {"S": "sessions/us-east-1"},
            "shard": {"S": "#lease"},
            "report": {"S": json.dumps({"lag_ms": 1_500, "at_ms": now_ms() - 60_000})},
        },
    )
    lag = lag_from(table(server, name), "sessions/us-east-1")
    assert 61.5 <= looked(health(wrapped, KEY, lag=lag))[1]["lag_seconds"] < 90
    assert lag_from(table(server, name), "sessions/nobody")() is None
    plain.delete_table(TableName=name)
    assert looked(health(wrapped, KEY, lag=lag))[1]["lag_seconds"] is None
    status, told = looked(health(wrapped, KEY, checkpoint_table=name))
    assert (status, told["error"]) == (503, "ResourceNotFoundException")


def test_a_table_that_is_gone_is_ill_and_nothing_else_is_told(server: Server) -> None:
    """The answer is anybody's: no names, no messages."""
    status, told = looked(health(table(server, "not-there"), {"id": "s3cret"}))

    assert status == 503
    assert told["error"] == "ResourceNotFoundException"
    assert "s3cret" not in json.dumps(told)
    assert "not-there" not in json.dumps(told)


class Hanging:
    """A Table that answers when it is told to."""

    name = "Sessions"
    meta = SimpleNamespace(client=SimpleNamespace(meta=SimpleNamespace(region_name="us-east-1")))

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def get_item(self, **_: Any) -> dict[str, Any]:
        self.asked += 1
        self.go.wait()
        return {}


def test_what_hangs_is_ill_in_time_and_hangs_few_threads() -> None:
    """Where looks hang already, another isn't begun; when they end, it is well again."""
    hanging, now = Hanging(), [0.0]
    check = Health(hanging, KEY, timeout_s=0.01, clock=lambda: now[0])
    errors = []
    for _ in range(AT_ONCE + 2):
        errors.append(looked(check)[1]["error"])
        now[0] += KEEP_S

    assert errors == ["Timeout"] * AT_ONCE + ["Hanging"] * 2
    assert hanging.asked == AT_ONCE
    hanging.go.set()
    deadline = time.monotonic() + 10
    while looked(check)[0] != 200:
        assert time.monotonic() < deadline
        now[0] += KEEP_S


def test_one_answer_serves_all_who_ask_at_once() -> None:
    """Whoever asks often costs the table nothing."""
    quick, now = Hanging(), [0.0]
    quick.go.set()
    check = Health(quick, KEY, clock=lambda: now[0])
    for _ in range(100):
        check.look()
    assert quick.asked == 1
    now[0] += KEEP_S
    check.look()
    assert quick.asked == 2


def test_it_is_mounted_as_wsgi_and_as_asgi() -> None:
    quick = Hanging()
    quick.go.set()
    check = Health(quick, KEY)
    started: list[Any] = []
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    (body,) = check({}, lambda *told: started.append(told))
    asyncio.run(check.asgi({"type": "http"}, receive, send))

    assert started[0][0] == "200 OK"
    assert ("content-length", str(len(body))) in started[0][1]
    assert [one["type"] for one in sent] == ["http.response.start", "http.response.body"]
    assert (sent[0]["status"], sent[1]["body"]) == (200, body)
    with pytest.raises(ValueError, match="answers http, not websocket"):
        asyncio.run(check.asgi({"type": "websocket"}, receive, send))


def test_what_is_no_table_is_told() -> None:
    with pytest.raises(TypeError, match="takes a boto3 Table, not str"):
        health("Sessions", KEY)
