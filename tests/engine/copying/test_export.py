"""Copying from an export loses and undoes nothing, or is refused with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.engine.copying.test_backfill import backfill, end, started
from tests.engine.copying.test_resume import Killed
from tests.engine.exported import ARN, Made
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import World, item, key

from dynamirror.config.model import Guard
from dynamirror.core.exports import Followed, why_unsafe
from dynamirror.core.values import Wire
from dynamirror.engine.copying import export as exporting
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.copying.export import DamagedError, UnsafeExportError, opened
from dynamirror.errors import ConfigError

ITEMS = 30
HOUR_S = 3_600
MINUTE_S = 60


def names(numbers: range) -> list[str]:
    return [f"key {number}" for number in numbers]


def whole(world: World, identity: str = "full") -> Made:
    """Export the table as it is now."""
    lines: list[Wire] = [{"Item": dict(held)} for held in world.source.table("Stories").contents()]
    return Made(identity, lines, now_ms())


def changed(world: World, since: dict[str, Wire], from_ms: int, identity: str = "more") -> Made:
    """Export what changed since then."""
    now = {held["id"]["S"]: dict(held) for held in world.source.table("Stories").contents()}
    lines: list[Wire] = []
    for name in sorted(now.keys() | since.keys()):
        if now.get(name) != since.get(name):
            line: Wire = {"Metadata": {"WriteTimestampMicros": "1"}, "Keys": key(name)}
            line |= {"NewImage": now[name]} if name in now else {}
            line |= {"OldImage": since[name]} if name in since else {}
            lines.append(line)
    return Made(identity, lines, now_ms(), from_ms=from_ms)


def contents(world: World) -> dict[str, Wire]:
    return {held["id"]["S"]: dict(held) for held in world.source.table("Stories").contents()}


async def copied(world: World, *made: Made, share: tuple[int, int] | None = None) -> Copied:
    exports = await opened(made, ARN)
    return await backfill(world).run(lambda _: None, share, exports=exports)


async def filled(world: World) -> World:
    """Let some time pass since the stream was turned on; then put what is exported."""
    await asyncio.sleep(10 * MINUTE_S)
    for name in names(range(ITEMS)):
        world.put(name, 1)
    return world


def write(world: World) -> None:
    """Change, delete and make again what the export has."""
    for name in names(range(10)):
        world.put(name, 1_000)
    for name in names(range(10, 20)):
        world.delete(name)
    for name in names(range(15, 20)):
        world.put(name, 2_000)
    world.put("new", 1)


@pytest.mark.parametrize("guard", Guard)
def test_a_mirror_is_begun_from_an_export(guard: Guard) -> None:
    """What changed after it comes by the stream, deletes too."""

    async def main() -> None:
        world = await filled(World(guard))
        made = whole(world)
        await asyncio.sleep(HOUR_S)
        write(world)
        told = await copied(world, made)
        assert (told.items, told.read_units) == (ITEMS, 0)
        await asyncio.sleep(HOUR_S)
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_with_incremental_exports_after_it(guard: Guard) -> None:
    """Given in any order; the deletes in them hold."""

    async def main() -> None:
        world = await filled(World(guard))
        made, since, from_ms = whole(world), contents(world), now_ms()
        await asyncio.sleep(MINUTE_S)
        write(world)
        more, then, then_ms = changed(world, since, from_ms), contents(world), now_ms()
        await asyncio.sleep(MINUTE_S)
        world.delete("key 0")
        world.put("key 11", 5)
        last = changed(world, then, then_ms, "last")
        world.stream.trim(now_ms() - 60 * 1_000)
        await copied(world, last, made, more)
        held = {name: wire["value"]["N"] for name, wire in world.at_target().items()}
        assert held == {name: wire["value"]["N"] for name, wire in contents(world).items()}

    run(main)


def test_beside_a_running_ledger_mirror_nothing_is_undone() -> None:
    """Whatever was changed since the export, at whatever time, is newer; hours later too."""

    async def main() -> None:
        world = World(Guard.LEDGER)
        engine = await started(world.consumer("engine"))
        await filled(world)
        made = whole(world)
        write(world)
        await asyncio.sleep(3 * HOUR_S)
        assert world.differences() == []
        await copied(world, made)
        assert world.differences() == []
        await end(engine)

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_lost_history_is_made_up_for_by_a_newer_export(guard: Guard) -> None:
    """The stream is then read from before the export."""

    async def main() -> None:
        world = World(guard)
        for name in names(range(ITEMS)):
            world.put(name, 1)
        await world.consumer().run(once=True)
        await world.checkpoints.lose(await world.checkpoints.load(), "seen to it")
        await asyncio.sleep(HOUR_S)
        for name in names(range(ITEMS)):
            world.put(name, 2)
        made, at_ms = whole(world), now_ms()
        await asyncio.sleep(HOUR_S)
        write(world)
        for share in ((1, 2), (2, 2)):
            await copied(world, made, share=share)
        assert (await world.checkpoints.load()).enrolled_ms < at_ms
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


@pytest.mark.parametrize("guard", Guard)
def test_what_the_stream_can_no_longer_tell_makes_an_export_useless(guard: Guard) -> None:
    """It was made before the stream was turned on, or too long ago."""

    async def main() -> None:
        world = World(guard)
        for name in names(range(ITEMS)):
            world.put(name, 1)
        early = whole(world)
        with pytest.raises(UnsafeExportError, match="after the stream was turned on"):
            await copied(world, early)
        await asyncio.sleep(HOUR_S)
        made = whole(world)
        await asyncio.sleep(13 * HOUR_S)
        with pytest.raises(UnsafeExportError, match="less than 12 hours ago"):
            await copied(world, made)

    run(main)


@pytest.mark.parametrize("guard", [Guard.ORDER, Guard.ITEM])
def test_where_copies_have_no_rank_a_begun_mirror_takes_no_export(guard: Guard) -> None:
    """What was applied since would be undone, be the engine running or stopped."""

    async def main() -> None:
        world = await filled(World(guard))
        made = whole(world)
        engine = await started(world.consumer("engine"))
        write(world)
        await asyncio.sleep(20)
        with pytest.raises(UnsafeExportError, match="can't tell"):
            await copied(world, made)
        await end(engine)
        with pytest.raises(UnsafeExportError, match='use guard = "ledger"'):
            await copied(world, made)
        assert world.differences() == []

    run(main)


def test_killed_within_a_file_it_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 3)

    async def main() -> None:
        world = await filled(World(Guard.LEDGER))
        made = whole(world)
        kill = Killed(30)
        connect, world.connect = world.connect, kill.through
        task = asyncio.create_task(copied(world, made))
        await asyncio.sleep(3)
        world.connect = connect
        await end(task)  # type: ignore[arg-type]
        told = await copied(world, made)
        assert 0 < told.resumed < told.items == ITEMS
        await world.consumer().run(once=True)
        assert world.differences() == []

    run(main)


def chained(*made: Made) -> object:
    return asyncio.run(opened(made, ARN))


def lines(count: int) -> list[Wire]:
    return [{"Item": item(f"k{number}")} for number in range(count)]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([Made("a", [], 9, from_ms=1)], "is incremental: name the full export"),
        ([Made("a", [], 1), Made("b", [], 9)], "are both full exports"),
        ([Made("a", [], 1_000), Made("b", [], 9_000, from_ms=2_000)], "something is missing"),
        ([Made("a", [], 1, tableArn=ARN + "2")], "is of .*Stories2, not of"),
        ([Made("a", [], 1, outputFormat="ION")], "--export-format DYNAMODB_JSON"),
        ([Made("a", [], 1, exportTime=None)], "no manifest"),
    ],
)
def test_exports_that_do_not_make_a_whole_are_refused(made: Sequence[Made], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        chained(*made)


@pytest.mark.parametrize("harm", ["cut", "other"])
def test_a_damaged_file_is_told(harm: str) -> None:
    """Its sum in the manifest tells, and the number of its lines."""

    async def main() -> None:
        world = World(Guard.LEDGER)
        await asyncio.sleep(10 * MINUTE_S)
        made = Made("a", lines(20), now_ms())
        name, body = next((name, body) for name, body in made.files.items() if "data" in name)
        other = Made("a", lines(20)[::-1], now_ms()).files[name]
        made.files[name] = body[:-60] if harm == "cut" else other
        with pytest.raises(DamagedError):
            await copied(world, made)

    run(main)


def test_rows_that_refuse_what_is_older_are_kept_for_days_only() -> None:
    """An export older than they are would bring back what was deleted."""
    day_ms = 86_400_000
    followed = Followed(now_ms=100 * day_ms, stream_ms=0, lost=False, begun_ms=1, applied_ms=5)

    def why(days: float) -> str | None:
        at_ms = int((100 - days) * day_ms)
        return why_unsafe(at_ms, followed, ranked=True, keep_days=7)

    assert why(5.9) is None
    assert "what was deleted since would come back" in str(why(6.1))


def test_a_mirror_begun_after_the_export_lacks_what_came_between() -> None:
    """Its stream was read from later on, so nothing tells of that."""
    day_ms = 86_400_000
    followed = Followed(
        now_ms=10 * day_ms, stream_ms=0, lost=False, begun_ms=9 * day_ms, applied_ms=9 * day_ms
    )

    told = why_unsafe(8 * day_ms, followed, ranked=True, keep_days=7)

    assert "changes made between the two would be lost" in str(told)
    assert why_unsafe(9 * day_ms + 200_000, followed, ranked=True, keep_days=7) is None
