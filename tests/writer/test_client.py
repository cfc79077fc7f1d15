"""What a versioned client passes on, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.writer.store import Store

import dynamirror
from dynamirror import versioned
from dynamirror.writer import RefusedWriteError


def test_all_the_rest_is_the_clients_own(client_store: Store) -> None:
    """Reads, pages, waiters, exceptions, meta."""
    store = client_store
    client = store.writer
    store.put()

    assert client.scan(TableName=store.name)["Count"] == 1
    pages = client.get_paginator("scan").paginate(TableName=store.name)
    assert [page["Count"] for page in pages] == [1]
    client.get_waiter("table_exists").wait(TableName=store.name)
    assert client.meta.region_name == "us-east-1"
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        client.update_item(TableName=store.name, Key={"id": {"S": "a"}}, expect=1)
    assert {"scan", "put_item", "meta"} <= set(dir(client))


@pytest.mark.parametrize("store", ["resource"], indirect=True)
def test_all_the_rest_is_the_tables_own(store: Store) -> None:
    store.put()

    assert store.writer.scan()["Items"] == [store.held()]
    assert store.writer.name == store.name
    assert store.writer.key_schema == [{"AttributeName": "id", "KeyType": "HASH"}]


def test_a_versioned_client_says_what_it_is(store: Store) -> None:
    assert repr(store.writer).startswith("versioned(")
    assert repr(copy.copy(store.writer)) == repr(store.writer)
    with pytest.raises(AttributeError, match="no_such_method"):
        _ = store.writer.no_such_method


def test_partiql_that_writes_is_refused(client_store: Store) -> None:
    """Never silently unversioned: alone, in a batch, in a transaction."""
    insert = {"Statement": f"INSERT INTO \"{client_store.name}\" VALUE {{'id': 'a'}}"}
    client = client_store.writer

    requests: dict[str, Any] = {
        "execute_statement": insert,
        "batch_execute_statement": {"Statements": [insert]},
        "execute_transaction": {"TransactStatements": [insert]},
    }
    for method, request in requests.items():
        with pytest.raises(RefusedWriteError, match="put_item, update_item"):
            getattr(client, method)(**request)

    assert client_store.requests.sent == []


def test_partiql_that_reads_is_passed_on(client_store: Store) -> None:
    store = client_store
    store.put()
    select = {"Statement": f"\n select * from \"{store.name}\" where id = 'a'"}  # noqa: S608

    assert len(store.writer.execute_statement(**select)["Items"]) == 1
    assert store.writer.batch_execute_statement(Statements=[select])["Responses"][0]["Item"]
    assert store.writer.execute_transaction(TransactStatements=[select])["Responses"]


def test_partiql_on_a_table_that_is_not_versioned_is_passed_on(client_store: Store) -> None:
    """On the others it is refused."""
    store = client_store
    insert = {"Statement": f"INSERT INTO \"{store.name}\" VALUE {{'id': 'a'}}"}

    with pytest.raises(RefusedWriteError):
        store.another(tables=["other", store.name]).execute_statement(**insert)
    store.another(tables=["other"]).execute_statement(**insert)

    assert store.held() == {"id": "a"}


def test_a_tables_arn_is_as_good_as_its_name(client_store: Store) -> None:
    store = client_store
    arn = store.plain.describe_table(TableName=store.name)["Table"]["TableArn"]
    writer = store.another(tables=[store.name])

    writer.put_item(TableName=arn, Item={"id": {"S": "a"}})

    assert store.version() == 1_000


def test_versioned_takes_clients_and_tables_only() -> None:
    with pytest.raises(TypeError, match="a DynamoDB client or Table, not dict"):
        versioned({})


def test_tables_are_named_in_a_collection(client_store: Store) -> None:
    """A lone name would be taken for its letters."""
    with pytest.raises(TypeError, match=r"tables=\['Sessions'\]"):
        versioned(client_store.plain, tables="Sessions")


def test_the_package_has_one_name_for_applications() -> None:
    """It is loaded when asked for."""
    missing: Any = "nothing_else"

    assert dynamirror.versioned is versioned
    with pytest.raises(AttributeError, match="nothing_else"):
        getattr(dynamirror, missing)
