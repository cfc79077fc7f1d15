"""The commands on a real server: one engine at a time, stopped well, never passing over loss."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fault_proxy import Fault
from tests.servers import Server
from tests.storm.weather import Weather
from tests.storm.world import BOTH_IMAGES, SOURCE, TARGET, Wire, World

from dynamirror.core.values import decode, encode

Make = Callable[..., World]

TEXT = {"text": {"S": "once"}}

EVERY_TYPE: Wire = {
    "binary": {"B": "AAH/gA=="},
    "binaries": {"BS": ["AQ==", "/w=="]},
    "empty binary": {"B": ""},
    "digits": {"N": "-12345678901234567890123456789012345678"},
    "small": {"N": "0.00000000000000000000000000000000000001"},
    "numbers": {"NS": ["1", "-2.5"]},
    "strings": {"SS": ["ä", "\u20ac"]},
    "empty": {"S": ""},
    'a "quoted"/name': {"NULL": True},
    "_mirror": {"S": "the user's own"},
    "deep": {"M": {"list": {"L": [{"M": {"": {"L": [{"BOOL": False}, {"S": "x"}]}}}]}}},
    "no list": {"L": []},
    "no map": {"M": {}},
}


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_every_type_arrives_as_it_was_written(guard: str, make_world: Make, server: Server) -> None:
    """An image travels unchanged: its JSON at the target is that of the source, value by value."""
    world = make_world(guard)
    item = {"id": {"S": "all"}, **EVERY_TYPE}

    async def ask(region: str, operation: str, **request: object) -> Wire:
        api = server.connect(region)
        try:
            body = encode({"TableName": world.table, **request})
            return decode(await api.call(operation, body))
        finally:
            await api.close()

    asyncio.run(ask(SOURCE, "PutItem", Item=item))
    assert world.command("run", "--once")[0] == 0

    there = asyncio.run(ask(TARGET, "GetItem", Key={"id": {"S": "all"}}))["Item"]
    if guard == "item":
        assert re.fullmatch(r"\d{10}#\d{40}", there.pop("_mirror_seq")["S"])
    assert there == asyncio.run(ask(SOURCE, "GetItem", Key={"id": {"S": "all"}}))["Item"]
    assert there == item


def test_a_second_engine_is_told_who_holds_the_mirror(make_world: Make) -> None:
    """At most one process reads a stream; a second one ends with 2 and names the first."""
    world = make_world("order")
    first = world.start("run")
    world.put(id={"S": "a"})
    world.wait(lambda: not world.differences())

    status, said = world.command("run")

    assert status == 2
    assert f"process {first.pid}" in said
    assert first.terminate() == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="zombies are told by /proc")
def test_a_killed_engine_holds_nothing(make_world: Make) -> None:
    """After ``kill -9`` another may go on at once, even while nobody has reaped the dead one."""
    world = make_world("order")
    first = world.start("run")
    world.put(id={"S": "a"})
    world.wait(lambda: not world.differences())
    first.kill(reap=False)
    world.put(id={"S": "b"})
    world.wait(lambda: _state(first.pid) == "Z")

    status, said = world.command("run", "--once")

    assert status == 0, said
    assert world.differences() == []


def _state(pid: int) -> str:
    """Return the state of a process, a letter; Z: it has ended, and nobody has asked how."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_what_was_saved_is_not_read_again(make_world: Make, weather: Weather) -> None:
    """A restart goes on from the saved position: a drained mirror has nothing to write."""
    world = make_world("order", proxy=weather.endpoint)
    assert world.writer(seed=1, keys=50, changes=500).end() == 0
    assert world.command("run", "--once")[0] == 0
    written = weather.counts["written"]

    assert world.command("run", "--once")[0] == 0

    assert weather.counts["written"] == written > 0


def test_sigterm_applies_what_was_read_and_saves_how_far(
    make_world: Make, weather: Weather
) -> None:
    """Stopped with SIGTERM the engine ends with 0, and what it saved is not applied again."""
    world = make_world("item", proxy=weather.endpoint)
    writer = world.writer(seed=2, keys=200, changes=2_000, rate=800)
    engine = world.start("run")
    world.wait(lambda: weather.counts["written"] > 300)

    assert engine.terminate() == 0
    assert writer.end() == 0
    assert world.command("run", "--once")[0] == 0

    assert world.differences() == []
    assert weather.counts["stale"] == 0


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_a_recreated_stream_is_history_lost_until_a_backfill(guard: str, make_world: Make) -> None:
    """Changes between two streams are in neither: the engine ends with 3 and says what to do, so
    does every restart; a backfill makes up for it, and the mirror goes on.
    """
    world = make_world(guard)
    world.put(id={"S": "a"}, **TEXT)
    world.put(id={"S": "b"}, **TEXT)
    assert world.command("run", "--once")[0] == 0
    world.switch_stream(on=False)
    world.put(id={"S": "a"}, text={"S": "changed unseen"})
    world.put(id={"S": "c"}, text={"S": "made unseen"})
    world.switch_stream(on=True)

    for _ in range(2):
        status, said = world.command("run", "--once")
        assert status == 3
        assert "dynamirror backfill" in said
    assert world.status()["state"] == "lost"

    assert world.command("backfill", "--yes")[0] == 0
    world.put(id={"S": "b"}, text={"S": "after"})
    world.delete(id={"S": "c"})
    assert world.command("run", "--once")[0] == 0
    assert world.differences() == []
    assert world.command("verify")[0] == 0


def test_what_was_deleted_between_two_streams_is_found_by_verify(make_world: Make) -> None:
    """No backfill sees what is no longer there: verify tells it, as the remedy says."""
    world = make_world("order")
    world.put(id={"S": "a"}, **TEXT)
    assert world.command("run", "--once")[0] == 0
    world.switch_stream(on=False)
    world.delete(id={"S": "a"})
    world.switch_stream(on=True)
    assert world.command("run", "--once")[0] == 3
    assert world.command("backfill", "--yes")[0] == 0

    status, said = world.command("verify")

    assert status == 1
    assert "extra" in said


def test_a_change_that_cannot_be_applied_stops_the_mirror(make_world: Make) -> None:
    """With on_poison = "stop" the engine ends with 1 and names the change."""
    world = make_world("order", keys=("S", "N"))
    world.put(id={"S": "not a number"}, **TEXT)

    status, said = world.command("run", "--once")

    assert status == 1
    assert re.search(r"sequence number \d{10,40} can't be applied", said)


def test_a_parked_key_waits_and_others_go_on(make_world: Make) -> None:
    """With on_poison = "park" a change that can't be applied, and its key's later ones, are kept;
    other keys go on; once the cause is gone a redrive makes both tables equal.
    """
    world = make_world("item", options='on_poison = "park"')
    world.put(id={"S": "large"}, text={"S": "x" * (400 * 1_024 - 20)})
    world.put(id={"S": "small"}, **TEXT)
    assert world.command("run", "--once")[0] == 1
    assert [line.split(":")[0] for line in world.differences()] == ["('S', 'large')"]
    assert world.command("redrive")[0] == 1

    world.put(id={"S": "large"}, text={"S": "now it fits"})
    assert world.command("run", "--once")[0] == 1
    assert world.status()["parked_keys"] == 1
    assert len(world.differences()) == 1
    assert world.command("redrive")[0] == 0

    assert world.differences() == []
    world.put(id={"S": "large"}, text={"S": "passes"})
    assert world.command("run", "--once")[0] == 0
    assert world.differences() == []


@pytest.mark.parametrize("guard", ["order", "ledger"])
def test_parked_keys_are_redriven_into_a_mended_table(guard: str, make_world: Make) -> None:
    """A target of another key type takes nothing; once it is made anew, a redrive brings what the
    source holds now, deletes included.
    """
    world = make_world(guard, keys=("S", "N"), options='on_poison = "park"')
    for name in ("a", "b", "c"):
        world.put(id={"S": name}, **TEXT)
    assert world.command("run", "--once")[0] == 1
    world.delete(id={"S": "c"})
    assert world.command("run", "--once")[0] == 1
    world.remake_target("S")

    assert world.command("redrive")[0] == 0

    assert world.differences() == []
    assert world.command("run", "--once")[0] == 0


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_a_backfill_beside_live_writes_loses_and_resurrects_nothing(
    guard: str, make_world: Make
) -> None:
    """Items older than the stream are copied while an engine in another process applies a
    writer's changes to the same keys: both tables are equal, and deleted stays deleted.
    """
    world = make_world(guard, stream=False)
    assert world.writer(seed=3, keys=1_500, changes=6_000).end() == 0
    world.switch_stream(on=True)
    engine = world.start("run")
    writer = world.writer(seed=4, keys=1_500, changes=4_000, rate=500)

    status, said = world.command("backfill", "--yes")

    assert status == 0, said
    assert writer.end() == 0
    assert engine.terminate() == 0
    assert world.command("run", "--once")[0] == 0
    assert world.differences() == []
    assert world.command("verify")[0] == 0


def test_a_throttled_target_slows_the_mirror_and_no_longer(
    make_world: Make, weather: Weather
) -> None:
    """A third of the writes throttled: nothing is lost; once it ends, the engine is as quick as
    it was before.
    """
    world = make_world("item", proxy=weather.endpoint)
    engine = world.start("run")

    def took_s(seed: int) -> float:
        assert world.writer(seed=seed, keys=400, changes=1_000).end() == 0
        since = time.monotonic()
        world.wait(lambda: not world.differences(), within_s=60)
        return time.monotonic() - since

    before_s = took_s(5)
    weather.blow({Fault.THROTTLE: 0.3})
    throttled_s = took_s(6)
    assert weather.counts[Fault.THROTTLE] > 50
    weather.calm()
    took_s(7)
    after_s = took_s(8)

    assert after_s < max(2 * before_s, throttled_s, 3.0)
    assert engine.terminate() == 0
    assert world.command("verify")[0] == 0


def test_a_stream_without_both_images_is_refused(make_world: Make) -> None:
    """A stream of another view type can't be mirrored, and the engine says so: exit 2."""
    world = make_world("order", stream=False)
    world.source.update_table(
        TableName=world.table,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )

    status, said = world.command("run", "--once")

    assert status == 2
    assert BOTH_IMAGES in said
