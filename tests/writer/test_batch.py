"""batch_write_item and batch_writer: a batch's answer, though its puts go singly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.writer.store import Store, code, wire

from dynamirror.writer import RefusedWriteError, VersionError

Item = dict[str, Any]


def put(**item: Any) -> Item:
    return {"PutRequest": {"Item": wire(item)}}


def delete(key: str) -> Item:
    return {"DeleteRequest": {"Key": wire({"id": key})}}


def write(store: Store, *entries: Item, **request: Any) -> Item:
    answer: Item = store.writer.batch_write_item(
        RequestItems={store.name: list(entries)}, **request
    )
    return answer


def failing(refusals: dict[str, str]) -> Callable[[str, Item], None]:
    """Return a hook that has puts of these ids refused with these codes."""

    def fail(operation: str, params: Item) -> None:
        key = params.get("Item", {}).get("id", {}).get("S")
        if operation == "PutItem" and key in refusals:
            error = {"Error": {"Code": refusals[key], "Message": "as the test wishes"}}
            raise ClientError(error, operation)

    return fail


def test_a_batchs_puts_are_versioned_and_its_deletes_done(client_store: Store) -> None:
    """Above what is there too; deletes stay one request."""
    store = client_store
    store.given(id="old", version=5_000)
    for key in ("gone", "lost"):
        store.given(id=key)

    answer = write(store, put(id="new"), delete("gone"), put(id="old"), delete("lost"))

    assert answer["UnprocessedItems"] == {}
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert (store.version("new"), store.version("old")) == (1_000, 5_001)
    assert store.held("gone") == store.held("lost") == {}
    (batch,) = store.requests.of("BatchWriteItem")
    assert batch["RequestItems"] == {store.name: [delete("gone"), delete("lost")]}


def test_a_batch_without_versioned_puts_is_sent_as_it_was_given(client_store: Store) -> None:
    store = client_store
    others = store.another(tables=["other"])
    request = {"RequestItems": {store.name: [put(id="a"), delete("b")]}}

    assert others.batch_write_item(**request)["UnprocessedItems"] == {}
    assert store.held() == {"id": "a"}
    write(store, delete("a"))
    assert len(store.requests.of("BatchWriteItem")) == 2
    assert store.requests.of("PutItem") == []


def test_throttled_puts_are_unprocessed_items(client_store: Store) -> None:
    """As they were given, to be sent again; the rest is written."""
    store = client_store
    store.requests.before = failing(
        {"b": "ThrottlingException", "c": "ProvisionedThroughputExceededException"}
    )

    answer = write(store, put(id="a"), put(id="b"), put(id="c"))

    assert answer["UnprocessedItems"] == {store.name: [put(id="b"), put(id="c")]}
    assert store.version("a") == 1_000
    store.requests.before = None
    assert store.writer.batch_write_item(RequestItems=answer["UnprocessedItems"])
    assert store.version("c") == 1_000


def test_a_batch_of_which_nothing_was_done_is_throttled(client_store: Store) -> None:
    store = client_store
    store.requests.before = failing(dict.fromkeys("ab", "ThrottlingException"))

    with pytest.raises(ClientError, match="ThrottlingException"):
        write(store, put(id="a"), put(id="b"))


def test_a_put_refused_for_good_is_raised_when_the_rest_is_done(client_store: Store) -> None:
    store = client_store
    store.requests.before = failing({"a": "AccessDeniedException"})

    with pytest.raises(ClientError) as caught:
        write(store, put(id="a"), put(id="b"))
    assert code(caught.value) == "AccessDeniedException"
    assert store.version("b") == 1_000

    with pytest.raises(VersionError):
        write(store, put(id="c", version="one"))


def test_a_batch_has_the_services_limits(client_store: Store) -> None:
    """25 requests, each key once: what was refused as a batch is not written as single puts."""
    store = client_store

    with pytest.raises(RefusedWriteError, match="26 requests"):
        write(store, *(put(id=str(number)) for number in range(26)))
    for twice in (put(id="a"), delete("a")):
        with pytest.raises(RefusedWriteError, match="twice"):
            write(store, put(id="a"), twice)

    assert store.held() == {}


def test_without_the_keys_names_puts_go_in_their_order(client_store: Store) -> None:
    store = client_store

    def deny(operation: str, params: Item) -> None:
        if operation == "DescribeTable":
            params["TableName"] = "no-such-table"

    store.requests.before = deny
    write(store, *(put(id="a", n=number) for number in range(9)))

    assert store.held()["n"] == 8
    tried = [one["Item"]["n"]["N"] for one in store.requests.of("PutItem")]
    assert tried == sorted(tried)


def test_consumed_capacity_is_summed_by_table(client_store: Store) -> None:
    store = client_store

    answer = write(store, put(id="a"), put(id="b"), delete("c"), ReturnConsumedCapacity="TOTAL")

    (capacity,) = answer["ConsumedCapacity"]
    assert capacity["TableName"] == store.name
    assert capacity["CapacityUnits"] >= 3


@pytest.mark.parametrize("store", ["resource"], indirect=True)
def test_batch_writer_writes_versions(store: Store) -> None:
    """More than one batch of them, a key given twice, deletes among them."""
    store.given(id="7", version=5_000)
    store.given(id="gone")

    with store.writer.batch_writer(overwrite_by_pkeys=["id"]) as batch:
        for number in range(30):
            batch.put_item(Item={"id": str(number), "n": number})
        batch.put_item(Item={"id": "29", "n": 290})
        batch.delete_item(Key={"id": "gone"})

    assert store.held("29") == {"id": "29", "n": 290, "version": 1_000}
    assert store.version("7") == 5_001
    assert store.held("gone") == {}


@pytest.mark.parametrize("store", ["resource"], indirect=True)
def test_a_tables_client_is_versioned_too(store: Store) -> None:
    """There is no way around by ``meta``, and all the rest of it is there."""
    client = store.writer.meta.client

    client.put_item(TableName=store.name, Item={"id": "a"})

    assert store.version() == 1_000
    assert store.writer.meta.service_name == "dynamodb"
