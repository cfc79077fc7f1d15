"""The page about AWS does what it says, command by command, on a server that plays AWS.

All of its commands are run as they are written, with another account's credentials, endpoint and
program folder in the environment. What differs, all of it: functions are packed for this machine,
on which the server runs them (``BIN``), names that AWS gives are those that the server gave, and a
table of ten items is copied in fewer shares. What the server ends otherwise is in ``OTHERWISE``.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.deploy.emulated import (
    HERE,
    HOST_ARCHITECTURE,
    HOST_PYTHON,
    THERE,
    botocore_alone,
    cloud,
    wait,
)
from tests.docs.test_tutorial import Terminal, terminal
from tests.failed import letter, wire
from tests.servers import ROOT

PAGE = ROOT / "docs" / "aws.md"
MINE, THEIRS = "111122223333", "210987654321"
APART = "## Try it without an AWS account"
"""The one section that is another story, on a server that it starts itself."""

OTHERWISE = {
    "dynamirror check mirrors.toml": 1,  # the server's CloudFormation leaves time to live off
}
"""Commands that end in another way on this server than on AWS, and why."""

_STEP = re.compile(
    r"^<!-- here: (?P<here>.*?) -->$|^```(?P<kind>toml|console)\n(?P<block>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)

PROFILES = f"""\
[profile their-account]
aws_access_key_id = {THEIRS}
aws_secret_access_key = test
"""

BIN = {
    "aws": f'exec {shlex.quote(sys.executable)} -m tests.docs.aws_cli "$@"',
    "dynamirror": f'exec {shlex.quote(sys.executable)} -m dynamirror "$@"'
    f' $([ "$1" = deploy ] && echo --arch {HOST_ARCHITECTURE} --python {HOST_PYTHON})',
}


def commands(block: str) -> list[str]:
    """Return the commands of a block, each with the lines that it goes on in."""
    return [one.strip() for one in re.split(r"^\$ ", block, flags=re.MULTILINE) if one.strip()]


def parts() -> tuple[str, str]:
    """Return the page without the section that stands apart, and that section."""
    before, after = PAGE.read_text(encoding="utf-8").split(APART)
    own, rest = after.split("\n## ", 1)
    return f"{before}\n## {rest}", own


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, at: Terminal, given: Callable[[str], str] = str) -> None:
        self._at = at
        self._given = given
        self.typed: list[str] = []

    def read(self, text: str, here: Mapping[str, Callable[[], None]]) -> None:
        for found in _STEP.finditer(text):
            if found["here"]:
                here[found["here"]]()
            elif found["kind"] == "toml":
                self._write(found["block"])
            else:
                for command in commands(found["block"]):
                    self._type(command)

    def _write(self, block: str) -> None:
        heading, _, _ = block.partition("\n")
        name, _, further = heading.removeprefix("# ").partition(",")
        with (self._at.folder / name).open("a" if further else "w") as file:
            file.write(self._given(block))

    def _type(self, command: str) -> None:
        self.typed.append(command)
        before, background, _ = command.partition(" &")
        if background:
            self._at.leave(before)
            return
        status, said = self._at.type(self._given(command))
        expected = OTHERWISE.get(command.partition("#")[0].strip(), 0)
        assert status == expected, f"{command}\n{said}"


class Town:
    """Tables in regions and accounts."""

    def __init__(self, url: str, mine: str = MINE) -> None:
        self._url = url
        self._mine = mine
        self._number = 0

    def client(self, service: str, region: str = HERE, account: str | None = None) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self._url,
            aws_access_key_id=account or self._mine,
            aws_secret_access_key="test",
        )

    def arrives(self, table: str, there: str, account: str | None = None, here: str = HERE) -> None:
        """Write an item in a region and wait until it is in another one."""
        self._number += 1
        key = {"id": {"S": f"item {self._number}"}}
        self.client("dynamodb", here).put_item(TableName=table, Item=key)
        api = self.client("dynamodb", there, account)
        wait(lambda: "Item" in api.get_item(TableName=table, Key=key))

    def arrive_in_each_region(self) -> None:
        self.arrives("Sessions", THERE)
        self.arrives("Sessions", HERE, here=THERE)

    def make_tables_in_both_accounts(self) -> None:
        for region, account in ((HERE, MINE), (THERE, THEIRS)):
            self.client("dynamodb", region, account).create_table(
                TableName="Stories",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )

    def see_executions_succeed(self) -> None:
        api = self.client("stepfunctions")
        machine = f"arn:aws:states:{HERE}:{MINE}:stateMachine:dynamirror-sessions-us-east-1-shares"

        def ends() -> set[str]:
            told = api.list_executions(stateMachineArn=machine)["executions"]
            return {one["status"] for one in told}

        wait(lambda: "RUNNING" not in ends())
        assert ends() == {"SUCCEEDED"}

    def bucket(self) -> str:
        """Return where a function's failed batches are."""
        (stack,) = self.client("cloudformation").describe_stacks(StackName="dynamirror-mirrors")[
            "Stacks"
        ]
        told = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        return str(told["FailedBatches"])

    def fail_a_batch(self) -> None:
        """Have Lambda put a batch into the bucket: the server doesn't."""
        table = self.client("dynamodb").describe_table(TableName="Sessions")["Table"]
        item = {"version": {"N": "1"}}
        body = letter([wire("item 1", 1, new=item)], table["LatestStreamArn"])
        self.client("s3").put_object(Bucket=self.bucket(), Key="aws/lambda/1", Body=body)

    def see_only_tables(self) -> None:
        for region in (HERE, THERE):
            stacks = self.client("cloudformation", region).describe_stacks()["Stacks"]
            assert [one["StackName"] for one in stacks if "mirrors" in one["StackName"]] == []
            assert "Sessions" in self.client("dynamodb", region).list_tables()["TableNames"]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal whose programs are those of the page."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in BIN.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    with terminal(tmp_path) as made:
        made.type(f"export PATH={folder}:{made.path} PYTHONPATH={ROOT / 'src'}:{ROOT}")
        yield made


def test_the_page_is_true_from_nothing_to_a_mirror_and_back(at: Terminal, tmp_path: Path) -> None:
    """Two regions, two ways; shares; another account; a route; a redrive; and all taken away."""
    (tmp_path / "aws").write_text(PROFILES)
    runtime = botocore_alone(tmp_path / "runtime")
    with cloud(tmp_path, {"PYTHONPATH": runtime, "SFN_WAIT_SCALE": "0"}) as aws:
        town = Town(aws.url)
        at.type(f"export AWS_ENDPOINT_URL={aws.url} AWS_CONFIG_FILE={tmp_path / 'aws'}")
        at.type(f"export AWS_ACCESS_KEY_ID={MINE} AWS_SECRET_ACCESS_KEY=test")
        made = town.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")
        zone = made["HostedZone"]["Id"].rpartition("/")[2]

        def given(text: str) -> str:
            text = text.replace("Z0123456789ABC", zone).replace('"shares": 200', '"shares": 4')
            return text.replace("BUCKET", town.bucket()) if "BUCKET" in text else text

        reader = Reader(at, given)
        reader.read(
            parts()[0],
            {
                "a change arrives in each region": town.arrive_in_each_region,
                "the execution succeeds": town.see_executions_succeed,
                "the table is in both accounts": town.make_tables_in_both_accounts,
                "a change arrives in the other account": lambda: town.arrives(
                    "Stories", THERE, THEIRS
                ),
                "a batch failed": town.fail_a_batch,
                "only the tables are left": town.see_only_tables,
            },
        )

    for command in ("check", "deploy", "verify", "route", "redrive", "destroy", "package"):
        assert any(one.startswith(f"dynamirror {command}") for one in reader.typed)


def test_it_can_be_tried_without_an_account(at: Terminal) -> None:
    """From a clone after `make demo`, with the server that the page starts."""
    main, apart = parts()
    config = next(block for block in re.findall(r"```toml\n(.*?)```", main, re.DOTALL))
    (at.folder / "mirrors.toml").write_text(config)
    town = Town(f"http://127.0.0.1:{at.port}", "test")

    Reader(at).read(apart, {"a change arrives in each region": town.arrive_in_each_region})


def test_all_is_read() -> None:
    """No command of the page is left out; each place where somebody acts is known."""
    main, apart = parts()
    typed = [one for part in (main, apart) for one in _STEP.findall(part) if one[1] == "console"]

    assert len(typed) == PAGE.read_text(encoding="utf-8").count("```console")
