"""Two regions of a server with the tables of one mirror, and the command line as its users have it.

Whatever a world started is gone when its context ends, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Context, Decimal
from itertools import count
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config
from tests.servers import ROOT

Wire = dict[str, Any]

PROGRAM = "from dynamirror.cli.main import main; main()"

BOTH_IMAGES = "NEW_AND_OLD_IMAGES"

SOURCE, TARGET = "us-east-1", "eu-west-1"

COMMAND_S_MAX = 120.0
LOG_BYTES_SHOWN = 3_000

_EXACT = Context(prec=1_000)
_numbers = count(time.time_ns() % 1_000_000_000)


class Ended(AssertionError):  # noqa: N818 - tells a state, as StopIteration does
    """A process that should run has ended, or one that should end has not."""


@contextmanager
def replayable(command: str) -> Iterator[None]:
    """Whatever goes wrong within tells the command that runs the storm again."""
    try:
        yield
    except Exception as error:
        error.add_note(f"replay: {command}")
        raise


class Child:
    """A process of ours, its output in a file."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd=ROOT,
            )
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def require_running(self) -> None:
        if self.ended:
            raise Ended(f"ended with {self._process.returncode}:\n{self.said[-LOG_BYTES_SHOWN:]}")

    def end(self, within_s: float = COMMAND_S_MAX) -> int:
        """Wait for its end and return its exit status."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Ended(
                f"still running after {within_s:.0f} s:\n{self.said[-LOG_BYTES_SHOWN:]}"
            ) from None

    def terminate(self) -> int:
        """Send SIGTERM and wait."""
        self._process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self, *, reap: bool = True) -> None:
        """``kill -9``, and not a moment to say goodbye; unreaped it leaves a zombie."""
        self._process.kill()
        if reap:
            self._process.wait()


class Stage:
    """Tables in regions of a server, a configuration, and the processes that work with them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.table = f"Storm{next(_numbers)}"
        self.config = folder / f"{self.table}.toml"
        self._apis: dict[str, Any] = {}
        self._children: list[Child] = []
        self._tables: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        self._set_up()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        left = [child for child in self._children if not child.ended]
        for child in left:
            child.kill()
        for region, tables in self._tables.items():
            for table in tables:
                self.api(region).delete_table(TableName=table)
        for api in self._apis.values():
            api.close()
        if kind is None and left:
            raise Ended(f"{len(left)} processes were left running")

    def api(self, region: str) -> Any:
        """Return a client of one region, past any proxy."""
        if region not in self._apis:
            self._apis[region] = client(self.url, region)
        return self._apis[region]

    def start(self, command: str, *arguments: str) -> Child:
        """Start ``dynamirror COMMAND CONFIG ...``."""
        return self._start(["-c", PROGRAM, command, str(self.config), *arguments], command)

    def command(self, command: str, *arguments: str) -> tuple[int, str]:
        """Run ``dynamirror COMMAND CONFIG ...``; return its exit status and what it said."""
        child = self.start(command, *arguments)
        return child.end(), child.said

    def wait(self, done: Callable[[], bool], within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline:
                raise Ended(f"not so within {within_s:.0f} s")
            time.sleep(0.05)

    def _set_up(self) -> None:
        """Make the tables."""

    def _start(self, arguments: list[str], name: str) -> Child:
        log = self.folder / f"{self.table}-{len(self._children):02d}-{name}.log"
        self._children.append(child := Child(arguments, log))
        return child

    def _make(self, region: str, name: str, keys: dict[str, str], *, stream: bool = False) -> None:
        kinds = zip(keys, ("HASH", "RANGE"), strict=False)
        view = {"StreamEnabled": stream, **({"StreamViewType": BOTH_IMAGES} if stream else {})}
        self.api(region).create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in kinds],
            AttributeDefinitions=[
                {"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=view,
        )
        self._tables.setdefault(region, []).append(name)


def reached(endpoint: str, server: str | None) -> str:
    """Return what a place's table says of where it is, and of the kind of its server."""
    kind = "" if server is None else f', server = "{server}"'
    return f'endpoint_url = "{endpoint}"{kind}'


class World(Stage):
    """A source, a target, and our tables beside them; ``proxy`` is where the mirror finds both."""

    def __init__(
        self,
        url: str,
        folder: Path,
        guard: str,
        *,
        proxy: str | None = None,
        keys: tuple[str, str] = ("S", "S"),
        stream: bool = True,
        options: str = "",
        server: str | None = None,
    ) -> None:
        """``keys``: the types of the key ``id`` at source and target."""
        super().__init__(url, folder)
        self.guard = guard
        self.source, self.target = self.api(SOURCE), self.api(TARGET)
        self._keys = keys
        self._stream = stream
        at = reached(proxy or url, server)
        self.text = f"""\
[mirrors.storm]
mode = "one-way"
guard = "{guard}"
source = {{ region = "{SOURCE}", table = "{self.table}", {at} }}
targets = [{{ region = "{TARGET}", {at} }}]
{options}
"""
        self.config.write_text(self.text)

    def _set_up(self) -> None:
        name = self.table
        self._make(SOURCE, name, {"id": self._keys[0]}, stream=self._stream)
        self._make(SOURCE, f"{name}-dynamirror-checkpoints", {"link": "S", "shard": "S"})
        self._make(SOURCE, f"{name}-dynamirror-parked", {"k": "S", "seq": "S"})
        self._make(TARGET, name, {"id": self._keys[1]})
        self._make(TARGET, f"{name}-dynamirror-ledger", {"k": "S"})

    def writer(self, *, seed: int, keys: int, changes: int, rate: float | None = None) -> Child:
        """Start a process that changes the source's items."""
        options = {"endpoint": self.url, "region": SOURCE, "table": self.table}
        numbers = {"seed": seed, "keys": keys, "changes": changes}
        pairs = {**options, **numbers, **({} if rate is None else {"rate": rate})}
        words = [f"--{name}={value}" for name, value in pairs.items()]
        return self._start(["-m", "tests.storm.writer", *words], "writer")

    def put(self, **attributes: Wire) -> None:
        self.source.put_item(TableName=self.table, Item=attributes)

    def delete(self, **key: Wire) -> None:
        self.source.delete_item(TableName=self.table, Key=key)

    def switch_stream(self, *, on: bool) -> None:
        """Switch the source's stream; each time it is switched on it is another one."""
        view = {"StreamEnabled": on, **({"StreamViewType": BOTH_IMAGES} if on else {})}
        self.source.update_table(TableName=self.table, StreamSpecification=view)

    def remake_target(self, kind: str) -> None:
        """Make the target anew, empty, with a key of another type."""
        self.target.delete_table(TableName=self.table)
        self._tables[TARGET].remove(self.table)
        self._make(TARGET, self.table, {"id": kind})

    def status(self) -> Wire:
        """Return what ``dynamirror status --json`` tells of the mirror."""
        _, said = self.command("status", "--json")
        (status,) = json.loads(said)["mirrors"]
        return dict(status)

    def differences(self) -> list[str]:
        """Compare both tables, by a scan and a comparison that owe nothing to the package."""
        mine, theirs = scanned(self.source, self.table), scanned(self.target, self.table)
        if self.guard == "item":
            for item in theirs.values():
                item.pop("_mirror_seq", None)
        return [
            f"{key}: {_how(mine.get(key), theirs.get(key))}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]


def client(url: str, region: str, service: str = "dynamodb") -> Any:
    """Return a boto3 client of one region."""
    return boto3.client(
        service,
        config=Config(s3={"addressing_style": "path"}),
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def scanned(api: Any, table: str) -> dict[str, Wire]:
    """Return a table's items by their key's text, each value in its one form."""
    items = (item for page in _pages(api, table) for item in page["Items"])
    return {
        repr(_plain(item["id"])): {name: _plain(value) for name, value in item.items()}
        for item in items
    }


def _how(mine: Wire | None, theirs: Wire | None) -> str:
    if mine is None:
        return "extra at the target"
    if theirs is None:
        return "missing at the target"
    names = sorted(
        name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)
    )
    numbers = f"n is {theirs.get('n')}, should be {mine.get('n')}"
    return f"different at the target in {', '.join(names)}: {numbers}"


def _pages(api: Any, table: str) -> Iterator[Wire]:
    yield from api.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)


def _plain(value: Wire) -> object:
    ((kind, body),) = value.items()
    match kind:
        case "N":
            return kind, Decimal(body).normalize(_EXACT)
        case "NS":
            return kind, frozenset(Decimal(one).normalize(_EXACT) for one in body)
        case "SS" | "BS":
            return kind, frozenset(body)
        case "L":
            return kind, [_plain(one) for one in body]
        case "M":
            return kind, {name: _plain(one) for name, one in body.items()}
        case _:
            return kind, body


def _environment() -> dict[str, str]:
    """Nothing of the caller's AWS settings may decide where a child writes."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    test = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return {**kept, **test, "PYTHONUNBUFFERED": "1", "AWS_EC2_METADATA_DISABLED": "true"}
