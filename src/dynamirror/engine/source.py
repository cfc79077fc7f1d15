"""What we must know of a table before we read its stream or copy it."""

from __future__ import annotations

import msgspec

from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.errors import NotFoundError
from dynamirror.ports import DynamoDB


class Table(msgspec.Struct, frozen=True):
    """A table, as DescribeTable tells of it."""

    description: Wire
    """The answer's ``Table``, in wire form."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key attributes' names, partition key first."""
        schema = sorted(self.description["KeySchema"], key=lambda part: part["KeyType"] != "HASH")
        return tuple(part["AttributeName"] for part in schema)

    @property
    def key_types(self) -> tuple[str, ...]:
        """Their types: S, N or B."""
        types = {
            attribute["AttributeName"]: attribute["AttributeType"]
            for attribute in self.description["AttributeDefinitions"]
        }
        return tuple(types[name] for name in self.key_names)

    @property
    def stream(self) -> str | None:
        """The ARN of its stream; None if it has none that is enabled."""
        enabled = self.description.get("StreamSpecification", {}).get("StreamEnabled", False)
        return self.description.get("LatestStreamArn") if enabled else None

    @property
    def view_type(self) -> str | None:
        """Which images its stream carries."""
        view: str | None = self.description.get("StreamSpecification", {}).get("StreamViewType")
        return view

    @property
    def items(self) -> int:
        """About how many items it has; the service updates this every six hours."""
        return int(self.description.get("ItemCount", 0))

    @property
    def bytes(self) -> int:
        """About how large it is; the service updates this every six hours."""
        return int(self.description.get("TableSizeBytes", 0))

    @property
    def active(self) -> bool:
        """Whether it can be used."""
        return bool(self.description.get("TableStatus") == "ACTIVE")


async def describe(api: DynamoDB, table: str, backoff: Backoff) -> Table | None:
    """Return what a table is like, or None if there is none of that name."""
    request = encode({"TableName": table})
    try:
        answer = await persist(lambda: api.call("DescribeTable", request), backoff)
    except NotFoundError:
        return None
    return Table(decode(answer)["Table"])


async def described(api: DynamoDB, table: str, backoff: Backoff) -> Table:
    """Return what a table is like; raises NotFoundError, naming it, if there is none."""
    found = await describe(api, table, backoff)
    if found is None:
        raise NotFoundError("ResourceNotFoundException", f"there is no table {table!r} here")
    return found


async def stream_of(api: DynamoDB, table: str, backoff: Backoff) -> str:
    """Return the ARN of a table's stream.

    Raises NotFoundError if it has none that carries both images.
    """
    found = await described(api, table, backoff)
    if found.stream is None:
        raise NotFoundError("StreamDisabled", f"table {table!r} has no enabled stream")
    if found.view_type != "NEW_AND_OLD_IMAGES":
        raise NotFoundError(
            "StreamViewType",
            f"the stream of table {table!r} carries {found.view_type}, not NEW_AND_OLD_IMAGES; "
            "a view type can't be changed: disable the stream and run `dynamirror init`",
        )
    return found.stream
