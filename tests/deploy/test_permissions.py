"""A function's role may do what the engine does, and no more.

Both are shown at once: the functions run with their roles' own credentials on a server that
enforces IAM, so that an action too few is refused; and what they send is written down, so that an
action too many is seen.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import boto3
import pytest
from tests.deploy.test_templates import stacks
from tests.servers import server_python
from tests.storm.mapping import Stream

from dynamirror.aws.client import connect
from dynamirror.config.load import load
from dynamirror.config.model import Mirror, Place, Side, Transport
from dynamirror.core.values import Wire, decode
from dynamirror.demo.server import EmbeddedServer
from dynamirror.deploy import roles
from dynamirror.deploy.grants import POLICY_VERSION, Grant, comparing, copying, grants
from dynamirror.deploy.stacks import Consumer, Stack
from dynamirror.engine.comparing.compared import Scope
from dynamirror.engine.tables.needs import tables_of_ours
from dynamirror.engine.tables.schema import of_ours
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.aws_lambda import Function
from dynamirror.runtimes.process import backfill_of, verifier_of
from dynamirror.wiring import Wiring

ACCOUNT = "000000000000"
HERE, THERE = "us-east-1", "eu-west-1"
ROUNDS_MAX, WRITES = 150, 12
"""Some conflicts are rare: a role has so much time to show that it needs what it may."""

INTERRUPTED = 0.2
"""So often something happens between two requests of a function."""

OF_LAMBDA = {
    *("ReadTheStream", "FindTheStream", "WriteTheLog"),
    *("KeepFailedBatches", "FindTheBucketForThem"),
}
"""What Lambda itself does as the role: no code of ours does, so none can show it."""

OF_ABSENCE = ("ParkWhatATargetLacks", "BringItToTheTarget", "OneAtATime")
"""What is asked for only while a target is away, or when it is back: here all are there."""

ONE_WAY = """
[mirrors.stories]
mode = "one-way"
guard = "{guard}"
on_poison = "{on_poison}"
source = {{ region = "us-east-1", table = "Stories" }}
targets = [{{ region = "eu-west-1" }}]
"""

TWO_WAY = """
[mirrors.sessions]
mode = "two-way"
on_poison = "{on_poison}"
unversioned = "{unversioned}"
replicas = [{{ region = "us-east-1", table = "Sessions" }}, {{ region = "eu-west-1" }}]
"""

MODES = {
    f"{guard}-{on_poison}": ONE_WAY.format(guard=guard, on_poison=on_poison)
    for guard in ("order", "item", "ledger")
    for on_poison in ("stop", "park")
} | {
    f"two-way-{unversioned}-{on_poison}": TWO_WAY.format(
        unversioned=unversioned, on_poison=on_poison
    )
    for unversioned, on_poison in (("bump", "stop"), ("report", "park"))
}

READING = "dynamodb:DescribeStream"

Asked = set[tuple[str, str]]
"""Actions of IAM, each with a table's ARN."""


def arn(region: str, table: str) -> str:
    return f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}"


def actions(operation: str, request: Wire) -> Iterator[tuple[str, str]]:
    """Yield the actions of IAM that a request needs, and the tables."""
    if operation == "TransactWriteItems":
        kinds = {"Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem"}
        for one in request["TransactItems"]:
            ((kind, body),) = one.items()
            yield kinds.get(kind, "ConditionCheckItem"), body["TableName"]
    elif operation == "BatchWriteItem":
        # Whether IAM asks for the single writes too is not told: they are granted.
        for table, entries in request["RequestItems"].items():
            yield operation, table
            for one in entries:
                yield ("PutItem" if "PutRequest" in one else "DeleteItem"), table
    elif operation == "BatchGetItem":
        for table in request["RequestItems"]:
            yield operation, table
    elif "TableName" in request:  # what is asked of the stream is Lambda's to ask too
        yield operation, request["TableName"]


class Recorder:
    """The port, and what went through it; before each request anything may happen."""

    def __init__(
        self, api: DynamoDB, region: str, asked: Asked, before: Callable[[], None]
    ) -> None:
        self._api = api
        self._region = region
        self._asked = asked
        self._before = before

    async def call(self, operation: str, request: bytes) -> bytes:
        await asyncio.to_thread(self._before)
        for action, table in actions(operation, decode(request)):
            self._asked.add((action, arn(self._region, table)))
        return await self._api.call(operation, request)

    async def close(self) -> None:
        await self._api.close()


@pytest.fixture
def strict() -> Iterator[str]:
    """A server of its own that enforces IAM."""
    with EmbeddedServer(server_python(), {"AUTH": "true"}) as server:
        yield server.url


def resolved(value: Any, region: str, account: str = ACCOUNT) -> Any:
    """Return a part of a template as it is in a stack of a region."""
    match value:
        case {"Fn::Sub": str(text)}:
            for name, meant in (("Partition", "aws"), ("AccountId", account), ("Region", region)):
                text = text.replace(f"${{AWS::{name}}}", meant)
            return text
        case dict():
            return {key: resolved(each, region, account) for key, each in value.items()}
        case list():
            return [resolved(each, region, account) for each in value]
    return value


class Deployed:
    """A consumer's function, running as its role may."""

    def __init__(self, world: World, stack: Stack, consumer: Consumer) -> None:
        self.asked: Asked = set()
        self.role = consumer.role
        self.statements = [
            one
            for one in self._policy(stack, consumer)
            if "Sid" in one and one["Sid"] not in OF_LAMBDA
        ]
        stream = {"Sid": "Stream", "Effect": "Allow", "Action": READING, "Resource": "*"}
        credentials = world.assume(consumer.role, [*self.statements, stream])
        environment = {
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
            "AWS_ENDPOINT_URL_DYNAMODB": world.url,
        }

        self.mirror = consumer.mirror
        self._config = consumer.config

        def recorded(place: Place, transport: Transport) -> DynamoDB:
            api = connect(place, transport=transport.value, environment=environment)
            return Recorder(api, place.region, self.asked, lambda: world.interrupt(self))

        self._connect = recorded
        self._function = Function(consumer.config)
        self._function.wiring = Wiring(self._function.wiring.config, connect=recorded)
        self._stream = Stream(world, consumer.mirror.source.region)

    @property
    def granted(self) -> Asked:
        return self._granted(())

    @property
    def usual(self) -> Asked:
        """What is granted for more than absences."""
        return self._granted(OF_ABSENCE)

    def _granted(self, but_for: tuple[str, ...]) -> Asked:
        return {
            (action.removeprefix("dynamodb:"), table)
            for one in self.statements
            if not one["Sid"].startswith(but_for or "-")
            for action in one["Action"]
            for table in one["Resource"]
        }

    def copy(self, share: tuple[int, int]) -> None:
        """Copy a share of the source."""

        async def copied(wiring: Wiring, mirror: Mirror) -> None:
            await backfill_of(wiring, mirror).run(lambda _: None, share)

        self._do(copied)

    def compare(self, share: tuple[int, int]) -> None:
        """Compare a share of the tables, and leave a note of it."""

        async def compared(wiring: Wiring, mirror: Mirror) -> None:
            verifier, scope = verifier_of(wiring, mirror), Scope(segment=share, settle_s=0)
            found = await verifier.run(lambda _: None, lambda _: None, scope)
            await verifier.note(wiring.checkpoints(mirror), found)

        self._do(compared)

    def _do(self, work: Callable[[Wiring, Mirror], Coroutine[Any, Any, None]]) -> None:
        async def all_of_it() -> None:
            wiring = Wiring(load(self._config), connect=self._connect)
            mirror = next(one for one in wiring.config.mirrors if one.link == self.mirror.link)
            await work(wiring, mirror)
            await wiring.close()

        asyncio.run(all_of_it())

    def deliver(self) -> int:
        """Apply what the stream has; return how many records that was."""
        records = self._stream.read()
        if records:
            answer = self._function.invoke({"Records": records}, lambda: 60_000)
            assert answer == {"batchItemFailures": []}
        return len(records)

    def close(self) -> None:
        self._stream.close()
        self._function.close()

    @staticmethod
    def _policy(stack: Stack, consumer: Consumer) -> list[Wire]:
        (policy,) = roles.role(consumer, stack)["Properties"]["Policies"]
        told: list[Wire] = resolved(policy["PolicyDocument"]["Statement"], stack.site.region)
        return told


class World:
    """The tables of a mirror on a strict server, applications that write them, and functions."""

    def __init__(self, url: str, config: str, *, poison: bool, shares: bool = False) -> None:
        self.url = url
        made = stacks(config, name="dynamirror", shares=shares)
        self.stacks = [stack for stack in made if stack.consumers]
        mirrors = [one.mirror for stack in self.stacks for one in stack.consumers]
        self.table = mirrors[0].source.table
        self.sources = [mirror.source.region for mirror in mirrors]
        self._poison = poison
        self._interrupted = True
        self._version = 0
        self._chance = random.Random(config)
        self._apis = {region: self.api(region) for region in (HERE, THERE)}
        for region in (HERE, THERE):
            self._create(region)
        for mirror in mirrors:
            for ours in tables_of_ours(mirror):
                self.api(ours.place.region).create_table(
                    TableName=ours.place.table, **of_ours(ours.keys)
                )
        self.functions = [
            Deployed(self, stack, one) for stack in self.stacks for one in stack.consumers
        ]

    def api(self, region: str, service: str = "dynamodb") -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def assume(self, role: str, statements: list[Wire]) -> Wire:
        """Make a role with these statements, and return credentials of it."""
        iam = self.api(HERE, "iam")
        me = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Effect": "Allow", "Principal": me, "Action": "sts:AssumeRole"}
        made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=policy([trust]))
        iam.put_role_policy(RoleName=role, PolicyName="mirror", PolicyDocument=policy(statements))
        arn = made["Role"]["Arn"]
        sts = self.api(HERE, "sts")
        got: Wire = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return got

    def write(self, times: int) -> None:
        """Write at random: some with a version, some without, some deletes, some poison."""
        for number in range(times):
            region = self._chance.choice(self.sources)
            api = self._apis[region]
            key = {"id": {"S": f"k{self._chance.randrange(6)}"}}
            match self._chance.randrange(8 if self._poison else 7):
                case 0 | 1:
                    api.delete_item(TableName=self.table, Key=key)
                case 2:
                    api.put_item(TableName=self.table, Item={**key, "n": {"N": str(number)}})
                case 3:
                    version = {"version": {"N": str(self._chance.randrange(1, 9))}}
                    api.put_item(TableName=self.table, Item={**key, **version})
                case 7:
                    other = THERE if region == HERE else HERE
                    self._version += 1
                    item = {
                        "id": {"S": f"p-{region}"},
                        "version": {"N": str(self._version)},
                        f"n-{other}": {"S": "text, which no index of numbers takes"},
                    }
                    api.put_item(TableName=self.table, Item=item)
                case _:
                    api.update_item(
                        TableName=self.table,
                        Key=key,
                        UpdateExpression="SET n = :n ADD version :one",
                        ExpressionAttributeValues={":n": {"N": str(number)}, ":one": {"N": "1"}},
                    )

    def interrupt(self, running: Deployed) -> None:
        """Let applications write, and the other functions apply it, between two requests."""
        if self._interrupted or self._chance.random() > INTERRUPTED:
            return
        self._interrupted = True
        try:
            self.write(2)
            for function in self.functions:
                if function is not running:
                    function.deliver()
        finally:
            self._interrupted = False

    def mirror(self) -> None:
        """Deliver until every stream is quiet, at last without interruption."""
        self._interrupted = False
        for function in self.functions:
            function.deliver()
        self._interrupted = True
        while sum([function.deliver() for function in self.functions]):
            pass

    def _create(self, region: str) -> None:
        """Create the table; where there is poison, an index of each region wants a number of an
        attribute that the other's applications write as text.
        """
        number = f"n-{region}"
        attributes = [{"AttributeName": "id", "AttributeType": "S"}]
        more: Wire = {}
        if self._poison:
            attributes.append({"AttributeName": number, "AttributeType": "N"})
            index: Wire = {
                "IndexName": "by-number",
                "KeySchema": [{"AttributeName": number, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            more = {"GlobalSecondaryIndexes": [index]}
        self.api(region).create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=attributes,
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            **more,
        )


def policy(statements: list[Wire]) -> str:
    return json.dumps({"Version": POLICY_VERSION, "Statement": statements})


@pytest.mark.parametrize("mode", MODES)
def test_a_functions_role_may_do_what_it_does_and_no_more(mode: str, strict: str) -> None:
    """Too little is refused by the server; too much was never asked for."""
    world = World(strict, MODES[mode], poison=mode.endswith("park"))
    for _ in range(ROUNDS_MAX):
        world.write(WRITES)
        world.mirror()
        if all(function.usual <= function.asked for function in world.functions):
            break

    for function in world.functions:
        function.close()
    for function in world.functions:
        assert function.asked - function.granted == set(), f"{function.role} may do too little"
        assert function.usual - function.asked == set(), f"{function.role} may do too much"


@pytest.mark.parametrize("mode", MODES)
def test_a_role_may_do_shares_and_no_more(mode: str, strict: str) -> None:
    """Where a stack copies and compares in shares, its role may do that too; what a conflict needs
    in a two-way mirror is not asked for each time.
    """
    world = World(strict, MODES[mode], poison=False, shares=True)
    world.write(WRITES)

    for function in world.functions:
        mirror = function.mirror
        for share in (1, 2):
            function.copy((share, 2))
        world.write(WRITES)
        if mirror.compared:
            for share in (1, 2):
                function.compare((share, 2))
        function.close()
        needed = granted([*copying(mirror), *comparing(mirror)])
        settling = granted(grants(mirror)) if isinstance(mirror, Side) else set()
        assert function.asked - function.granted == set()
        assert needed - settling - function.asked == set()


def granted(asked: Iterable[Grant]) -> Asked:
    return {
        (action, arn(grant.place.region, grant.table))
        for grant in asked
        for action in grant.actions
    }


def test_an_action_too_few_is_refused(strict: str) -> None:
    """The server enforces what the test above relies on."""
    world = World(strict, MODES["item-stop"], poison=False)
    (function,) = world.functions
    role = world.stacks[0].consumers[0].role
    less = [one for one in function.statements if one["Sid"] != "WriteTheTarget"]
    world.api(HERE, "iam").put_role_policy(
        RoleName=role, PolicyName="mirror", PolicyDocument=policy(less)
    )
    world.write(1)
    world.api(HERE).put_item(TableName="Stories", Item={"id": {"S": "k"}})

    with pytest.raises(AssertionError, match="batchItemFailures"):
        function.deliver()
    function.close()
