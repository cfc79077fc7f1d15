from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.regions import BACKOFF, TARGET, Regions
from tests.engine.world import change

from dynamirror.core.facts import Report
from dynamirror.core.progress import Position
from dynamirror.core.values import encode
from dynamirror.engine.copying.positions import Done
from dynamirror.engine.copying.shares import Share
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.stream.look import look
from dynamirror.errors import Exit, NotFoundError
from dynamirror.observe.judging import judged
from dynamirror.observe.status import State, Status

HOUR_MS = 3_600_000


def parking_of(regions: Regions) -> Parking:
    return Parking(
        regions.us,
        regions.mirror.parked,
        "stories",
        1,
        clock=lambda: regions.now_ms,
        backoff=BACKOFF,
    )


def status(regions: Regions, is_dead: Callable[[str], bool] = lambda _: False) -> Status:
    facts = asyncio.run(
        look(
            regions.mirror,
            regions.us,
            regions.checkpoints(),
            parking_of(regions),
            now_ms=regions.now_ms,
            is_dead=is_dead,
            backoff=BACKOFF,
        )
    )
    return judged(facts)


def ready() -> Regions:
    regions = Regions()
    regions.source()
    regions.init()
    return regions


def stream_of(regions: Regions) -> str:
    return str(regions.described(regions.us, "Stories")["LatestStreamArn"])


def shard_of(regions: Regions) -> str:
    answer = regions.us.perform("DescribeStream", {"StreamArn": stream_of(regions)})
    return str(answer["StreamDescription"]["Shards"][0]["ShardId"])


async def _begin(regions: Regions, position: Position | None) -> None:
    checkpoints = regions.checkpoints()
    await checkpoints.enroll(await checkpoints.load(), stream_of(regions), regions.now_ms)
    if position:
        await checkpoints.save(1, shard_of(regions), position, regions.now_ms)


def started(position: Position | None = None) -> Regions:
    """Return regions whose stream has been read up to a position, now."""
    regions = ready()
    asyncio.run(_begin(regions, position or Position(41, read_until_ms=regions.now_ms)))
    return regions


def hold(regions: Regions, **told: Any) -> None:
    report = Report(
        **{
            **dict.fromkeys(Report.__struct_fields__, 0),
            "state": "following",
            "trouble": [],
            "links": [],
            "shards": [],
            "at_ms": regions.now_ms,
            **told,
        }
    )
    until_ms, text = regions.now_ms + 30_000, encode(report).decode()
    asyncio.run(regions.checkpoints().put("#lease", owner="me", until_ms=until_ms, report=text))


def park(regions: Regions, *keys: str) -> None:
    async def main() -> None:
        for number, key in enumerate(keys):
            await parking_of(regions).park(change(key, number), TARGET.name, None)

    asyncio.run(main())


def test_before_init_a_mirror_is_not_started() -> None:
    """Without tables of ours there is nothing to report but that."""
    regions = Regions()
    regions.source()

    told = status(regions)

    assert told.state is State.NEW
    assert told.exit is Exit.DONE
    assert told.hint


def test_a_missing_source_is_an_error() -> None:
    """Status says which table is not there, rather than that nothing runs."""
    with pytest.raises(NotFoundError, match="no table us-east-1/Stories"):
        status(Regions())


def test_a_live_engine_tells_its_lag() -> None:
    """State and lag are what the holder of the lease reports, who may well be behind."""
    regions = started()
    hold(regions, lag_ms=2 * HOUR_MS, applied=7)

    told = status(regions)

    assert (told.state, told.held_by) == (State.BEHIND, "me")
    assert (told.lag_ms, told.lag_at_most, told.hours_left) == (2 * HOUR_MS, False, 22.0)
    assert told.report is not None
    assert told.report.applied == 7


def test_a_paused_engine_is_paused() -> None:
    """A pause is told as such."""
    regions = started()
    hold(regions, state="paused")

    assert status(regions).state is State.PAUSED


@pytest.mark.parametrize("how", ["expired", "dead"])
def test_an_engine_that_is_gone_is_stopped(how: str) -> None:
    """A lease that ran out, or whose process has ended, is nobody's: never a green idle."""
    regions = started()
    hold(regions)
    if how == "expired":
        regions.now_ms += 31_000

    told = status(regions, is_dead=lambda owner: how == "dead" and owner == "me")

    assert told.state is State.STOPPED
    assert told.held_by is None
    assert told.lag_at_most


def test_a_stopped_mirrors_time_runs_out() -> None:
    """Nobody knows what came in since: the lag is at most the time since it was read."""
    regions = started()
    regions.now_ms += 20 * HOUR_MS

    told = status(regions)

    assert told.state is State.STOPPED
    assert (told.lag_ms, told.hours_left) == (20 * HOUR_MS, 4.0)
    assert told.exit is Exit.DONE


def test_a_position_older_than_the_stream_keeps_is_history_lost() -> None:
    """After 24 hours unread, changes may be gone."""
    regions = started()
    regions.now_ms += 25 * HOUR_MS

    told = status(regions)

    assert (told.state, told.exit) == (State.LOST, Exit.HISTORY_LOST)
    assert "25 hours ago" in str(told.why)
    assert "backfill CONFIG --mirror stories" in str(told.hint)


def test_a_shard_read_to_its_end_does_not_age() -> None:
    """Time runs against what is unread only: here the children of a closed shard."""
    regions = started()
    shard = shard_of(regions)
    stream = regions.us.table("Stories").stream
    assert stream is not None
    stream.split(shard)
    done = Position(41, done=True, read_until_ms=regions.now_ms)
    asyncio.run(regions.checkpoints().save(1, shard, done, regions.now_ms))
    regions.now_ms += HOUR_MS

    assert status(regions).lag_ms == HOUR_MS


def test_a_recorded_loss_stays() -> None:
    """What an engine found to be lost is told until a backfill makes up for it."""
    regions = started()

    async def lose() -> None:
        checkpoints = regions.checkpoints()
        await checkpoints.lose(await checkpoints.load(), "shard 7 was trimmed")

    asyncio.run(lose())
    hold(regions)

    told = status(regions)

    assert (told.state, told.why) == (State.LOST, "shard 7 was trimmed")


def test_a_recreated_stream_is_history_lost() -> None:
    """However quiet all is: a stream that isn't the one we followed has a gap before it."""
    regions = started()
    hold(regions)
    off = {"StreamEnabled": False}
    on = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    for specification, why in ((off, "turned off"), (on, "re-created")):
        regions.us.perform(
            "UpdateTable", {"TableName": "Stories", "StreamSpecification": specification}
        )
        told = status(regions)

        assert told.exit is Exit.HISTORY_LOST
        assert why in str(told.why)
        regions.now_ms += 1_000


def test_a_report_of_another_version_does_no_harm() -> None:
    """While versions are mixed, the state is still told."""
    regions = started()
    until_ms = regions.now_ms + 30_000
    asyncio.run(regions.checkpoints().put("#lease", owner="me", until_ms=until_ms, report="{}"))

    told = status(regions)

    assert (told.state, told.report, told.held_by) == (State.OK, None, "me")


def test_parked_keys_are_a_finding() -> None:
    """Parked keys are counted from the table itself, each once, running or not."""
    regions = started()
    park(regions, "a", "b")

    told = status(regions)

    assert (told.parked_keys, told.exit) == (2, Exit.FINDING)
    assert "redrive" in str(told.hint)


def test_a_stream_that_a_function_applies_is_not_judged_by_its_age() -> None:
    """Lambda keeps its position itself: nothing here says how far it is, or that it isn't."""
    regions = ready()

    async def enroll() -> None:
        checkpoints = regions.checkpoints()
        await checkpoints.enroll(await checkpoints.load(), stream_of(regions), regions.now_ms)

    asyncio.run(enroll())
    regions.now_ms += 30 * HOUR_MS

    told = status(regions)

    assert (told.state, told.exit) == (State.ELSEWHERE, Exit.DONE)
    assert (told.lag_ms, told.hours_left) == (None, None)
    assert "Lambda" in str(told.hint)


def test_a_backfill_underway_tells_how_far_it_is() -> None:
    """Items of the parts of this begin count; those of an earlier one don't."""
    regions = started()
    for number in range(5):
        regions.put({"id": {"S": str(number)}})

    async def copy() -> None:
        checkpoints = regions.checkpoints()
        share = Share(checkpoints, (1, 2), 1, ["eu-west-1"])
        await share.begin(regions.now_ms - 9, 0)
        await share.positions.save("old", Done(items=7), regions.now_ms)
        await share.begin(regions.now_ms, 0, restart=True)
        await share.positions.save("0/4", Done(items=2), regions.now_ms)
        await share.positions.save("2/4", Done(items=1), regions.now_ms)

    asyncio.run(copy())
    told = status(regions).backfill

    assert told is not None
    assert (told.items, told.shares, told.finished_ms) == (3, 2, None)
    assert told.began_ms == regions.now_ms
