"""Whether changes may be missing between what was applied and what the stream still tells.

The one judgement of that for everybody who looks from outside: status, check, backfill. An engine
that runs finds out by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynamirror.core.limits import SHARDS_PER_PAGE_MAX, STREAM_RETENTION_S
from dynamirror.core.lineage import Shard, stream_page_of
from dynamirror.core.values import Wire, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.stream.checkpoints import Known
from dynamirror.errors import HistoryLostError
from dynamirror.ports import DynamoDB

RETENTION_MS = STREAM_RETENTION_S * 1_000

MS_PER_HOUR = 3_600_000


def epoch_of(known: Known, stream: str) -> int:
    """Return the place of a stream among its table's streams, counted from 1.

    Raises HistoryLostError where changes may be missing between what was applied and this stream.
    """
    if known.lost is not None:
        raise HistoryLostError(known.lost)
    if stream != known.streams[-1]:
        raise HistoryLostError(
            f"the table's stream was re-created: {known.streams[-1]} was followed, "
            f"now it is {stream}; changes between the two are in neither"
        )
    return len(known.streams)


def read_elsewhere(known: Known) -> bool:
    """Tell whether nobody who keeps positions has read the stream, as where a function does."""
    return bool(known.streams) and not known.positions and known.lease is None


def oldest_ms(known: Known, shards: Sequence[Shard] | None) -> int | None:
    """Return since when changes may be waiting: the least of all shards not read to their end.

    None where that isn't known. A shard we haven't met holds nothing older than what was read of
    its parent. ``shards`` None: they were not listed.
    """
    if not known.streams or read_elsewhere(known):
        return None
    waiting = [position.read_until_ms for position in known.positions.values() if not position.done]
    for shard in shards or ():
        if shard.shard_id not in known.positions:
            parent = known.positions.get(shard.parent or "")
            since_ms = known.enrolled_ms if parent is None else parent.read_until_ms
            waiting.append(max(known.enrolled_ms, since_ms))
    if not waiting and shards is not None:
        waiting = [position.read_until_ms for position in known.positions.values()]
        waiting = waiting or [known.enrolled_ms]
    return min(waiting, default=None)


def why_lost(
    known: Known, stream: str | None, shards: Sequence[Shard] | None, now_ms: int
) -> str | None:
    """Return why history is lost, given the table's stream now; None: it isn't."""
    if known.lost is not None:
        return known.lost
    if not known.streams:
        return None
    if stream is None:
        return "the source's stream was turned off: changes made since then are in no stream"
    if stream != known.streams[-1]:
        return (
            f"the stream was re-created: {known.streams[-1]} was followed, now it is {stream};"
            " changes between the two are in neither"
        )
    since_ms = oldest_ms(known, shards)
    if since_ms is not None and now_ms - since_ms > RETENTION_MS:
        hours = (now_ms - since_ms) / MS_PER_HOUR
        return (
            f"the stream was last read {hours:.0f} hours ago and keeps 24: changes since then may"
            " have been trimmed"
        )
    return None


async def shards_of(api: DynamoDB, stream: str | None, backoff: Backoff) -> list[Shard]:
    """List a stream's shards; none where there is no stream."""
    shards: list[Shard] = []
    request: Wire = {"StreamArn": stream, "Limit": SHARDS_PER_PAGE_MAX}
    while stream is not None:
        body = encode(request)
        page = stream_page_of(
            await persist(lambda: api.call("DescribeStream", body), backoff)  # noqa: B023
        )
        shards += page.shards
        if page.last_shard_id is None:
            break
        request["ExclusiveStartShardId"] = page.last_shard_id
    return shards
