"""transact_write_items: versions inside the transaction, and the caller's token kept."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.writer.store import Store, wire

from dynamirror.writer import OutpacedError, RefusedWriteError
from dynamirror.writer.operations import TRIES_MAX
from dynamirror.writer.transaction import TOKEN_MS, TOKENS_MAX

Item = dict[str, Any]


def put(store: Store, key: str, **request: Any) -> Item:
    return {"Put": {"TableName": store.name, "Item": wire({"id": key}), **request}}


def on(store: Store, action: str, key: str, **request: Any) -> Item:
    return {action: {"TableName": store.name, "Key": wire({"id": key}), **request}}


def write(store: Store, *parts: Item, **request: Any) -> Item:
    answer: Item = store.writer.transact_write_items(TransactItems=list(parts), **request)
    return answer


def canceled(store: Store, *parts: Item, **request: Any) -> list[Item]:
    """Return the reasons why a transaction was canceled."""
    with pytest.raises(ClientError, match="TransactionCanceledException") as caught:
        write(store, *parts, **request)
    reasons: list[Item] = caught.value.response["CancellationReasons"]
    return reasons


def test_each_save_of_a_transaction_raises_its_version(client_store: Store) -> None:
    """Puts and updates; deletes and checks are as they were."""
    store = client_store
    store.given(id="checked")
    store.given(id="gone", version=7)
    store.given(id="updated", version=7)

    write(
        store,
        put(store, "new"),
        on(store, "Update", "updated", UpdateExpression="REMOVE x"),
        on(store, "Delete", "gone"),
        on(store, "ConditionCheck", "checked", ConditionExpression="attribute_exists(id)"),
    )

    assert store.version("new") == 1_000
    assert store.version("updated") == 8
    assert store.held("gone") == {}
    assert store.held("checked") == {"id": "checked"}


def test_a_transaction_canceled_by_our_conditions_alone_goes_again(client_store: Store) -> None:
    """With versions above those that were in the way."""
    store = client_store
    store.given(id="a", version=5_000)
    store.given(id="b", version=6_000)

    write(store, put(store, "a"), put(store, "b"), put(store, "c"))

    assert [store.version(key) for key in "abc"] == [5_001, 6_001, 1_000]
    assert len(store.requests.of("TransactWriteItems")) == 2


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("held", [900, 5_000], ids=["ours holds", "ours fails"])
def test_the_callers_conditions_decide(client_store: Store, held: int, asked: bool) -> None:  # noqa: FBT001
    """Nothing is written, and an item is shown to those who asked for it only."""
    store = client_store
    store.given(version=held)
    shown = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if asked else {}
    failing = put(store, "a", ConditionExpression="attribute_not_exists(id)", **shown)

    reasons = canceled(store, put(store, "b"), failing)

    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed"]
    assert ("Item" in reasons[1]) is asked
    assert store.held("b") == {}
    assert store.version() == held


def test_another_parts_failure_is_not_tried_again(client_store: Store) -> None:
    store = client_store
    store.given(version=5_000)
    check = on(store, "ConditionCheck", "b", ConditionExpression="attribute_exists(id)")

    for number, parts in enumerate([(put(store, "a"), check), (check, put(store, "a"))], 1):
        reasons = canceled(store, *parts)

        assert [reason["Code"] for reason in reasons] == ["ConditionalCheckFailed"] * 2
        assert [reason for reason in reasons if "Item" in reason] == []
        assert len(store.requests.of("TransactWriteItems")) == number
        store.given(version=store.version() + 5_000)


def test_a_token_repeated_writes_once(client_store: Store) -> None:
    """The same call under the same token is sent as it was before, whatever the clock says."""
    store = client_store
    store.given(id="b", version=5_000)
    parts = [put(store, "a"), put(store, "b"), on(store, "Update", "c")]

    for _ in range(2):
        write(store, *parts, ClientRequestToken=store.name)
        store.clock.at += 5

    assert [store.version(key) for key in "abc"] == [1_000, 5_001, 1_001]
    tokens = [one["ClientRequestToken"] for one in store.requests.of("TransactWriteItems")]
    assert tokens[0] == store.name
    assert tokens[1] == tokens[2] != store.name
    assert all(len(token) <= 36 for token in tokens)


def test_a_token_given_to_another_call_is_the_services_to_refuse(client_store: Store) -> None:
    store = client_store
    store.given(version=5_000)
    write(store, put(store, "a"), ClientRequestToken=store.name)

    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        write(store, put(store, "b"), ClientRequestToken=store.name)


def test_a_token_is_forgotten_when_the_service_forgets_it(client_store: Store) -> None:
    """After ten minutes, or a thousand tokens."""
    store = client_store
    transaction = store.writer._transaction

    write(store, put(store, "a"), ClientRequestToken=store.name)
    store.clock.at += TOKEN_MS
    first = transaction._tokens[store.name]
    store.requests.before = lambda _, params: params.pop("ClientRequestToken", None)
    write(store, put(store, "a"), ClientRequestToken=store.name)
    assert transaction._tokens[store.name] is not first

    request = {"TransactItems": [put(store, "a")]}
    for number in range(TOKENS_MAX):
        transaction._sent({**request, "ClientRequestToken": str(number)})
    assert len(transaction._tokens) == TOKENS_MAX
    assert store.name not in transaction._tokens


def test_tries_end(client_store: Store) -> None:
    store = client_store
    store.given(version=5_000)

    def outpace(operation: str, _: object) -> None:
        if operation == "TransactWriteItems":
            store.given(version=store.version() + 10_000)

    store.requests.before = outpace
    with pytest.raises(OutpacedError, match=f"{TRIES_MAX} times"):
        write(store, put(store, "a"))


def test_other_errors_are_the_services(client_store: Store) -> None:
    store = client_store

    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        write(store, {"Put": {"TableName": "no-such-table", "Item": wire({"id": "a"})}})


def test_what_can_have_no_version_is_refused(client_store: Store) -> None:
    store = client_store
    update = {"UpdateExpression": "REMOVE version"}

    with pytest.raises(RefusedWriteError):
        write(store, on(store, "Update", "a", **update))


def test_tables_that_are_not_versioned_are_left_alone(client_store: Store) -> None:
    store = client_store
    store.writer = store.another(tables=["other"])
    update = {"UpdateExpression": "REMOVE x"}

    write(store, put(store, "a"), on(store, "Update", "b", **update))

    assert store.held() == {"id": "a"}
