"""Tables: their items in order of hash and sort key, and the record of every change.

A stored item is never changed, only replaced: whoever was given one may keep it.
"""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from random import Random
from typing import Any
from zlib import crc32

from dynamirror.core.values import Wire, same
from dynamirror.memory.items import checked_value
from dynamirror.memory.lineage import TTL_IDENTITY, Stream
from dynamirror.memory.refusals import invalid, not_found
from dynamirror.ports import Clock

Key = tuple[str, ...]
"""An item's key: the text of its partition key, then that of its sort key, if the table has one."""

PARTITION_KEY_BYTES_MAX = 2_048
SORT_KEY_BYTES_MAX = 1_024

TTL_AGE_S_MAX = 5 * 365 * 86_400
"""Items that expired longer ago are left alone (Developer Guide, 'Time to Live')."""


@dataclass(slots=True, eq=False)
class Table:
    """One table. ``settings`` are the further members of its description."""

    name: str
    arn: str
    hash_name: str
    sort_name: str | None
    kinds: dict[str, str]
    key_schema: list[Wire]
    created_ms: int
    settings: Wire = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ttl_attribute: str | None = None
    point_in_time: bool = False
    stream: Stream | None = None
    items: dict[Key, Wire] = field(default_factory=dict)
    sizes: dict[Key, int] = field(default_factory=dict)
    _order: list[tuple[Any, ...]] | None = None

    def __repr__(self) -> str:
        return f"<Table {self.arn}, {len(self.items)} items>"

    @property
    def key_names(self) -> list[str]:
        return [self.hash_name] if self.sort_name is None else [self.hash_name, self.sort_name]

    def key_of(self, item: Wire) -> Key:
        """Return the key of an item that is checked. Raises RefusedError where it has none."""
        if self.sort_name is None:
            return (self._key_part(item, self.hash_name),)
        return self._key_part(item, self.hash_name), self._key_part(item, self.sort_name)

    def exact_key(self, key: Any) -> tuple[Wire, Key]:
        """Return a request's Key as it is stored, and as ours. Raises RefusedError."""
        if not isinstance(key, dict) or key.keys() != set(self.key_names):
            raise invalid("The provided key element does not match the schema")
        stored = {name: checked_value(value)[0] for name, value in key.items()}
        return stored, self.key_of(stored)

    def check_indexed(self, item: Wire) -> None:
        """Hold an item's index keys to their types. Raises RefusedError."""
        for name, kind in self.kinds.items():
            value = item.get(name)
            if value is not None and value.get(kind, "") == "":
                raise invalid(
                    "One or more parameter values were invalid: Type mismatch or empty value "
                    f"for key {name} expected: {kind}"
                )

    def key_attributes(self, item: Wire) -> Wire:
        return {name: item[name] for name in self.key_names}

    def store(
        self, key: Key, new: Wire | None, size: int = 0, identity: Wire | None = None
    ) -> None:
        """Put an item in place of what is there, or take it away; nothing changes, no record."""
        old = self.items.get(key)
        if new is None:
            if old is None:
                return
            del self.items[key], self.sizes[key]
            if self._order is not None:
                del self._order[bisect_left(self._order, place_of(self, key))]
        else:
            if old is not None and same(old, new):
                return
            self.items[key] = new
            self.sizes[key] = size
            if old is None and self._order is not None:
                insort(self._order, place_of(self, key))
        if self.stream is not None and self.stream.enabled:
            keys = self.key_attributes(new or old or {})
            self.stream.append(crc32(key[0].encode()), keys, old, new, identity)

    def ordered(self) -> list[tuple[Any, ...]]:
        """Return the places of all items, in order: hash, partition key, sort key, key."""
        if self._order is None:
            self._order = sorted(place_of(self, key) for key in self.items)
        return self._order

    def contents(self) -> list[Wire]:
        """Return all items, in the order of a scan."""
        return [self.items[place[-1]] for place in self.ordered()]

    def expire(self, now_ms: int) -> int:
        """Remove the items that have expired, as the service's TTL does, and return how many."""
        if self.ttl_attribute is None:
            return 0
        name, now = self.ttl_attribute, now_ms // 1000
        due = [
            key
            for key, item in self.items.items()
            if now - TTL_AGE_S_MAX < Decimal(item.get(name, {}).get("N", "Infinity")) <= now
        ]
        for key in due:
            self.store(key, None, identity=TTL_IDENTITY)
        return len(due)

    def _key_part(self, item: Wire, name: str) -> str:
        value = item.get(name)
        kind = self.kinds[name]
        if value is None:
            raise invalid(
                f"One or more parameter values were invalid: Missing the key {name} in the item"
            )
        if kind not in value:
            raise invalid(
                "One or more parameter values were invalid: Type mismatch for key "
                f"{name} expected: {kind} actual: {next(iter(value))}"
            )
        text: str = value[kind]
        if not text:
            raise invalid(
                "One or more parameter values are not valid. The AttributeValue for a key "
                f"attribute cannot contain an empty string value. Key: {name}"
            )
        limit = PARTITION_KEY_BYTES_MAX if name == self.hash_name else SORT_KEY_BYTES_MAX
        if len(text) * 4 > limit and _key_bytes(kind, text) > limit:
            raise invalid(
                f"One or more parameter values were invalid: Size of {name} has exceeded the "
                f"maximum size limit of {limit} bytes"
            )
        return text


def place_of(table: Table, key: Key) -> tuple[Any, ...]:
    """Return where an item with this key stands among the others, there or not."""
    sort = sort_value(table, key[1]) if len(key) > 1 else ""
    return crc32(key[0].encode()), key[0], sort, key


def sort_value(table: Table, text: str) -> Any:
    """Return what orders a sort key within its partition."""
    match table.kinds[table.sort_name or ""]:
        case "N":
            return Decimal(text)
        case "B":
            return b64decode(text)
        case _:
            return text


def _key_bytes(kind: str, text: str) -> int:
    return len(b64decode(text)) if kind == "B" else len(text.encode())


@dataclass(slots=True)
class Region:
    """One account's tables and streams in one region."""

    name: str
    account: str
    clock: Clock
    chance: Random
    shards: int
    unprocessed: Callable[[str, Wire], bool] | None = None
    tables: dict[str, Table] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    tokens: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def table(self, name: Any) -> Table:
        """Return a table by its name or ARN. Raises NotFoundError."""
        if isinstance(name, str) and (found := self.tables.get(name)) is not None:
            return found
        if isinstance(name, str) and name.startswith(self.arn("")):
            name = name.removeprefix(self.arn(""))
        if not isinstance(name, str) or not name:
            raise invalid("TableName is needed")
        if name not in self.tables:
            raise not_found(f"Table: {name} not found")
        return self.tables[name]

    def arn(self, table: str) -> str:
        return f"arn:aws:dynamodb:{self.name}:{self.account}:table/{table}"

    def stream(self, arn: Any) -> Stream:
        """Return a stream by its ARN. Raises NotFoundError."""
        if arn not in self.streams:
            raise not_found(f"Stream: {arn} not found")
        return self.streams[arn]

    def streams_in_order(self) -> Iterator[Stream]:
        yield from map(itemgetter(1), sorted(self.streams.items()))
