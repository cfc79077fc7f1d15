"""Equal is said only of what was compared."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, World, item, key

from dynamirror.engine.comparing.compared import EVERYTHING, Compared, Method, Scope
from dynamirror.engine.comparing.lag import RESTARTED_MS
from dynamirror.engine.comparing.suspects import PATIENCE_MS, WAIT_MS_MAX, Drift
from dynamirror.engine.comparing.verify import Verifier
from dynamirror.engine.stream.hold import Hold


async def compared(
    world: World,
    drifts: list[Drift] | None = None,
    scope: Scope = EVERYTHING,
    *,
    dead: Sequence[str] = (),
) -> Compared:
    verifier = Verifier(
        world.links,
        world.connect(world.source),
        {TARGET.name: world.connect(world.target)},
        [(world.checkpoints, world.lease("verify", dead=dead))],
        clock=now_ms,
        backoff=world.backoff,
    )
    found = list[Drift]() if drifts is None else drifts
    return await verifier.run(found.append, lambda _: None, scope)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_drift_is_told_by_kind_and_attribute() -> None:
    async def main() -> None:
        world, drifts = World(), list[Drift]()
        for name in ("same", "missing", "different"):
            world.put(name, 1)
        for held in (item("same", 1), item("different", 2), item("extra", 1)):
            world.target.perform("PutItem", {"TableName": "Stories", "Item": held})
        told = await compared(world, drifts)
        assert (told.missing, told.extra, told.different, told.in_flight) == (1, 1, 1, 0)
        assert not told.equal
        assert {drift.kind: (drift.key, drift.attributes) for drift in drifts} == {
            "missing": (key("missing"), []),
            "extra": (key("extra"), []),
            "different": (key("different"), ["value"]),
        }

    run(main)


def test_beside_a_running_engine_what_is_on_its_way_is_no_drift() -> None:
    async def main() -> None:
        world = World()
        engine = asyncio.create_task(world.consumer().run())

        async def write() -> None:
            while True:
                world.write_at_random(3, 50)
                await asyncio.sleep(0.3)

        writing = asyncio.create_task(write())
        await asyncio.sleep(10)
        told = await compared(world)
        assert told.equal
        assert told.items > 0
        await end(writing)
        await end(engine)

    run(main)


def test_an_item_that_never_rests_is_not_called_equal() -> None:
    """Nobody mirrors it, and no look at it found it at rest: that is no green."""

    async def main() -> None:
        world = World()

        async def write() -> None:
            for value in range(10**6):
                world.put("hot", value)
                await asyncio.sleep(2)

        writing, since_ms = asyncio.create_task(write()), now_ms()
        await asyncio.sleep(0.1)
        told = await compared(world)
        assert told.in_flight == 1
        assert not told.equal
        assert not told.drift
        assert now_ms() - since_ms < 2 * PATIENCE_MS
        await end(writing)

    run(main)


def test_beside_a_pause_it_says_why_it_waits_and_gives_up_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the paused link has not brought yet is neither drift nor equal."""

    async def main() -> None:
        world = World()
        engine = asyncio.create_task(world.consumer("engine").run())
        await asyncio.sleep(3)
        async with Hold(world.checkpoints, world.lease("backfill"), now_ms):
            world.put("a", 1)
            since_ms = now_ms()
            with caplog.at_level(logging.WARNING, "dynamirror"):
                told = await compared(world)
        assert (told.missing, told.in_flight, told.equal) == (0, 1, False)
        assert now_ms() - since_ms < WAIT_MS_MAX + 60_000
        assert "waiting for stories/us-east-1, which is paused" in caplog.text
        await asyncio.sleep(10)
        assert (await compared(world)).equal
        await end(engine)

    run(main)


@pytest.mark.parametrize("died", [True, False])
def test_what_an_engine_about_to_go_on_has_not_brought_yet_is_no_drift(*, died: bool) -> None:
    """One that died a moment ago will be started again, and one that has just begun has not said
    yet how far behind it is.
    """

    async def main() -> None:
        world = World()
        await world.consumer().run(once=True)
        lease = world.lease("engine")
        await lease.acquire()
        if died:
            await lease.renew(json.dumps({"at_ms": now_ms(), "lag_ms": 0, "state": "ok"}))
        world.put("a", 1)
        comparing = asyncio.create_task(compared(world, dead=["engine"] if died else []))
        await asyncio.sleep(20)
        await lease.release()
        engine = asyncio.create_task(world.consumer().run())
        assert (await comparing).equal
        await end(engine)

    run(main)


def test_an_engine_long_dead_is_not_waited_for() -> None:
    async def main() -> None:
        world = World()
        await world.lease("engine").acquire()
        world.put("a", 1)
        since_ms = now_ms()
        told = await compared(world, dead=["engine"])
        assert told.missing == 1
        assert now_ms() - since_ms < RESTARTED_MS + 10_000

    run(main)


def test_equal_tables_are_read_once_and_eventually_consistent() -> None:
    """Nothing is cheaper: what a scan charges half a unit for, lookups charge for by the item."""

    async def main() -> None:
        world = World()
        for number in range(300):
            world.put(f"key {number}", number)
            held = {"TableName": "Stories", "Item": item(f"key {number}", number)}
            world.target.perform("PutItem", held)
        asked: list[tuple[str, bool, bool]] = []

        async def before(operation: str, request: bytes) -> None:
            if operation in ("Scan", "BatchGetItem"):
                consistent = b'"ConsistentRead":true' in request
                asked.append((operation, consistent, b"Segment" in request))

        world.source.before = world.target.before = before
        assert (await compared(world)).equal
        # Nor as a segment, of which a server might have to find out which items are in it.
        assert asked == [("Scan", False, False)] * 2

    run(main)


def test_what_somebody_else_keeps_writing_at_the_target_is_drift_in_the_end() -> None:
    async def main() -> None:
        world, drifts = World(), list[Drift]()
        world.put("a", 1)

        async def spoil() -> None:
            for value in range(2, 10**6):
                put = {"TableName": "Stories", "Item": item("a", value)}
                world.target.perform("PutItem", put)
                await asyncio.sleep(1)

        spoiling = asyncio.create_task(spoil())
        await asyncio.sleep(0.1)
        told = await compared(world, drifts)
        assert (told.different, told.in_flight) == (1, 0)
        await end(spoiling)

    run(main)


def test_an_item_that_goes_back_and_forth_is_no_drift() -> None:
    """Beside a running engine; at most looks the source has one value and the target another."""

    async def main() -> None:
        world = World()
        engine = asyncio.create_task(world.consumer().run())

        async def toggle() -> None:
            for value in range(10**6):
                world.put("toggled", value % 2)
                await asyncio.sleep(0.37)

        toggling = asyncio.create_task(toggle())
        await asyncio.sleep(5)
        for _ in range(20):
            assert not (await compared(world)).drift
        await end(toggling)
        await end(engine)

    run(main)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("keys_only", [False, True])
def test_what_has_expired_at_the_target_is_not_missing(*, method: Method, keys_only: bool) -> None:
    """The source's service has just not come to it yet: told, not drift, and not repaired. What
    has not expired, or lacks the attribute by which the target goes, is missing all the same.
    However the tables are read.
    """
    scope = Scope(method=method, keys_only=keys_only)

    async def main() -> None:
        world, drifts = World(), list[Drift]()
        past_s = now_ms() // 1_000 - 3_600
        world.put("expired", 1, until={"N": str(past_s)})
        world.put("prolonged", 1, until={"N": str(past_s + 7_200)})
        world.put("other", 1, later={"N": str(past_s)})
        before = await compared(world, scope=scope)
        specification = {"Enabled": True, "AttributeName": "until"}
        request = {"TableName": "Stories", "TimeToLiveSpecification": specification}
        world.target.perform("UpdateTimeToLive", request)

        told = await compared(world, drifts, scope)

        assert (before.missing, before.expired) == (3, 0)
        assert (told.missing, told.expired, told.equal) == (2, 1, False)
        assert sorted(drift.key["id"]["S"] for drift in drifts) == ["other", "prolonged"]

    run(main)


def test_a_target_that_expires_items_first_is_equal() -> None:
    """The source's delete comes later, finds nothing, and leaves nothing different."""

    async def main() -> None:
        world = World()
        specification = {"Enabled": True, "AttributeName": "until"}
        request = {"TableName": "Stories", "TimeToLiveSpecification": specification}
        for db in (world.source, world.target):
            db.perform("UpdateTimeToLive", request)
        world.put("a", 1, until={"N": str(now_ms() // 1_000 - 60)})
        await world.consumer().run(once=True)
        world.target.perform("DeleteItem", {"TableName": "Stories", "Key": key("a")})

        first = await compared(world)
        world.delete("a")
        await world.consumer().run(once=True)
        then = await compared(world)

        assert (first.equal, first.expired) == (True, 1)
        assert (then.equal, then.expired, world.at_target()) == (True, 0, {})

    run(main)
