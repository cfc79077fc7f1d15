"""Streams: their shards and iterators, and what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.contracts.conftest import TableHelper

from dynamirror.core.values import Wire
from dynamirror.errors import InUseError, NotFoundError, RefusedError, ServiceError

KEY = {"id": {"S": "a"}}


def change(table: TableHelper, count: int) -> list[str]:
    """Write so many versions of one item, and return the sequence numbers of all records."""
    for version in range(count):
        table.put({**KEY, "v": {"N": str(version)}})
    table.service.wait(lambda: len(table.writes()) == count)
    return [one["dynamodb"]["SequenceNumber"] for one in table.records()]


def read(table: TableHelper, iterator: str, **request: int) -> tuple[list[str], Wire]:
    answer = table.service.ask("GetRecords", ShardIterator=iterator, **request)
    return [one["dynamodb"]["SequenceNumber"] for one in answer["Records"]], answer


def shard_with_records(table: TableHelper, stream_arn: str | None = None) -> str:
    """Return the shard that the changes of the item are in."""
    for shard in table.shards(stream_arn):
        iterator = table.iterator(shard["ShardId"], "TRIM_HORIZON", stream_arn=stream_arn)
        if read(table, iterator)[0]:
            return str(shard["ShardId"])
    raise AssertionError("no shard has records")


def test_an_iterator_starts_where_it_says(table: TableHelper) -> None:
    """At the oldest record, at one, after one, or at the end of now."""
    numbers = change(table, 4)
    shard = shard_with_records(table)

    for kind, number, expected in (
        ("TRIM_HORIZON", None, numbers),
        ("AT_SEQUENCE_NUMBER", numbers[1], numbers[1:]),
        ("AFTER_SEQUENCE_NUMBER", numbers[1], numbers[2:]),
        ("AFTER_SEQUENCE_NUMBER", numbers[-1], []),
        ("LATEST", None, []),
    ):
        found, answer = read(table, table.iterator(shard, kind, number))
        assert found == expected
        assert "NextShardIterator" in answer


def test_reading_goes_on_where_it_stopped(table: TableHelper) -> None:
    """Each answer has the iterator for the next, also when there was nothing to read."""
    iterators = [table.iterator(shard["ShardId"], "LATEST") for shard in table.shards()]
    numbers: list[str] = []

    def goes_on(**request: int) -> bool:
        before = len(numbers)
        for place, iterator in enumerate(iterators):
            found, answer = read(table, iterator, **request)
            iterators[place] = answer["NextShardIterator"]
            numbers.extend(found)
        return len(numbers) > before

    for version in range(5):
        goes_on()
        table.put({**KEY, "v": {"N": str(version)}})
    while goes_on(Limit=1):
        pass

    assert numbers == [one["dynamodb"]["SequenceNumber"] for one in table.records()]
    assert len(table.writes()) == 5


def test_an_iterator_may_be_used_again(table: TableHelper) -> None:
    """An answer that was lost can be asked for once more."""
    numbers = change(table, 3)
    iterator = table.iterator(shard_with_records(table), "TRIM_HORIZON")

    assert read(table, iterator)[0] == read(table, iterator)[0] == numbers


def test_records_are_limited(table: TableHelper) -> None:
    """No more than the limit, which is at least 1 and at most 1,000."""
    numbers = change(table, 5)
    iterator = table.iterator(shard_with_records(table), "TRIM_HORIZON")

    assert read(table, iterator, Limit=2)[0] == numbers[:2]
    with pytest.raises(ServiceError):
        read(table, iterator, Limit=0)
    try:
        read(table, iterator, Limit=1001)
    except ServiceError:
        enforced = True
    else:
        enforced = False
    assert enforced is table.service.profile.records_limit_enforced


def test_one_answer_holds_1_mb(table: TableHelper) -> None:
    """Large records come in several answers, unless a limit is all that ends one; none lost."""
    for version in range(5):
        table.put({**KEY, "v": {"N": str(version)}, "big": {"S": "x" * 390_000}})
    table.service.wait(lambda: len(table.writes()) == 5)
    numbers = [one["dynamodb"]["SequenceNumber"] for one in table.records()]
    iterator = table.iterator(shard_with_records(table), "TRIM_HORIZON")

    found, answer = read(table, iterator)

    assert found
    assert (len(found) < 5) is table.service.profile.records_fill_pages
    while more := read(table, answer["NextShardIterator"])[0]:
        found += more
        _, answer = read(table, answer["NextShardIterator"])
    assert found == numbers


def test_a_disabled_stream_is_read_to_its_end(table: TableHelper) -> None:
    """Its shards are closed, its records stay, and the last answer has no next iterator."""
    numbers = change(table, 3)
    arn = table.stream_arn

    table.ask("UpdateTable", StreamSpecification={"StreamEnabled": False})
    description = table.service.ask("DescribeStream", StreamArn=arn)["StreamDescription"]
    shard = shard_with_records(table, arn)
    found, answer = read(table, table.iterator(shard, "TRIM_HORIZON", stream_arn=arn))

    assert description["StreamStatus"] in ("DISABLING", "DISABLED")
    ends = [one["SequenceNumberRange"].get("EndingSequenceNumber") for one in table.shards(arn)]
    assert all(ends)
    assert found == numbers
    while answer.get("NextShardIterator"):
        found, answer = read(table, answer["NextShardIterator"])
        assert found == []
    after = table.iterator(shard, "AFTER_SEQUENCE_NUMBER", numbers[-1], stream_arn=arn)
    assert read(table, after)[0] == []


def test_writes_while_disabled_leave_no_record(table: TableHelper) -> None:
    """What happens between two streams is in neither."""
    change(table, 1)
    old = table.stream_arn
    table.ask("UpdateTable", StreamSpecification={"StreamEnabled": False})
    table.put({**KEY, "v": {"S": "unseen"}})
    table.ask(
        "UpdateTable",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    new = table.stream_arn

    assert new != old
    assert len(table.writes(old)) == 1
    table.put({**KEY, "v": {"S": "seen"}})
    (record,) = table.changes_of(KEY)
    assert record["dynamodb"]["OldImage"] == {**KEY, "v": {"S": "unseen"}}


def test_streams_are_listed(table: TableHelper) -> None:
    """The present one, and for a day the one before it."""
    old = table.stream_arn
    table.ask("UpdateTable", StreamSpecification={"StreamEnabled": False})
    table.ask(
        "UpdateTable", StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    )

    listed = [one["StreamArn"] for one in table.ask("ListStreams")["Streams"]]

    assert table.stream_arn in listed
    assert (old in listed) is table.service.profile.old_streams_listed


@pytest.mark.parametrize("enabled", [True, False])
def test_a_stream_is_switched_once(
    make_table: Callable[..., TableHelper], *, enabled: bool
) -> None:
    """On when on and off when off are refused."""
    view_type = "NEW_IMAGE"
    table = make_table(view_type=view_type if enabled else None)
    wanted: Wire = {"StreamEnabled": enabled} | ({"StreamViewType": view_type} if enabled else {})

    try:
        table.ask("UpdateTable", StreamSpecification=wanted)
    except (RefusedError, InUseError):
        refused = True
    else:
        refused = False

    assert refused is table.service.profile.switching_twice_refused


def test_an_arn_names_the_stream(table: TableHelper) -> None:
    """arn:aws:dynamodb:<region>:<account>:table/<name>/stream/<label>, or as the server does."""
    profile = table.service.profile
    described = table.service.described(table.name)

    arn, label = described["LatestStreamArn"], described["LatestStreamLabel"]

    assert re.fullmatch(profile.table_arn, described["TableArn"])
    if profile.stream_arn is None:
        assert arn == f"{described['TableArn']}/stream/{label}"
    else:
        assert re.fullmatch(profile.stream_arn, arn)
    assert described["StreamSpecification"] == {
        "StreamEnabled": True,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }


def test_what_is_not_there_is_not_found(table: TableHelper) -> None:
    """A stream or a shard that doesn't exist."""
    known = table.stream_arn
    unknown = known[:-1] + ("1" if known.endswith("0") else "0")

    with pytest.raises(NotFoundError):
        table.shards(unknown)
    with pytest.raises(NotFoundError):
        table.iterator("shardId-00000000000000000001-0000000a", "TRIM_HORIZON")
    with pytest.raises(ServiceError):
        read(table, "no iterator")
