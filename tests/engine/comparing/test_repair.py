"""Repair writes drift away, and never puts anything older over anything newer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from tests.engine.copying.test_backfill import Through, end, started
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import PARKED as PARKED_TABLE
from tests.engine.world import TARGET, Faults, World, contents, item, key

from dynamirror.config.model import Deletes, Guard
from dynamirror.core.drift import Kind
from dynamirror.core.rows import row
from dynamirror.core.values import Wire, decode, row_key
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.mended import PARKED, Mended, Outcome
from dynamirror.engine.comparing.repair import OneWayRepairer
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.comparing.verify import Verifier
from dynamirror.errors import RefusedError, TransientError

SEEDED = 60


def repairer(world: World) -> OneWayRepairer:
    return OneWayRepairer(world.station("repair"), {TARGET.name: world.connect(world.target)})


def drift(name: str, kind: Kind = Kind.DIFFERENT) -> Drift:
    return Drift(kind, TARGET.name, key(name), [])


async def repaired(world: World, names: Iterable[str], *, dry: bool = False) -> list[Mended]:
    told: list[Mended] = []
    await repairer(world).run([drift(name) for name in names], told.append, dry=dry)
    return told


async def verified(world: World) -> tuple[Compared, list[Drift], list[Mended]]:
    """Compare, and repair what is found."""
    drifts: list[Drift] = []
    mended: list[Mended] = []
    verifier = Verifier(
        world.links,
        world.connect(world.source),
        {TARGET.name: world.connect(world.target)},
        [(world.checkpoints, world.lease("verify"))],
        clock=now_ms,
        backoff=world.backoff,
    )

    async def on_drifts(some: Sequence[Drift]) -> None:
        await repairer(world).run(some, mended.append)

    compared = await verifier.run(drifts.append, lambda _: None, on_drifts=on_drifts)
    return compared, drifts, mended


def tamper(world: World) -> dict[str, Kind]:
    """Change, remove and add items behind the mirror's back, at the target and at the source."""
    seeded: dict[str, Kind] = {}
    for number, name in enumerate(f"seeded {one}" for one in range(SEEDED)):
        here = {"TableName": "Stories", "Item": item(name, number)}
        there = {"TableName": "Stories", "Item": item(name, number + number % 2)}
        if number % 3:
            world.source.perform("PutItem", here)
        if number % 3 != 1:
            world.target.perform("PutItem", there)
        kinds = {0: Kind.EXTRA, 1: Kind.MISSING, 2: Kind.DIFFERENT}
        if number % 3 != 2 or number % 2:
            seeded[name] = kinds[number % 3]
    world.stream.trim(now_ms() + 1)
    return seeded


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("seed", range(3))
def test_seeded_drift_is_found_exactly_and_repaired_exactly_beside_live_writes(
    guard: Guard, seed: int
) -> None:
    """Through throttles and lost answers; the load goes on all the while."""

    async def main() -> None:
        world = World(guard, seed=seed)
        seeded = tamper(world)
        engine = await started(world.consumer("engine"))
        faults = Faults(seed, 0.03)
        world.source.before = world.target.before = faults.before
        world.target.after = faults.after
        writing = asyncio.create_task(write(world))
        await asyncio.sleep(10)
        compared, drifts, mended = await verified(world)
        assert {one.key["id"]["S"]: one.kind for one in drifts} == seeded
        assert sorted(one.key["id"]["S"] for one in mended) == sorted(seeded)
        assert {one.outcome for one in mended} == {Outcome.REPAIRED}
        counts = Counter(seeded.values())
        assert compared.missing == counts[Kind.MISSING]
        assert compared.extra == counts[Kind.EXTRA]
        assert compared.different == counts[Kind.DIFFERENT]
        await end(writing)
        world.source.before = world.target.before = world.target.after = None
        await asyncio.sleep(30)
        assert world.differences() == []
        assert (await verified(world))[0].equal
        await end(engine)

    run(main)


async def write(world: World) -> None:
    while True:
        world.write_at_random(3, 40)
        await asyncio.sleep(0.3)


async def toggle(world: World, names: Sequence[str]) -> None:
    """Items that are now there, now not, and of two values only: what was read often comes back."""
    while True:
        name = world.chance.choice(names)
        if world.chance.random() < 0.4:
            world.delete(name)
        else:
            world.put(name, world.chance.randrange(2))
        await asyncio.sleep(world.chance.random() * 0.2)


async def spoil(world: World, names: Sequence[str]) -> None:
    """Somebody writes the target behind the mirror's back."""
    while True:
        name = world.chance.choice(names)
        if world.chance.random() < 0.3:
            world.target.perform("DeleteItem", {"TableName": "Stories", "Key": key(name)})
        else:
            value = world.chance.randrange(3)
            world.target.perform("PutItem", {"TableName": "Stories", "Item": item(name, value)})
        await asyncio.sleep(2 + world.chance.random())


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("seed", range(8))
def test_in_a_storm_on_few_keys_no_older_image_stays(guard: Guard, seed: int) -> None:
    """What is repaired changes all the while, and comes back to what it was; in the end the tables
    are equal without another repair, save for what was spoilt after the last one.
    """

    async def main() -> None:
        world = World(guard, seed=seed)
        names = [f"key {number}" for number in range(6)]
        engine = await started(world.consumer("engine"))
        faults = Faults(seed, 0.05)
        faults.delay_s = 0.4
        world.source.before = world.target.before = faults.before
        world.target.after = faults.after
        writing = asyncio.create_task(toggle(world, names))
        spoiling = asyncio.create_task(spoil(world, names))
        for _ in range(12):
            await repaired(world, names)
        await end(spoiling)
        for _ in range(12):
            await repaired(world, names)
        await end(writing)
        world.source.before = world.target.before = world.target.after = None
        await asyncio.sleep(60)
        assert world.differences() == []
        await end(engine)

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_a_dry_run_writes_nothing_and_says_what_it_would_do(guard: Guard) -> None:
    async def main() -> None:
        world = World(guard)
        tamper(world)
        before = world.at_target()
        told = await repaired(world, ["seeded 0", "seeded 1", "seeded 5", "seeded 2"], dry=True)
        assert [(one.key["id"]["S"], one.outcome, one.action) for one in told] == [
            ("seeded 0", Outcome.PLANNED, "delete"),
            ("seeded 1", Outcome.PLANNED, "put"),
            ("seeded 5", Outcome.PLANNED, "put"),
            ("seeded 2", Outcome.EQUAL, None),
        ]
        assert world.at_target() == before
        assert not world.rows("Stories-dynamirror-checkpoints")

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_what_changed_since_it_was_read_is_read_again(guard: Guard) -> None:
    """The target's item is another by the time of the write: the write is refused, and repeated."""

    async def main() -> None:
        world = World(guard)
        world.put("a", 1)
        world.target.perform("PutItem", {"TableName": "Stories", "Item": item("a", 0)})
        writes: list[str] = []

        def before(operation: str, _: bytes) -> None:
            if operation in ("PutItem", "TransactWriteItems"):
                writes.append(operation)
                if len(writes) == 1:
                    put = {"TableName": "Stories", "Item": item("a", 7)}
                    world.target.perform("PutItem", put)

        world.connect = lambda db: Through(db, before) if db is world.target else db
        (told,) = await repaired(world, ["a"])
        assert told.outcome is Outcome.REPAIRED
        assert len(writes) == 2
        assert world.differences() == []

    run(main)


def test_under_guard_ledger_a_change_that_arrived_since_is_not_undone() -> None:
    """Although the item looks as it did when it was read."""

    async def main() -> None:
        world = World(Guard.LEDGER)
        world.put("a", 1)  # what will be read
        done: list[str] = []

        def before(operation: str, _: bytes) -> None:
            if operation == "TransactWriteItems" and not done:
                # Meanwhile it was saved, mirrored, deleted, and that was mirrored too.
                world.delete("a")
                mark = {"q": {"S": f"{1:010}#{99:040}"}}
                row_of_ledger = {"k": {"S": row_key("stories", ("S", "a"))}, **mark}
                put = {"TableName": "Stories-dynamirror-ledger", "Item": row_of_ledger}
                world.target.perform("PutItem", put)
                done.append(operation)

        world.connect = lambda db: Through(db, before) if db is world.target else db
        (told,) = await repaired(world, ["a"])
        assert done
        assert told.outcome in (Outcome.EQUAL, Outcome.REPAIRED)
        assert world.at_target() == {}

    run(main)


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("drifting", ["missing", "different"])
def test_a_write_that_is_slow_to_land_undoes_no_newer_change(guard: Guard, drifting: str) -> None:
    """After it was sent the item changes at the source, and comes to look at the target as it did
    when it was read. Only a pause of the link, or the ledger's mark, tells.
    """

    async def main() -> None:
        world = World(guard)
        spoilt = item("a", 0)
        engine = await started(world.consumer("engine"))
        world.put("a", 1)
        await asyncio.sleep(5)
        mark = {name: value for name, value in world.at_target()["a"].items() if name[0] == "_"}
        if drifting == "missing":
            world.target.perform("DeleteItem", {"TableName": "Stories", "Key": key("a")})
        else:
            put = {"TableName": "Stories", "Item": {**spoilt, **mark}}
            world.target.perform("PutItem", put)
        slow: list[str] = []

        async def before(operation: str, _: bytes) -> None:
            if operation in ("PutItem", "TransactWriteItems") and not slow:
                slow.append(operation)
                if drifting == "missing":
                    world.delete("a")
                else:
                    world.put("a", 0)
                await asyncio.sleep(5)

        mending = repairer(world)
        api = mending._targets[TARGET.name]
        mending._targets = {TARGET.name: Through(api, before)}
        await mending.run([drift("a")], lambda _: None)
        assert slow
        await asyncio.sleep(10)
        assert world.differences() == []
        await end(engine)

    run(main)


def test_guard_items_mark_stays_so_that_changes_to_come_pass() -> None:
    async def main() -> None:
        world = World(Guard.ITEM)
        engine = await started(world.consumer("engine"))
        world.put("a", 1)
        await asyncio.sleep(3)
        mirrored = world.at_target()["a"]
        spoilt = {**mirrored, "value": {"N": "7"}}
        world.target.perform("PutItem", {"TableName": "Stories", "Item": spoilt})
        (told,) = await repaired(world, ["a"])
        assert told.outcome is Outcome.REPAIRED
        assert world.at_target()["a"] == mirrored
        world.put("a", 2)
        await asyncio.sleep(3)
        assert world.differences() == []
        await end(engine)

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_a_parked_key_is_left_to_redrive(guard: Guard) -> None:
    async def main() -> None:
        world = World(guard)
        world.put("a", 1)
        parked = row(k=row_key("stories", ("S", "a")), seq="1", target=TARGET.name)
        world.source.perform("PutItem", {"TableName": PARKED_TABLE, "Item": parked})
        (told,) = await repaired(world, ["a"])
        assert (told.outcome, told.why) == (Outcome.LEFT, PARKED)
        assert world.at_target() == {}

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_what_the_target_refuses_is_left_with_the_reason_and_the_rest_repaired(
    guard: Guard,
) -> None:
    async def main() -> None:
        world = World(guard)
        for name in ("bad", "good"):
            world.put(name, 1)

        def before(operation: str, request: bytes) -> None:
            if operation in ("PutItem", "TransactWriteItems") and b'"bad"' in request:
                raise RefusedError("ValidationException", "too large")

        world.connect = lambda db: Through(db, before) if db is world.target else db
        told = {one.key["id"]["S"]: one for one in await repaired(world, ["bad", "good"])}
        assert told["bad"].outcome is Outcome.LEFT
        assert "too large" in (told["bad"].why or "")
        assert told["good"].outcome is Outcome.REPAIRED

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_a_write_whose_answer_is_lost_counts_as_made(guard: Guard) -> None:
    async def main() -> None:
        world = World(guard)
        world.put("a", 1)
        lost: list[str] = []

        async def after(operation: str, _: bytes) -> None:
            if operation in ("PutItem", "TransactWriteItems") and not lost:
                lost.append(operation)
                raise TransientError("InternalServerError", "the answer is lost")

        world.target.after = after
        (told,) = await repaired(world, ["a"])
        assert (told.outcome, told.action) == (Outcome.REPAIRED, "put")
        assert world.differences() == []

    run(main)


def test_where_deletes_are_ignored_what_only_the_target_has_stays() -> None:
    async def main() -> None:
        world = World()
        world.mirror = replace(world.mirror, deletes=Deletes.IGNORE)
        world.target.perform("PutItem", {"TableName": "Stories", "Item": item("old", 1)})
        compared, drifts, mended = await verified(world)
        assert (compared.equal, drifts, mended) == (True, [], [])
        (told,) = await repaired(world, ["old"])
        assert told.outcome is Outcome.EQUAL
        assert "old" in contents(world.target, "Stories")

    run(main)


def test_an_item_of_many_attributes_is_repaired() -> None:
    """A condition takes a hundred attributes; those that differ come first."""

    async def main() -> None:
        world = World()
        wide: Wire = {f"attribute {number:04}": {"N": str(number)} for number in range(500)}
        world.put("wide", 1, **wide)
        spoilt = {**item("wide", 1), **wide, "attribute 0499": {"N": "0"}}
        world.target.perform("PutItem", {"TableName": "Stories", "Item": spoilt})
        conditions: list[str] = []

        def before(operation: str, request: bytes) -> None:
            if operation == "PutItem":
                names = decode(request)["ExpressionAttributeNames"].values()
                conditions.append("attribute 0499" if "attribute 0499" in names else "")

        world.connect = lambda db: Through(db, before) if db is world.target else db
        (told,) = await repaired(world, ["wide"])
        assert told.outcome is Outcome.REPAIRED
        assert conditions == ["attribute 0499"]
        assert world.differences() == []

    run(main)
