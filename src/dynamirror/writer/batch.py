"""batch_write_item: a batch takes no conditions, so its puts go singly, each with its version.

The answer has the batch's shape: what the service had no room for is in UnprocessedItems as it was
given. Other refusals of a single put are raised once all the rest are done; unlike those of a
batch, they leave the rest written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from dynamirror.core.limits import BATCH_WRITE_ITEMS_MAX
from dynamirror.core.values import Wire
from dynamirror.writer.operations import Single, code_of
from dynamirror.writer.refusals import OutpacedError, RefusedWriteError
from dynamirror.writer.saving import Saving, table_name
from dynamirror.writer.steps import Steps, Together
from dynamirror.writer.versions import identity

PUTS_AT_ONCE = 8
"""Single puts on their way for one batch; botocore keeps 10 connections."""

UNPROCESSED = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
}
"""Refusals that a batch answers with UnprocessedItems: the same put may do later."""

TOLD = ("ReturnConsumedCapacity", "ReturnItemCollectionMetrics")


class Batch:
    """batch_write_item of one client."""

    def __init__(self, saving: Saving, single: Single, client: Any) -> None:
        self._saving = saving
        self._single = single
        self._client = client

    def write(self, request: Wire) -> Steps:
        """Send the deletes as a batch, then the puts."""
        entries = list(_entries(request))
        puts: list[tuple[str, Wire]] = []
        left: dict[str, list[Wire]] = {}
        for table, entry in entries:
            if "PutRequest" in entry and self._saving.target(table) is not None:
                puts.append((table, entry))
            else:
                left.setdefault(table, []).append(entry)
        if not puts:
            return (yield partial(self._client.batch_write_item, **request))
        if len(entries) > BATCH_WRITE_ITEMS_MAX:
            raise RefusedWriteError(
                f"a batch has {len(entries)} requests; BatchWriteItem takes "
                f"{BATCH_WRITE_ITEMS_MAX}: send them in parts, or use batch_writer()"
            )
        for table in dict.fromkeys(table for table, _ in puts):
            yield from self._single.learnt(table)
        all_known = self._check_distinct(entries)
        answers: list[Wire] = []
        if left:
            batch = {**request, "RequestItems": left}
            answers.append((yield partial(self._client.batch_write_item, **batch)))
        told = {name: request[name] for name in TOLD if name in request}
        steps = [self._put(table, entry, told) for table, entry in puts]
        outcomes = yield Together(steps, PUTS_AT_ONCE if all_known else 1)
        return _answer(answers, puts, outcomes)

    def _put(self, table: str, entry: Wire, told: Wire) -> Steps:
        """Return the answer of one put, or its error."""
        try:
            put = {"TableName": table, **entry["PutRequest"], **told}
            return (yield from self._single.put(table, put))
        except Exception as error:  # noqa: BLE001 - raised by the batch when the others are done
            return error

    def _check_distinct(self, entries: Sequence[tuple[str, Wire]]) -> bool:
        """Raise RefusedWriteError for a key written twice, as BatchWriteItem does.

        Returns False where that can't be told, for want of the key's names.
        """
        met: set[Any] = set()
        all_known = True
        for table, entry in entries:
            name = table_name(table)
            names = self._saving.seen.key_names(name)
            write = (entry.get("PutRequest") or {}).get("Item")
            key = write or (entry.get("DeleteRequest") or {}).get("Key") or {}
            found = identity(key, names) if names else None
            all_known &= found is not None
            if found is not None and (name, found) in met:
                raise RefusedWriteError(
                    f"a batch writes one item of {name} twice, which BatchWriteItem refuses: "
                    f"leave the earlier out, or batch_writer(overwrite_by_pkeys={[*(names or ())]})"
                )
            met.add((name, found))
        return all_known


def _entries(request: Wire) -> Iterator[tuple[str, Wire]]:
    for table, entries in (request.get("RequestItems") or {}).items():
        for entry in entries:
            yield table, entry


def _answer(answers: list[Wire], puts: Sequence[tuple[str, Wire]], outcomes: Sequence[Any]) -> Wire:
    """Return the answer that a batch would have had. Raises the first error that is for good."""
    unprocessed: dict[str, list[Wire]] = {}
    for answer in answers:
        for table, entries in (answer.get("UnprocessedItems") or {}).items():
            unprocessed[table] = list(entries)
    throttled: Exception | None = None
    for (table, entry), outcome in zip(puts, outcomes, strict=True):
        if not isinstance(outcome, Exception):
            collection = outcome.get("ItemCollectionMetrics")
            told = {"ItemCollectionMetrics": {table: [collection]}} if collection else {}
            answers.append({**outcome, **told})
        elif _for_later(outcome):
            throttled = throttled or outcome
            unprocessed.setdefault(table, []).append(entry)
        else:
            raise outcome
    if throttled is not None and not answers:
        raise throttled  # as the service does when it has room for none
    return {**_counted(answers), "UnprocessedItems": unprocessed}


def _for_later(error: Exception) -> bool:
    if isinstance(error, ClientError):
        return code_of(error) in UNPROCESSED
    return isinstance(error, OutpacedError)


def _counted(answers: Sequence[Wire]) -> Wire:
    """Return what the answers say of capacity and item collections, in a batch's shape."""
    capacity: dict[str, Wire] = {}
    metrics: dict[str, list[Wire]] = {}
    for answer in answers:
        consumed = answer.get("ConsumedCapacity") or []
        for one in [consumed] if isinstance(consumed, dict) else consumed:
            table = one["TableName"]
            capacity[table] = _sum(capacity[table], one) if table in capacity else one
        for table, collections in (answer.get("ItemCollectionMetrics") or {}).items():
            metrics.setdefault(table, []).extend(collections)
    counted: Wire = {"ResponseMetadata": answers[-1].get("ResponseMetadata", {})}
    if capacity:
        counted["ConsumedCapacity"] = list(capacity.values())
    if metrics:
        counted["ItemCollectionMetrics"] = metrics
    return counted


def _sum(left: Wire, right: Wire) -> Wire:
    total = {**left}
    for name, value in right.items():
        if isinstance(value, dict):
            total[name] = _sum(left.get(name, {}), value)
        elif isinstance(value, int | float):
            total[name] = left.get(name, 0) + value
        else:
            total[name] = value
    return total
