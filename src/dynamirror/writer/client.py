"""The client that an application gets in place of its own; what it doesn't change, it passes on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from dynamirror.writer.batch import Batch
from dynamirror.writer.operations import Single
from dynamirror.writer.refusals import RefusedWriteError
from dynamirror.writer.saving import ANY, Clock, Saving, now_ms
from dynamirror.writer.steps import carried_out
from dynamirror.writer.transaction import Transaction

READS = re.compile(r"\s*(SELECT|EXISTS)\b", re.IGNORECASE)
"""PartiQL that writes nothing; EXISTS is a transaction's condition check."""


def versioned(
    client_or_table: Any,
    *,
    version_attribute: str = "version",
    tables: Collection[str] | Mapping[str, str] | None = None,
    clock: Clock = now_ms,
) -> Any:
    """Wrap a boto3 client, a boto3 Table or an aiobotocore client: each save raises the version.

    ``tables`` names those whose items are versioned, all unless given; a mapping gives each its
    version attribute. ``put_item``, ``update_item`` and ``delete_item`` take ``expect=``, the
    version that the item must have (``None``: none yet). ``clock`` tells milliseconds since the
    epoch.
    """
    if not hasattr(client_or_table, "put_item"):
        raise TypeError(
            f"versioned() takes a DynamoDB client or Table, not {type(client_or_table).__name__}"
        )
    if isinstance(tables, str):
        raise TypeError("tables is a collection of names: versioned(..., tables=['Sessions'])")
    saving = Saving(version_attribute, tables, clock)
    if isinstance(getattr(client_or_table, "name", None), str):
        return VersionedTable(client_or_table, saving)
    return VersionedClient(client_or_table, saving)


class Passing:
    """Passes on whatever it has not itself."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        if name == "_wrapped":  # a copy that is not set up yet
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._wrapped)})

    def __repr__(self) -> str:
        return f"versioned({self._wrapped!r})"


class VersionedClient(Passing):
    """A low-level client, whose requests name their tables."""

    def __init__(self, wrapped: Any, saving: Saving) -> None:
        super().__init__(wrapped)
        self._saving = saving
        self._single = Single(saving, wrapped, wrapped)
        self._batch = Batch(saving, self._single, wrapped)
        self._transaction = Transaction(saving, self._single, wrapped)

    def put_item(self, *, expect: Any = ANY, **request: Any) -> Any:
        return carried_out(self._single.put(request.get("TableName", ""), request, expect))

    def update_item(self, *, expect: Any = ANY, **request: Any) -> Any:
        return carried_out(self._single.update(request.get("TableName", ""), request, expect))

    def delete_item(self, *, expect: Any = ANY, **request: Any) -> Any:
        return carried_out(self._single.delete(request.get("TableName", ""), request, expect))

    def get_item(self, **request: Any) -> Any:
        return carried_out(self._single.get(request.get("TableName", ""), request))

    def batch_write_item(self, **request: Any) -> Any:
        """Send puts singly, 8 at once, for a batch takes no conditions; deletes as a batch."""
        return carried_out(self._batch.write(request))

    def transact_write_items(self, **request: Any) -> Any:
        return carried_out(self._transaction.write(request))

    def execute_statement(self, **request: Any) -> Any:
        self._refuse_writes([request])
        return self._wrapped.execute_statement(**request)

    def batch_execute_statement(self, **request: Any) -> Any:
        self._refuse_writes(request.get("Statements") or ())
        return self._wrapped.batch_execute_statement(**request)

    def execute_transaction(self, **request: Any) -> Any:
        self._refuse_writes(request.get("TransactStatements") or ())
        return self._wrapped.execute_transaction(**request)

    def _refuse_writes(self, statements: Collection[Mapping[str, Any]]) -> None:
        for statement in statements:
            text = str(statement.get("Statement", ""))
            tables = self._saving.tables
            concerned = tables is None or any(table in text for table in tables)
            if concerned and not READS.match(text):
                raise RefusedWriteError(
                    f"PartiQL can't raise a version whatever it was: {text[:80]!r}. Write it with "
                    "put_item, update_item, delete_item or transact_write_items"
                )


class VersionedTable(Passing):
    """A Table resource; the client in its ``meta``, which batch_writer uses, is versioned too."""

    def __init__(self, wrapped: Any, saving: Saving) -> None:
        super().__init__(wrapped)
        client = wrapped.meta.client
        self.meta = VersionedMeta(wrapped.meta, VersionedClient(client, saving))
        self._single = Single(saving, wrapped, client)

    def put_item(self, *, expect: Any = ANY, **request: Any) -> Any:
        return carried_out(self._single.put(self._wrapped.name, request, expect))

    def update_item(self, *, expect: Any = ANY, **request: Any) -> Any:
        return carried_out(self._single.update(self._wrapped.name, request, expect))

    def delete_item(self, *, expect: Any = ANY, **request: Any) -> Any:
        return carried_out(self._single.delete(self._wrapped.name, request, expect))

    def get_item(self, **request: Any) -> Any:
        return carried_out(self._single.get(self._wrapped.name, request))

    def batch_writer(self, *args: Any, **options: Any) -> Any:
        return type(self._wrapped).batch_writer(self, *args, **options)


class VersionedMeta(Passing):
    """A resource's ``meta``, whose client is versioned."""

    def __init__(self, wrapped: Any, client: VersionedClient) -> None:
        super().__init__(wrapped)
        self.client = client
