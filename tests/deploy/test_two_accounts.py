"""A function that writes in another account, with what its stacks grant and no more, enforced.

The server checks what either role may do, whom the other account's role trusts and the external
id. Of a role that somebody assumed it takes ``aws:PrincipalArn`` to be the session, where AWS takes
the role (IAM User Guide, 'AWS global condition context keys'): here the trust names that session.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher
from botocore.exceptions import ClientError
from tests.deploy.emulated import BOTH_IMAGES, wait
from tests.deploy.test_permissions import READING, policy, resolved
from tests.deploy.test_templates import stacks
from tests.servers import server_python

from dynamirror.core.values import Wire
from dynamirror.demo.server import EmbeddedServer
from dynamirror.deploy import roles
from dynamirror.deploy.stacks import Stack
from dynamirror.engine.tables.needs import tables_of_ours
from dynamirror.engine.tables.schema import of_ours
from dynamirror.runtimes.aws_lambda import Function

MINE, THEIRS = "111122223333", "210987654321"
HERE, THERE = "us-east-1", "eu-west-1"
STREAM = f"arn:aws:dynamodb:{HERE}:{MINE}:table/Stories/stream/2026-01-01T00:00:00.000"

CONFIG = f"""
[mirrors.stories]
mode = "one-way"
guard = "ledger"
source = {{ region = "{HERE}", table = "Stories" }}

[[mirrors.stories.targets]]
region = "{THERE}"
account = "{THEIRS}"
role_arn = "arn:aws:iam::{THEIRS}:role/mirror-writer"
external_id = "stories-2026"
"""


class Accounts:
    """Both, with the tables and roles that the stacks of a configuration make."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._number = 0
        self.mine, self.theirs = self._stacks()
        (self.consumer,) = self.mine.consumers
        (self.writer,) = self.theirs.writers
        for account, region in ((MINE, HERE), (THEIRS, THERE)):
            self.client("dynamodb", account, region).create_table(
                TableName="Stories",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": BOTH_IMAGES},
            )
        for ours in tables_of_ours(self.consumer.mirror):
            account = THEIRS if ours.place.region == THERE else MINE
            name = ours.place.table.rpartition("/")[2]
            self.client("dynamodb", account, ours.place.region).create_table(
                TableName=name, **of_ours(ours.keys)
            )
        made = roles.role(self.consumer, self.mine)["Properties"]
        self.own = self._statements(made, HERE, MINE)
        self._make(MINE, self.consumer.role, trusting(f"arn:aws:iam::{MINE}:root"))
        self.grant(MINE, self.own)
        made = roles.writer(self.writer, self.theirs)["Properties"]
        self.granted = self._statements(made, THERE, THEIRS)
        trust = json.dumps(resolved(made["AssumeRolePolicyDocument"], THERE))
        role = f"arn:aws:iam::{MINE}:role/{self.consumer.role}"
        session = f"arn:aws:sts::{MINE}:assumed-role/{self.consumer.role}/function"
        assert role in trust
        self._make(THEIRS, self.writer.name, trust.replace(role, session))
        self.grant(THEIRS, self.granted)

    @staticmethod
    def _stacks() -> tuple[Stack, Stack]:
        mine, theirs = stacks(CONFIG, name="dynamirror", home=MINE)
        return mine, theirs

    @staticmethod
    def _statements(made: Any, region: str, account: str) -> list[Wire]:
        (one,) = made["Policies"]
        told = json.dumps(resolved(one["PolicyDocument"]["Statement"], region, account))
        found: list[Wire] = json.loads(told)
        return [each for each in found if each.get("Sid", "").strip() and _is_ours(each)]

    def _make(self, account: str, role: str, trust: str) -> None:
        self.client("iam", account).create_role(RoleName=role, AssumeRolePolicyDocument=trust)

    def grant(self, account: str, statements: list[Wire]) -> None:
        """Have an account's role be allowed this, and no more."""
        role = self.consumer.role if account == MINE else self.writer.name
        stream = {"Sid": "Stream", "Effect": "Allow", "Action": READING, "Resource": "*"}
        self.client("iam", account).put_role_policy(
            RoleName=role, PolicyName="mirror", PolicyDocument=policy([*statements, stream])
        )

    def client(
        self,
        service: str,
        account: str,
        region: str = HERE,
        *,
        key: Wire | None = None,
        config: Config | None = None,
    ) -> Any:
        held = key or {"AccessKeyId": account, "SecretAccessKey": "test", "SessionToken": None}
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=held["AccessKeyId"],
            aws_secret_access_key=held["SecretAccessKey"],
            aws_session_token=held["SessionToken"],
            config=config,
        )

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the function: its role's credentials are the environment's."""
        arn = f"arn:aws:iam::{MINE}:role/{self.consumer.role}"
        sts = self.client("sts", MINE)
        got = sts.assume_role(RoleArn=arn, RoleSessionName="function")["Credentials"]
        for name, value in (
            ("AWS_ACCESS_KEY_ID", got["AccessKeyId"]),
            ("AWS_SECRET_ACCESS_KEY", got["SecretAccessKey"]),
            ("AWS_SESSION_TOKEN", got["SessionToken"]),
            ("AWS_ENDPOINT_URL", self.url),
        ):
            monkeypatch.setenv(name, value)

    def function(self, config: str | None = None) -> Function:
        return Function(config or self.consumer.config)

    def deliver(self, function: Function, key: str, *, gone: bool = False) -> Wire:
        """Have the function apply a change, and return its answer."""
        self._number += 1
        keys = {"id": {"S": key}}
        record = {
            "eventName": "REMOVE" if gone else "INSERT",
            "eventSourceARN": STREAM,
            "dynamodb": {
                "Keys": keys,
                "OldImage" if gone else "NewImage": keys,
                "SequenceNumber": str(10**20 + self._number),
                "ApproximateCreationDateTime": int(datetime.now(UTC).timestamp()),
            },
        }
        answer: Wire = function.invoke({"Records": [record]}, lambda: 20_000)
        return answer

    @property
    def there(self) -> list[str]:
        found = self.client("dynamodb", THEIRS, THERE).scan(TableName="Stories")["Items"]
        return sorted(item["id"]["S"] for item in found)


def trusting(principal: str) -> str:
    return policy(
        [{"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}]
    )


def _is_ours(statement: Wire) -> bool:
    """Whether it is about tables or roles; the rest is Lambda's own, of other resources."""
    resources = statement["Resource"]
    every = resources if isinstance(resources, list) else [resources]
    return all(any(one in str(each) for one in (":table/", ":role/")) for each in every)


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounts]:
    with EmbeddedServer(server_python(), {"AUTH": "true"}) as server:
        made = Accounts(server.url)
        made.enter(monkeypatch)
        yield made


DONE: Wire = {"batchItemFailures": []}


def test_what_both_stacks_grant_is_enough(accounts: Accounts) -> None:
    """A put and a delete arrive by the role of the other account, ledger and all."""
    function = accounts.function()
    for key in ("a", "b"):
        assert accounts.deliver(function, key) == DONE
    assert accounts.deliver(function, "a", gone=True) == DONE
    function.close()

    assert accounts.there == ["b"]


@pytest.mark.parametrize("side", [MINE, THEIRS])
def test_less_on_either_side_is_refused_and_named(
    side: str, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    """Each statement on the way to the other account is needed: without it nothing arrives, and
    the log says what is missing, and what to do.
    """
    told = accounts.own if side == MINE else accounts.granted
    needed = [one for one in told if side == THEIRS or one["Sid"] == "WriteInOtherAccounts"]
    assert needed

    for missing in needed:
        accounts.grant(side, [one for one in told if one is not missing])
        caplog.clear()
        function = accounts.function()
        with caplog.at_level(logging.ERROR):
            answer = accounts.deliver(function, "a")
        function.close()
        assert answer != DONE, missing["Sid"]
        assert "not authorized" in caplog.text
        actions = missing["Action"]
        assert any(one in caplog.text for one in ([actions] if side == MINE else actions))
        assert "Grant the action named above" in caplog.text
    assert accounts.there == []


def test_nobody_gets_in_without_the_external_id(
    accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does whoever has the right one, but is another."""
    guessed = accounts.function(accounts.consumer.config.replace("stories-2026", "guessed"))
    assert accounts.deliver(guessed, "a") != DONE
    guessed.close()
    assert "sts:AssumeRole" in caplog.text
    with pytest.raises(ClientError, match="AssumeRole"):
        accounts.client("sts", MINE).assume_role(
            RoleArn=accounts.writer.role_arn, RoleSessionName="intruder", ExternalId="stories-2026"
        )

    assert accounts.there == []


@pytest.mark.parametrize("told_s", [1, 3_600], ids=["told truly", "refused sooner than told"])
def test_a_role_whose_session_ends_is_assumed_again(
    told_s: int, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions end after a second: whether that was told or is only found out, nothing fails."""
    sessions: list[Wire] = []

    def short(fetcher: Any) -> Any:
        own = fetcher._source_credentials.get_frozen_credentials()
        key = {"AccessKeyId": own.access_key, "SecretAccessKey": own.secret_key}
        # AWS takes no less than 900 seconds, and botocore knows.
        unchecked = Config(parameter_validation=False)
        sts = accounts.client("sts", MINE, key={**key, "SessionToken": own.token}, config=unchecked)
        answer = sts.assume_role(**fetcher._assume_role_kwargs(), DurationSeconds=1)
        sessions.append(dict(answer["Credentials"]))
        answer["Credentials"]["Expiration"] = datetime.now(UTC) + timedelta(seconds=told_s)
        return answer

    monkeypatch.setattr(AssumeRoleCredentialFetcher, "_get_credentials", short)
    function = accounts.function()
    keys = [f"k{number}" for number in range(4)]

    for key in keys:
        assert accounts.deliver(function, key) == DONE
        wait(lambda: has_ended(accounts, sessions[-1]))
    function.close()

    assert accounts.there == keys
    assert len(sessions) >= len(keys)


def has_ended(accounts: Accounts, session: Wire) -> bool:
    api = accounts.client("dynamodb", THEIRS, THERE, key=session)
    try:
        api.put_item(TableName="Stories", Item={"id": {"N": "1"}})
    except ClientError as error:
        return "Expired" in error.response["Error"]["Code"]
    return False
