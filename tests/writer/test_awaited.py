"""Asynchronous clients, and what only a server as strict as DynamoDB shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.writer.awaited import AwaitedClient
from tests.writer.store import code

from dynamirror import versioned
from dynamirror.core.values import Wire
from dynamirror.writer import RefusedWriteError, VersionError
from dynamirror.writer.batch import PUTS_AT_ONCE

KEY: Wire = {"TableName": "Sessions", "Key": {"id": {"S": "a"}}}
ITEM: Wire = {"TableName": "Sessions", "Item": {"id": {"S": "a"}}}


def played(story: Callable[[AwaitedClient, Any], Awaitable[None]]) -> AwaitedClient:
    """Run a story with a plain client and a versioned one, on a table Sessions."""

    async def play() -> AwaitedClient:
        client = AwaitedClient()
        await client.create_tables("Sessions")
        await story(client, versioned(client, clock=lambda: 1_000))
        return client

    return asyncio.run(play())


def test_calls_are_awaited() -> None:
    """Every write of an asynchronous client, retries included."""

    async def story(plain: AwaitedClient, writer: Any) -> None:
        await plain.put_item(
            TableName="Sessions", Item={"id": {"S": "a"}, "version": {"N": "5000"}}
        )
        await writer.put_item(**ITEM)
        assert (await plain.held("Sessions"))["version"] == {"N": "5001"}
        await writer.update_item(**KEY)
        assert (await writer.get_item(**KEY))["Item"]["version"] == {"N": "5002"}
        with pytest.raises(ClientError):
            await writer.delete_item(**KEY, expect=5_001)
        await writer.delete_item(**KEY, expect=5_002)
        await writer.transact_write_items(TransactItems=[{"Put": ITEM}])
        assert (await writer.scan(TableName="Sessions"))["Items"][0]["version"] == {"N": "5004"}
        with pytest.raises(RefusedWriteError):
            await writer.put_item(**ITEM, Expected={})

    played(story)


def test_a_batchs_puts_go_together_but_not_all_at_once() -> None:
    async def story(plain: AwaitedClient, writer: Any) -> None:
        puts = [{"PutRequest": {"Item": {"id": {"S": str(n)}}}} for n in range(25)]
        answer = await writer.batch_write_item(RequestItems={"Sessions": puts})

        assert answer["UnprocessedItems"] == {}
        assert all(
            [(await plain.held("Sessions", str(n)))["version"]["N"] == "1000" for n in range(25)]
        )

    assert 1 < played(story).crowd <= PUTS_AT_ONCE


def test_taking_away_creates_nothing() -> None:
    """An update that only removes leaves a missing item missing."""

    async def story(plain: AwaitedClient, writer: Any) -> None:
        update = {**KEY, "UpdateExpression": "REMOVE x"}
        await writer.update_item(**update)
        await writer.transact_write_items(TransactItems=[{"Update": update}])
        assert await plain.held("Sessions") == {}

        await plain.put_item(**ITEM)
        await writer.update_item(**update)
        await writer.transact_write_items(TransactItems=[{"Update": update}])
        assert (await plain.held("Sessions"))["version"] == {"N": "1002"}

    played(story)


def test_a_version_that_is_no_number_is_named() -> None:
    """Other faults of an update are told as the service tells them."""

    async def story(plain: AwaitedClient, writer: Any) -> None:
        bad: Wire = {"id": {"S": "a"}, "version": {"S": "one"}, "x": {"S": "word"}}
        await plain.put_item(TableName="Sessions", Item=bad)
        with pytest.raises(VersionError, match=r"'version' of an item of Sessions is {'S'"):
            await writer.update_item(**KEY, UpdateExpression="REMOVE x")

        await plain.put_item(TableName="Sessions", Item={**bad, "version": {"N": "1"}})
        update = {"UpdateExpression": "ADD x :n", "ExpressionAttributeValues": {":n": {"N": "1"}}}
        with pytest.raises(ClientError) as caught:
            await writer.update_item(**KEY, **update)
        assert code(caught.value) == "ValidationException"

    played(story)


def test_a_doubtful_fault_is_told_as_the_service_told_it() -> None:
    """Also where the item may not be read."""

    async def story(plain: AwaitedClient, writer: Any) -> None:
        await plain.put_item(TableName="Sessions", Item={"id": {"S": "a"}, "version": {"S": "one"}})

        async def deny(method: str, request: Wire) -> None:
            if method == "get_item":
                request["TableName"] = "no-such-table"

        plain.before = deny
        with pytest.raises(ClientError) as caught:
            await writer.update_item(**KEY)
        assert code(caught.value) == "ValidationException"

    played(story)


@pytest.mark.parametrize("condition", ["(x = :x)", "(x = :x OR x = :x)", "x = :x OR (x = :x)"])
def test_parentheses_are_never_doubled(condition: str) -> None:
    async def story(plain: AwaitedClient, writer: Any) -> None:
        x: Wire = {"N": "1"}
        await plain.put_item(TableName="Sessions", Item={"id": {"S": "a"}, "x": x})
        await writer.put_item(
            TableName="Sessions",
            Item={"id": {"S": "a"}, "x": x},
            ConditionExpression=condition,
            ExpressionAttributeValues={":x": x},
        )
        assert (await plain.held("Sessions"))["version"] == {"N": "1000"}

    played(story)


def test_what_the_service_cannot_read_is_the_services_to_refuse() -> None:
    async def story(_: AwaitedClient, writer: Any) -> None:
        with pytest.raises(ClientError, match="ConditionExpression"):
            await writer.put_item(**ITEM, ConditionExpression="x IS NULL")

    played(story)


def test_what_is_refused_before_it_is_sent_is_raised_as_well() -> None:
    """Also where the client refuses it at once, and not when awaited."""

    async def story(plain: AwaitedClient, writer: Any) -> None:
        def refuse(**_: Any) -> Any:
            raise ValueError("not one to send")

        plain.instead["put_item"] = refuse
        with pytest.raises(ValueError, match="not one to send"):
            await writer.put_item(**ITEM)

    played(story)


def test_a_batch_says_what_its_deletes_and_puts_say() -> None:
    """What was left undone, what it took, how large item collections are."""

    async def story(plain: AwaitedClient, writer: Any) -> None:
        left = {"DeleteRequest": {"Key": {"id": {"S": "z"}}}}
        used = {"TableName": "Sessions", "CapacityUnits": 1.0, "Table": {"CapacityUnits": 1.0}}
        size = {"ItemCollectionKey": {"id": {"S": "a"}}, "SizeEstimateRangeGB": [0.0, 1.0]}

        async def batch(**_: Any) -> Wire:
            return {
                "UnprocessedItems": {"Sessions": [left]},
                "ConsumedCapacity": [used],
                "ItemCollectionMetrics": {"Sessions": [size]},
            }

        async def put(**_: Any) -> Wire:
            return {"ConsumedCapacity": used, "ItemCollectionMetrics": size}

        plain.instead |= {"batch_write_item": batch, "put_item": put}
        puts = [{"PutRequest": {"Item": {"id": {"S": key}}}} for key in "ab"]
        answer = await writer.batch_write_item(RequestItems={"Sessions": [left, *puts]})

        assert answer["UnprocessedItems"] == {"Sessions": [left]}
        assert answer["ItemCollectionMetrics"] == {"Sessions": [size] * 3}
        (capacity,) = answer["ConsumedCapacity"]
        assert capacity == {**used, "CapacityUnits": 3.0, "Table": {"CapacityUnits": 3.0}}

    played(story)
