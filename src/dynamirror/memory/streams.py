"""The stream operations: ListStreams, DescribeStream, GetShardIterator, GetRecords."""

from __future__ import annotations

from itertools import islice

import msgspec

from dynamirror.core.limits import GET_RECORDS_MAX, SHARDS_PER_PAGE_MAX
from dynamirror.core.values import Wire
from dynamirror.errors import ThrottledError
from dynamirror.memory.lineage import Shard, Stream
from dynamirror.memory.refusals import expired, invalid, not_found, refusal, trimmed
from dynamirror.memory.tables import Region

ITERATOR_MS_MAX = 15 * 60 * 1000
"""How long a shard iterator lives (API: GetShardIterator)."""

ANSWER_BYTES_MAX = 1024 * 1024
STREAMS_PER_PAGE_MAX = 100


def list_streams(region: Region, request: Wire) -> Wire:
    table, start = request.get("TableName"), request.get("ExclusiveStartStreamArn", "")
    limit = _limit(request, STREAMS_PER_PAGE_MAX)
    found = [
        stream
        for stream in region.streams_in_order()
        if stream.arn > start and table in (None, stream.table)
    ]
    answer: Wire = {
        "Streams": [
            {"StreamArn": one.arn, "StreamLabel": one.label, "TableName": one.table}
            for one in found[:limit]
        ]
    }
    if len(found) > limit:
        answer["LastEvaluatedStreamArn"] = found[limit - 1].arn
    return answer


def describe_stream(region: Region, request: Wire) -> Wire:
    stream = region.stream(request["StreamArn"])
    start = request.get("ExclusiveStartShardId", "")
    limit = _limit(request, SHARDS_PER_PAGE_MAX)
    parent = request.get("ShardFilter", {}).get("ShardId")
    found = [
        shard
        for name, shard in sorted(stream.shards.items())
        if name > start and parent in (None, shard.parent)
    ]
    description: Wire = {
        "CreationRequestDateTime": stream.at_ms // 1000,
        "KeySchema": stream.key_schema,
        "Shards": [shard.described() for shard in found[:limit]],
        "StreamArn": stream.arn,
        "StreamLabel": stream.label,
        "StreamStatus": "ENABLED" if stream.enabled else "DISABLED",
        "StreamViewType": stream.view_type,
        "TableName": stream.table,
    }
    if len(found) > limit:
        description["LastEvaluatedShardId"] = found[limit - 1].id
    return {"StreamDescription": description}


def get_shard_iterator(region: Region, request: Wire) -> Wire:
    stream = region.stream(request["StreamArn"])
    if request["ShardId"] not in stream.shards:
        raise not_found(f"Shard: {request['ShardId']} in stream: {stream.arn} not found")
    shard = stream.shards[request["ShardId"]]
    match request["ShardIteratorType"]:
        case "TRIM_HORIZON":
            position = shard.trimmed
        case "LATEST":
            position = shard.newest
        case "AT_SEQUENCE_NUMBER":
            position = shard.position_of(_number(shard, request))
        case "AFTER_SEQUENCE_NUMBER":
            position = shard.position_of(_number(shard, request) + 1)
        case other:
            raise invalid(f"{other} is no type of a shard iterator")
    return {"ShardIterator": _iterator(region, stream, shard, position)}


def get_records(region: Region, request: Wire) -> Wire:
    limit = request.get("Limit", GET_RECORDS_MAX)
    if limit > GET_RECORDS_MAX:
        raise refusal(
            ThrottledError, "LimitExceededException", f"Limit is at most {GET_RECORDS_MAX}"
        )
    if limit < 1:
        raise invalid("Limit is at least 1")
    stream, shard, position = _resumed(region, request["ShardIterator"])
    if position < shard.trimmed:
        raise trimmed()
    records: list[msgspec.Raw] = []
    total = 0
    for record in islice(shard.records, position - shard.trimmed, None):
        written = stream.written(record)
        total += len(written)
        if len(records) == limit or (total > ANSWER_BYTES_MAX and records):
            break
        records.append(msgspec.Raw(written))
    position += len(records)
    answer: Wire = {"Records": records}
    if shard.end is None or position < shard.newest:
        answer["NextShardIterator"] = _iterator(region, stream, shard, position)
    return answer


def _number(shard: Shard, request: Wire) -> int:
    text = request.get("SequenceNumber", "")
    if not (text.isascii() and text.isdigit()):
        raise invalid("SequenceNumber is a text of digits")
    number = int(text)
    if number < shard.start or number > shard.last:
        raise invalid(f"Sequence number {text} is not in {shard.id}")
    if number < shard.horizon:
        raise trimmed()
    return number


def _iterator(region: Region, stream: Stream, shard: Shard, position: int) -> str:
    return f"{stream.arn}|1|{shard.id}|{position}|{region.clock()}"


def _resumed(region: Region, iterator: str) -> tuple[Stream, Shard, int]:
    try:
        arn, _, shard_id, position, issued_ms = iterator.split("|")
        stream = region.streams[arn]
        shard = stream.shards.get(shard_id) or stream.vanished[shard_id]
        place, age_ms = int(position), region.clock() - int(issued_ms)
    except (AttributeError, KeyError, ValueError):
        raise invalid("Invalid ShardIterator") from None
    if age_ms > ITERATOR_MS_MAX:
        raise expired()
    return stream, shard, place


def _limit(request: Wire, limit_max: int) -> int:
    limit = request.get("Limit", limit_max)
    if not isinstance(limit, int) or not 1 <= limit <= limit_max:
        raise invalid(f"Limit is 1 to {limit_max}")
    return limit
