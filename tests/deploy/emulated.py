"""AWS on this machine: the embedded server with Lambda, CloudFormation, IAM, S3 and STS.

Where it differs from AWS: it takes any Python for a function's runtime and runs them all with the
``python3`` of its own path, ignores what is unlike a plain stream in event source mappings
(partial responses, bisecting, destinations), calls every mapping of a stack enabled, and leaves a
table's time to live off. Nothing of a template is taken out for it but one call of a state machine.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from click.testing import CliRunner, Result
from tests.servers import server_python

from dynamirror.cli.main import cli
from dynamirror.core.values import Wire
from dynamirror.demo.server import EmbeddedServer

HOST_PYTHON = ".".join(platform.python_version_tuple()[:2])
HOST_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())

HERE, THERE = "us-east-1", "eu-west-1"

ROOT_KEY = ("test", "test")
WAIT_S_MAX = 60.0
BOTH_IMAGES = "NEW_AND_OLD_IMAGES"


@dataclass(frozen=True, slots=True)
class Cloud:
    """The server, as whoever deploys and applications have it."""

    url: str
    folder: Path

    def client(self, service: str, region: str = HERE, key: str = "test") -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key="test",
        )

    def profile(self, account: str) -> None:
        """Give whoever deploys a profile of another account, called like it."""
        (self.folder / "aws").write_text(
            f"[profile {account}]\naws_access_key_id = {account}\naws_secret_access_key = test\n"
        )

    def config(self, text: str, name: str = "mirrors") -> str:
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return str(path)

    def run(self, *arguments: str, key: tuple[str, str] = ROOT_KEY) -> Result:
        """Run the command line as a user would, and return what it said."""
        environment = {
            "AWS_ACCESS_KEY_ID": key[0],
            "AWS_SECRET_ACCESS_KEY": key[1],
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": str(self.folder / "aws"),
        }
        return CliRunner().invoke(cli, list(arguments), env=environment)

    def deploy(self, config: str, *more: str, key: tuple[str, str] = ROOT_KEY) -> Result:
        """Deploy for this machine's processor and Python, which the server runs functions with."""
        target = ("--arch", HOST_ARCHITECTURE, "--python", HOST_PYTHON)
        return self.run("deploy", config, *target, *more, key=key)

    def limited_key(self, denied: list[str]) -> tuple[str, str]:
        """Return the key of a user who may do everything but these actions."""
        iam = self.client("iam")
        iam.create_user(UserName="limited")
        statements = [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": denied, "Resource": "*"},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName="limited", PolicyName="limits", PolicyDocument=policy)
        key = iam.create_access_key(UserName="limited")["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def create_table(
        self, region: str, name: str, view_type: str | None = None, key: str = "test"
    ) -> None:
        stream: Wire = {"StreamEnabled": True, "StreamViewType": view_type}
        self.client("dynamodb", region, key).create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            **({"StreamSpecification": stream} if view_type else {}),
        )

    def put(self, region: str, table: str, key: str, **numbers: int) -> None:
        values = {name: {"N": str(number)} for name, number in numbers.items()}
        self.client("dynamodb", region).put_item(TableName=table, Item={"id": {"S": key}, **values})

    def keys(self, region: str, table: str) -> list[str]:
        items = self.client("dynamodb", region).scan(TableName=table)["Items"]
        return sorted(item["id"]["S"] for item in items)

    def tables(self, region: str) -> list[str]:
        names: list[str] = self.client("dynamodb", region).list_tables()["TableNames"]
        return names

    def stacks(self, region: str, key: str = "test") -> list[str]:
        told = self.client("cloudformation", region, key).describe_stacks()["Stacks"]
        return [stack["StackName"] for stack in told]

    def in_shares(self, do: str, shares: int) -> tuple[str, str]:
        """Start the state machine of the mirror stories; return how it ended, and what it said."""
        api = self.client("stepfunctions")
        machine = f"arn:aws:states:{HERE}:000000000000:stateMachine:dynamirror-stories-shares"
        given = json.dumps({"do": do, "shares": shares})
        made = api.start_execution(stateMachineArn=machine, input=given)

        def told() -> Wire:
            answer: Wire = api.describe_execution(executionArn=made["executionArn"])
            return answer

        wait(lambda: told()["status"] != "RUNNING")
        end = told()
        said = end.get("output") or f"{end.get('error')}: {end.get('cause')}"
        return end["status"], said

    def leftovers(self) -> Mapping[str, list[str]]:
        """Return what there is besides tables."""
        roles = self.client("iam").list_roles()["Roles"]
        found = {
            "buckets": [each["Name"] for each in self.client("s3").list_buckets()["Buckets"]],
            "roles": [each["RoleName"] for each in roles],
        }
        for region in (HERE, THERE):
            functions = self.client("lambda", region).list_functions()["Functions"]
            groups = self.client("logs", region).describe_log_groups()["logGroups"]
            alarms = self.client("cloudwatch", region).describe_alarms()["MetricAlarms"]
            found |= {
                f"{region} stacks": self.stacks(region),
                f"{region} functions": [each["FunctionName"] for each in functions],
                f"{region} logs": [each["logGroupName"] for each in groups],
                f"{region} alarms": [each["AlarmName"] for each in alarms],
            }
        return {what: names for what, names in found.items() if names}


def wait(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {WAIT_S_MAX:.0f} s: {done}")
        time.sleep(0.1)


def botocore_alone(folder: Path) -> str:
    """Return a path with botocore and what it needs, which Lambda's runtime has of its own."""
    packages = server_python().parent.parent / "lib" / f"python{HOST_PYTHON}" / "site-packages"
    folder.mkdir()
    for name in ("botocore", "dateutil", "jmespath", "six.py", "urllib3"):
        (folder / name).symlink_to(packages / name)
    return str(folder)


@contextmanager
def cloud(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Cloud]:
    """Run one, whose functions have a bare interpreter: nothing on its path but the zip."""
    path = f"{sys.base_prefix}/bin:{os.environ['PATH']}"
    with EmbeddedServer(server_python(), {"PATH": path, **(settings or {})}) as server:
        yield Cloud(server.url, folder)
