"""The whole engine between servers that do otherwise than DynamoDB, imitated in memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from tests.engine.comparing.test_verify import compared
from tests.engine.copying.test_backfill import copied
from tests.engine.stream.test_barrier import Waiting, running
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import CHECKPOINTS, SOURCE, TARGET, World
from tests.imitation import Imitation, LocalImitation

from dynamirror.config.model import Deletes, Guard, OneWay
from dynamirror.core.record import Page, StreamRecord
from dynamirror.core.servers import Kind, denied
from dynamirror.engine.comparing import verify
from dynamirror.engine.source import Table
from dynamirror.engine.stream import shard
from dynamirror.engine.stream.shard import reading_of
from dynamirror.engine.tables.findings import Severity
from dynamirror.engine.tables.servers import of_isolation, of_server
from dynamirror.memory.dynamodb import MemoryDynamoDB
from dynamirror.ports import DynamoDB

MIRROR = OneWay(name="stories", source=SOURCE, targets=(TARGET,))


def alternator(world: World, *, seed: int = 0, shards: int = 8, after_s: float = 10.0) -> Imitation:
    """Put the imitation before a world's source, and say so in its mirror."""
    imitation = Imitation(
        world.source, clock=now_ms, seed=seed, shards=shards, visible_after_s=after_s
    )

    def connect(db: MemoryDynamoDB) -> DynamoDB:
        return imitation if db is world.source else db

    world.connect = connect
    source = replace(SOURCE, server=Kind.ALTERNATOR, endpoint_url="http://localhost:8000")
    world.mirror = replace(world.mirror, source=source)
    return imitation


@pytest.mark.parametrize("declared", [Kind.DYNAMODB_LOCAL, Kind.COMPATIBLE])
def test_where_segments_mean_nothing_a_table_is_read_once(
    declared: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backfill copies and a comparison reads each item once, not once for each segment; said to
    be another server, it is the same many times over, and no less right.
    """
    monkeypatch.setattr(verify, "SEGMENT_BYTES", 512)

    async def main() -> tuple[int, int, bool]:
        world = World(shards=2)
        world.connect = LocalImitation
        source, target = (replace(one, server=declared) for one in (SOURCE, TARGET))
        world.mirror = replace(world.mirror, source=source, targets=(target,))
        for number in range(50):
            world.put(f"key {number}", number)
        world.stream.trim(now_ms() + 1)
        told = await copied(world)
        found = await compared(world)
        assert world.differences() == []
        return told.items, found.items, found.equal

    copies, compared_, equal = run(main)
    once = declared is Kind.DYNAMODB_LOCAL
    assert (copies == 50) is once
    assert (compared_ == 50) is once
    assert equal


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("guard", [Guard.ORDER, Guard.ITEM])
def test_a_source_that_names_events_and_counts_records_otherwise(guard: Guard, seed: int) -> None:
    """Pairs, records of nothing, wrong names, late visibility: what ``--once`` leaves is equal."""

    async def main() -> tuple[list[str], int]:
        world = World(guard, seed=seed)
        imitation = alternator(world, seed=seed)
        for _ in range(3):
            world.write_at_random(60, 9)
            await asyncio.wait_for(world.consumer().run(once=True), 3_600)
        return world.differences(), imitation.pairs

    differences, pairs = run(main)
    assert differences == []
    assert pairs > 20


def test_once_waits_for_what_the_stream_holds_back() -> None:
    """A change written just before is mirrored, though it can't be read for ten seconds yet."""

    async def main() -> list[str]:
        world = World()
        alternator(world)
        world.put("a", 1)
        await asyncio.sleep(30)
        world.put("a", 2)
        await world.consumer().run(once=True)
        return world.differences()

    assert run(main) == []


def test_drained_and_equal_wait_for_what_the_stream_holds_back() -> None:
    """A change written just before can't be read for ten seconds yet: neither the barrier nor a
    comparison may speak before it had its time.
    """

    async def main() -> tuple[list[str], bool]:
        world = World()
        alternator(world)
        world.put("a", 1)
        async with running(world.consumer()):
            await asyncio.sleep(60)
            world.put("a", 2)
            standing = await Waiting(world)()
            assert standing.drained
            lacking = world.differences()
            await asyncio.sleep(60)
            world.put("a", 3)
            equal = (await compared(world)).equal
        return lacking, equal

    assert run(main) == ([], True)


def test_no_target_sees_an_item_go_that_was_only_replaced() -> None:
    """Half of a put is never applied alone, wherever an answer ends."""

    async def main() -> list[StreamRecord]:
        world = World()
        imitation = alternator(world, shards=1, after_s=0.0)
        world.put("a", 0)
        for value in range(1, 60):
            world.put("a", value)
        seen: list[StreamRecord] = []
        taken = shard.ShardReader._take

        async def noted(self: shard.ShardReader, answer: Page) -> None:
            hand_over = self._hand_over

            def note(records: list[StreamRecord], done: object) -> None:
                seen.extend(records)
                hand_over(records, done)  # type: ignore[arg-type]

            self._hand_over = note  # type: ignore[assignment]
            await taken(self, answer)
            self._hand_over = hand_over

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shard, "GET_RECORDS_MAX", 3)
            patch.setattr(shard.ShardReader, "_take", noted)
            await world.consumer().run(once=True)
        assert imitation.pairs > 20
        assert world.differences() == []
        return seen

    seen = run(main)
    assert all(record.new_image is not None for record in seen)
    assert len(seen) >= 60


def test_hundreds_of_silent_shards_are_asked_seldom() -> None:
    """One loop reads them all: an hour of 256 idle shards is no more than 64 requests a second,
    and little of a core.
    """

    async def main() -> tuple[float, float]:
        world = World()
        imitation = alternator(world, shards=256)
        asked = 0
        page = imitation._page

        def counted(*args: object, **more: object) -> object:
            nonlocal asked
            asked += 1
            return page(*args, **more)  # type: ignore[arg-type]

        imitation._page = counted  # type: ignore[method-assign, assignment]

        async def quiet(_: object) -> bool:
            return True

        imitation._refresh = quiet  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(world.consumer().run())
        await asyncio.sleep(120)
        before, began_s = asked, time.process_time()
        await asyncio.sleep(600)
        spent_s = time.process_time() - began_s
        rate = (asked - before) / 600
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return rate, spent_s / 600

    rate, cpu = run(main)
    assert rate <= 64.5
    assert cpu < 0.25


def test_a_mirror_between_shards_by_hundreds_saves_their_positions() -> None:
    """Shards that are called otherwise have their rows all the same, and a restart goes on."""

    async def main() -> tuple[int, list[str]]:
        world = World()
        alternator(world, shards=40, after_s=0.0)
        world.write_at_random(100, 30)
        await world.consumer().run(once=True)
        world.write_at_random(50, 30)
        await world.consumer("next").run(once=True)
        rows = [row for row in world.rows(CHECKPOINTS) if row["shard"]["S"].startswith("H ")]
        return len(rows), world.differences()

    assert run(main) == (40, [])


def test_lag_is_told_beyond_what_the_stream_holds_back() -> None:
    """Its reading asks seldom enough, and waits long enough to believe that all is read."""
    reading = reading_of(Kind.ALTERNATOR)

    assert reading.drained_after * reading.poll_s > reading.visible_after_s
    assert reading_of(Kind.DYNAMODB).visible_after_s == 0


ARNS = {
    Kind.ALTERNATOR: "arn:scylla:alternator:alternator_Stories:scylla:table/Stories",
    Kind.DYNAMODB_LOCAL: "arn:aws:dynamodb:ddblocal:000000000000:table/Stories",
    None: "arn:aws:dynamodb:us-east-1:000000000000:table/Stories",
}


@pytest.mark.parametrize(
    ("declared", "real", "severity"),
    [
        (Kind.DYNAMODB, None, None),
        (Kind.DYNAMODB, Kind.ALTERNATOR, Severity.UNUSABLE),
        (Kind.DYNAMODB, Kind.DYNAMODB_LOCAL, Severity.FINDING),
        (Kind.ALTERNATOR, None, Severity.UNUSABLE),
        (Kind.ALTERNATOR, Kind.ALTERNATOR, None),
        (Kind.ALTERNATOR, Kind.DYNAMODB_LOCAL, Severity.UNUSABLE),
        (Kind.DYNAMODB_LOCAL, None, Severity.FINDING),
        (Kind.DYNAMODB_LOCAL, Kind.ALTERNATOR, Severity.UNUSABLE),
        (Kind.DYNAMODB_LOCAL, Kind.DYNAMODB_LOCAL, None),
        (Kind.COMPATIBLE, None, Severity.NOTE),
        (Kind.COMPATIBLE, Kind.ALTERNATOR, Severity.UNUSABLE),
        (Kind.COMPATIBLE, Kind.DYNAMODB_LOCAL, Severity.FINDING),
    ],
)
def test_a_tables_arn_tells_the_server(
    declared: Kind, real: Kind | None, severity: Severity | None
) -> None:
    """A wrong declaration is a fault with a remedy, whichever kind is declared and whichever
    answers; what can't be told is said to be so.
    """
    place = replace(SOURCE, server=declared)
    mirror = replace(MIRROR, source=place)

    found = list(of_server(mirror, place, Table({"TableArn": ARNS[real]})))

    assert [one.severity for one in found] == ([] if severity is None else [severity])
    if found and severity is not Severity.NOTE:
        right = real or Kind.COMPATIBLE
        assert f'server = "{right}"' in found[0].remedy
        assert f'"{declared}"' in found[0].what


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_held_against_every_arn(kind: Kind) -> None:
    """What a kind's tables are called is known, or no ARN speaks against it."""
    sure = kind in (Kind.ALTERNATOR, Kind.DYNAMODB_LOCAL)

    assert [real for real, arn in ARNS.items() if denied(kind, arn)] == (
        [real for real in ARNS if real is not kind] if sure else []
    )


@pytest.mark.parametrize(
    ("server", "severity"),
    [
        (Kind.DYNAMODB, None),
        (Kind.COMPATIBLE, Severity.NOTE),
        (Kind.ALTERNATOR, Severity.FINDING),
    ],
)
def test_deletes_by_time_to_live_that_nothing_tells(
    server: Kind, severity: Severity | None
) -> None:
    """Where a source doesn't mark them, they can't be ignored: that is found beforehand."""
    place = replace(SOURCE, server=server)
    mirror = replace(MIRROR, source=place, ttl_deletes=Deletes.IGNORE)

    found = list(of_server(mirror, place, Table({"TableArn": ARNS[None]})))

    assert [one.severity for one in found if "ttl_deletes" in one.what] == (
        [] if severity is None else [severity]
    )
    alike = replace(mirror, deletes=Deletes.IGNORE)
    assert not [
        one
        for one in of_server(alike, place, Table({"TableArn": ARNS[None]}))
        if "ttl_deletes" in one.what
    ]


@pytest.mark.parametrize(
    ("guard", "tag", "severity"),
    [
        (Guard.ORDER, None, None),
        (Guard.ITEM, None, Severity.NOTE),
        (Guard.ITEM, "always_use_lwt", None),
        (Guard.ITEM, "only_rmw_uses_lwt", Severity.FINDING),
    ],
)
def test_conditions_need_isolation(
    guard: Guard, tag: str | None, severity: Severity | None
) -> None:
    """Where a target is written on conditions, its table's tag is looked at."""
    target = replace(SOURCE, name="there", server=Kind.ALTERNATOR)
    mirror = replace(MIRROR, targets=(target,), guard=guard)
    tags = {} if tag is None else {"system:write_isolation": tag}

    found = list(of_isolation(mirror, target, tags))

    assert [one.severity for one in found] == ([] if severity is None else [severity])
