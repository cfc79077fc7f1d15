"""The examples of whole programs run, and do what they say; the others: tests/writer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.docs.runbook import COMMAND_S_MAX
from tests.servers import ROOT, server_python
from tests.storm.world import BOTH_IMAGES

from dynamirror.config.load import load
from dynamirror.demo.server import EmbeddedServer

EXAMPLES = ROOT / "examples"
LINES_MAX = 100

OLD, NEW = "111111111111", "222222222222"

PROFILES = f"""\
[profile new]
aws_access_key_id = {NEW}
aws_secret_access_key = test

[profile scylla]
aws_access_key_id = {NEW}
aws_secret_access_key = test
"""

DELIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from powertools_lambda import handler

class Context:
    function_name = "mirror"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:111111111111:function:mirror"
    aws_request_id = "1"
    def get_remaining_time_in_millis(self):
        return 60_000

print("answer", json.dumps(handler(json.loads(sys.argv[2]), Context())))
"""


class Machine:
    """A folder, an environment that leads to a server, and tables there."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        (folder / "config").write_text(PROFILES, encoding="utf-8")
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "AWS_ACCESS_KEY_ID": OLD,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": str(folder / "config"),
            "AWS_ENDPOINT_URL": url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._apis: list[Any] = []

    def run(self, *words: str | Path) -> str:
        """Run a program to its end, which must be a good one, and return what it printed."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def api(self, region: str, account: str = OLD, url: str | None = None) -> Any:
        api = boto3.client(
            "dynamodb",
            region_name=region,
            endpoint_url=url or self.url,
            aws_access_key_id=account,
            aws_secret_access_key="test",
        )
        self._apis.append(api)
        return api

    def make(self, api: Any, table: str, items: int = 0) -> str:
        """Make a table with a stream and items; its stream's ARN."""
        made = api.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": BOTH_IMAGES},
        )
        for number in range(items):
            api.put_item(TableName=table, Item={"id": {"S": f"item {number}"}})
        return str(made["TableDescription"]["LatestStreamArn"])

    def close(self) -> None:
        for api in self._apis:
            api.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with EmbeddedServer(server_python()) as server:
        made = Machine(server.url, tmp_path)
        try:
            yield made
        finally:
            made.close()


def names(api: Any, table: str) -> list[str]:
    return sorted(item["id"]["S"] for item in api.scan(TableName=table)["Items"])


def delivered(arn: str, name: str) -> str:
    """Return an event of one new item."""
    change = {
        "Keys": {"id": {"S": name}},
        "NewImage": {"id": {"S": name}},
        "SequenceNumber": "100000000000000000001",
        "SizeBytes": 10,
        "StreamViewType": BOTH_IMAGES,
        "ApproximateCreationDateTime": 1_800_000_000,
    }
    record = {
        "eventID": "1",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "eventSourceARN": arn,
        "dynamodb": change,
    }
    return json.dumps({"Records": [record]})


def test_powertools(machine: Machine) -> None:
    """The wrapped function mirrors, hands back what ours does, and logs neither keys nor items."""
    arn = machine.make(machine.api("us-east-1"), "Stories")
    target = machine.api("eu-west-1")
    machine.make(target, "Stories")
    machine.environment |= {
        "DYNAMIRROR_CONFIG": '[mirrors.stories]\nmode = "one-way"\n'
        'source = { region = "us-east-1", table = "Stories" }\n'
        'targets = [{ region = "eu-west-1" }]\n',
        "POWERTOOLS_SERVICE_NAME": "mirror",
        "POWERTOOLS_METRICS_NAMESPACE": "mirror",
    }

    said = machine.run(
        sys.executable, "-W", "error", "-c", DELIVER, EXAMPLES, delivered(arn, "secret")
    )

    assert names(target, "Stories") == ["secret"]
    *lines, answer = said.splitlines()
    assert answer == 'answer {"batchItemFailures": []}'
    assert "secret" not in "".join(lines)
    told = [json.loads(line) for line in lines]
    assert {"message": "mirrored", "records": 1, "comes_again_from": []}.items() <= told[0].items()
    assert any(line.get("Delivered") == [1.0] and line["HandedBack"] == [0.0] for line in told)


def test_fastapi(machine: Machine) -> None:
    """Who logs in in one region is known in the other, and logged out of both."""
    machine.make(machine.api("us-east-1"), "Logins")

    said = machine.run(sys.executable, "-W", "error", EXAMPLES / "fastapi_sessions.py", "Logins")

    assert said.splitlines() == [
        "{'user': 'ada', 'served_by': 'eu-west-1'}",
        "logged out everywhere: True",
    ]


def test_migration(machine: Machine) -> None:
    """The script ends with both accounts the same, and lets the mirror run until Ctrl-C."""
    old = machine.api("us-east-1")
    machine.make(old, "Stories", items=30)
    script = subprocess.Popen(
        [EXAMPLES / "migrate_account.sh", "Stories", "new"],
        cwd=machine.folder,
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert script.stdout is not None
    said = ""
    for line in script.stdout:
        said += line
        if "now cut over" in line:
            break
    os.killpg(script.pid, signal.SIGINT)
    script.communicate(timeout=COMMAND_S_MAX)

    assert "migrate: equal, 30 items compared" in said, said
    assert names(machine.api("us-east-1", NEW), "Stories") == names(old, "Stories")


def test_alternator(machine: Machine) -> None:
    """The profile does what its head says, between two servers with credentials of their own.

    The second is no Alternator: what is shown is the configuration, not Scylla's own habits.
    """
    source = machine.api("us-east-1")
    machine.make(source, "Stories", items=30)
    with EmbeddedServer(server_python()) as other:
        text = (EXAMPLES / "alternator.toml").read_text(encoding="utf-8")
        assert load(text).mirrors
        config = machine.folder / "alternator.toml"
        config.write_text(text.replace("http://alternator:8000", other.url), encoding="utf-8")
        for words in re.findall(r"^#   dynamirror (.*)$", text, re.MULTILINE):
            once = ["--once"] if words.startswith("run") else []
            machine.run("dynamirror", *words.split(), *once)
        target = machine.api("scylla", NEW, other.url)

        assert names(target, "Stories") == names(source, "Stories")


def test_an_example_is_short() -> None:
    """They are read, not used."""
    sizes = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.iterdir()}

    assert {name for name, lines in sizes.items() if lines > LINES_MAX} == set()


def test_every_example_is_in_the_manual() -> None:
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")

    assert [
        path.name for path in EXAMPLES.iterdir() if f"(../examples/{path.name})" not in page
    ] == []
