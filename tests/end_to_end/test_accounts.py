"""Two accounts on a server that enforces IAM: the source's own, and a role in the target's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from tests.servers import server_python

from dynamirror.cli.main import cli
from dynamirror.demo.server import EmbeddedServer
from dynamirror.errors import Exit

MINE, THEIRS = "111111111111", "222222222222"
ROLE = f"arn:aws:iam::{THEIRS}:role/mirror-writer"
REGION = "us-east-1"

CONFIG = f"""
[mirrors.stories]
mode = "one-way"
source = {{ region = "{REGION}", table = "Stories" }}

[[mirrors.stories.targets]]
region = "{REGION}"
name = "archive"
account = "{THEIRS}"
role_arn = "{ROLE}"
external_id = "EXTERNAL"
"""

NEEDED = ["DescribeTable", "DescribeTimeToLive", "PutItem", "DeleteItem", "BatchWriteItem", "Scan"]
FURTHER = ["BatchGetItem", "DescribeContinuousBackups", "ListTagsOfResource"]


class Accounts:
    """Both accounts; the role of theirs trusts mine, with an external id."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.path = folder / "mirror.toml"
        self.say("orders-2026")
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{MINE}:root"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "orders-2026"}},
        }
        self.client("iam", THEIRS).create_role(
            RoleName="mirror-writer", AssumeRolePolicyDocument=json.dumps(document(trust))
        )
        for account in (MINE, THEIRS):
            self.client("dynamodb", account).create_table(
                TableName="Stories",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )

    def client(self, service: str, account: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=account,
            aws_secret_access_key="test",
        )

    def say(self, external_id: str) -> None:
        self.path.write_text(CONFIG.replace("EXTERNAL", external_id))

    def allow(self, actions: list[str]) -> None:
        """Let the role do this to the one table, and nothing else."""
        statement = {
            "Effect": "Allow",
            "Action": [f"dynamodb:{action}" for action in actions],
            "Resource": f"arn:aws:dynamodb:{REGION}:{THEIRS}:table/Stories",
        }
        self.client("iam", THEIRS).put_role_policy(
            RoleName="mirror-writer",
            PolicyName="write",
            PolicyDocument=json.dumps(document(statement)),
        )

    def command(self, *words: str) -> tuple[int, str]:
        command, *options = words
        done = CliRunner().invoke(cli, [command, str(self.path), *options])
        return done.exit_code, done.output

    def items(self, account: str) -> list[Any]:
        found: list[Any] = self.client("dynamodb", account).scan(TableName="Stories")["Items"]
        return sorted(found, key=lambda item: str(item["id"]))


def document(statement: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounts]:
    with EmbeddedServer(server_python(), {"AUTH": "true"}) as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", MINE)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield Accounts(server.url, tmp_path)


def test_a_mirror_into_another_account(accounts: Accounts) -> None:
    """By a role that may write the one table and no more; a bare name never hits one's own. What
    the role may not is named, by ``check`` and by a run, and a wrong external id opens nothing.
    """
    accounts.allow([action for action in NEEDED + FURTHER if action != "BatchWriteItem"])
    status, said = accounts.command("init", "--yes")
    assert status == Exit.DONE, said
    for number in range(30):
        item = {"id": {"S": f"{number:02d}"}, "v": {"N": str(number)}}
        accounts.client("dynamodb", MINE).put_item(TableName="Stories", Item=item)

    status, said = accounts.command("run", "--once")
    assert status == Exit.UNUSABLE, said
    assert "BatchWriteItem" in said
    assert accounts.items(THEIRS) == []

    accounts.allow(NEEDED + FURTHER)
    status, said = accounts.command("run", "--once")
    assert status == Exit.DONE, said
    assert accounts.items(THEIRS) == accounts.items(MINE)
    status, said = accounts.command("verify")
    assert status == Exit.DONE, said

    accounts.allow([action for action in NEEDED + FURTHER if action != "PutItem"])
    status, said = accounts.command("check")
    assert status == Exit.UNUSABLE, said
    assert "PutItem" in said

    accounts.say("guessed")
    status, said = accounts.command("check")
    assert status == Exit.UNUSABLE, said
    assert "AssumeRole" in said
