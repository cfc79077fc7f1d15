"""The shards of a stream and which of them may be read now.

A shard is read only after its parent has been read to its end, or its parent is gone: only so do
the changes of one item, which move from a parent to its children when shards split or roll over,
keep their order. Source: Amazon DynamoDB Developer Guide, 'Reading and processing a stream'.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec


class Shard(msgspec.Struct, frozen=True):
    """One shard, as DescribeStream tells of it."""

    shard_id: str
    parent: str | None = None
    closed: bool = False
    """Whether it has an end; a closed shard gets no further records."""


class StreamPage(msgspec.Struct, frozen=True):
    """One answer of DescribeStream."""

    status: str
    shards: list[Shard]
    last_shard_id: str | None
    """Where the next page starts; None: this was the last."""


def stream_page_of(answer: bytes) -> StreamPage:
    """Return what an answer of DescribeStream tells."""
    stream = _decode(answer).StreamDescription
    shards = [
        Shard(
            shard.ShardId,
            shard.ParentShardId,
            shard.SequenceNumberRange.EndingSequenceNumber is not None,
        )
        for shard in stream.Shards
    ]
    return StreamPage(stream.StreamStatus, shards, stream.LastEvaluatedShardId)


def readable(shards: Mapping[str, Shard], done: Collection[str]) -> list[str]:
    """Return the shards that may be read now, in the order in which they were listed.

    ``done`` are those read to their end. A parent that isn't among ``shards`` has been trimmed:
    whatever it held is out of reach, and its children are roots.
    """
    return [
        shard.shard_id
        for shard in shards.values()
        if shard.shard_id not in done
        and (shard.parent is None or shard.parent not in shards or shard.parent in done)
    ]


def merged(known: Mapping[str, Shard], listed: Iterable[Shard]) -> dict[str, Shard]:
    """Return all shards ever listed, each as last seen.

    DescribeStream may list a child before its parent or leave one out between two pages (the
    listing is eventually consistent), so what was once seen is kept while there may be need of it.
    """
    return {**known, **{shard.shard_id: shard for shard in listed}}


class _Range(msgspec.Struct, frozen=True):
    EndingSequenceNumber: str | None = None


class _Shard(msgspec.Struct):
    ShardId: str
    ParentShardId: str | None = None
    SequenceNumberRange: _Range = _Range()


class _Stream(msgspec.Struct):
    StreamStatus: str = "ENABLED"
    Shards: list[_Shard] = []
    LastEvaluatedShardId: str | None = None


class _Answer(msgspec.Struct):
    StreamDescription: _Stream


_decode = msgspec.json.Decoder(_Answer).decode
