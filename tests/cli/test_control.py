"""Pause, resume, limit: what a person asks of an engine that runs or doesn't."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.engine.regions import SIMPLE, Regions

from dynamirror.cli.main import cli
from dynamirror.config.load import load
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.errors import Exit
from dynamirror.runtimes.process import consumer_of
from dynamirror.wiring import Wiring

CONFIG = """
[mirrors.stories]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""

TWO_WAY = """
[mirrors.sessions]
mode = "two-way"
replicas = [{ region = "us-east-1", table = "Sessions" }, { region = "eu-west-1" }]
"""

UNPARKED = "[mirrors.stories]\nbacklog_seconds = 0"

PATIENCE_S = 20.0


@pytest.fixture
def regions() -> Regions:
    made = Regions()
    made.now_ms = int(time.time() * 1_000)
    made.source()
    made.init()
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mirrors.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def engine(regions: Regions, config: Path) -> Iterator[Consumer]:
    """An engine on these regions, in a thread of its own."""
    with running(regions, config) as (consumer,):
        yield consumer


@contextlib.contextmanager
def running(regions: Regions, config: Path) -> Iterator[list[Consumer]]:
    """Have an engine run every mirror of the file."""
    loop = asyncio.new_event_loop()
    wiring = Wiring(load(str(config)), connect=regions.api_of)
    consumers = [consumer_of(wiring, mirror) for mirror in wiring.config.mirrors]
    tasks = [loop.create_task(consumer.run()) for consumer in consumers]

    def crank() -> None:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    thread = threading.Thread(target=crank)
    thread.start()
    until(lambda: all(consumer.report().state == "following" for consumer in consumers))
    yield consumers
    for task in tasks:
        loop.call_soon_threadsafe(task.cancel)
    thread.join(PATIENCE_S)
    loop.close()


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def dynamirror(regions: Regions, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments], obj=regions.api_of)


def status(regions: Regions, config: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(dynamirror(regions, "status", config, "--json").stdout)
    return dict(told["mirrors"][0])


def test_a_paused_link_applies_nothing_until_it_is_resumed(
    engine: Consumer, regions: Regions, config: Path
) -> None:
    """Once `pause` has ended nothing arrives any more; `resume` lets through what waited."""
    paused = dynamirror(regions, "pause", config, "--link", "stories/us-east-1", "--why", "index")
    regions.put({"id": {"S": "a"}})
    until(lambda: engine.report().unread_ms > 1_000)  # four looks left out

    assert paused.exit_code == Exit.DONE
    assert "stories/us-east-1 (us-east-1 -> eu-west-1): paused" in paused.stdout
    assert "Resume within 24 hours" in paused.stdout
    assert regions.eu.table("Stories").items == {}
    until(lambda: status(regions, config)["state"] == "paused")
    told = status(regions, config)
    assert told["why"].endswith("until it is resumed: index")
    assert f"resume {config} --link stories/us-east-1" in told["hint"]

    resumed = dynamirror(regions, "resume", config)

    assert resumed.exit_code == Exit.DONE
    until(lambda: len(regions.eu.table("Stories").items) == 1)


def test_one_target_s_links_pause_and_the_rest_goes_on(regions: Regions, config: Path) -> None:
    """Of a two-way mirror: what is written here waits, what is written there arrives."""
    regions.us.perform("CreateTable", {"TableName": "Sessions", **SIMPLE})
    config.write_text(TWO_WAY)
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    here, there = regions.us.table("Sessions").items, regions.eu.table("Sessions").items

    with running(regions, config):
        paused = dynamirror(regions, "pause", config, "--target", "eu-west-1", "--why", "index")
        regions.put({"id": {"S": "a"}, "version": {"N": "1"}}, "Sessions")
        theirs = {"id": {"S": "b"}, "version": {"N": "1"}}
        regions.eu.perform("PutItem", {"TableName": "Sessions", "Item": theirs})
        until(lambda: len(here) == 2)
        until(lambda: status(regions, config)["parked_keys"] == 1)

        assert paused.exit_code == Exit.DONE
        assert "sessions/us-east-1 (us-east-1 -> eu-west-1): paused" in paused.stdout
        assert "is parked until it is resumed" in paused.stdout
        assert len(there) == 1
        until(lambda: status(regions, config)["state"] == "paused")
        told = status(regions, config)
        assert told["hint"].endswith("--link sessions/us-east-1 --target eu-west-1`.")
        assert told["links"][0]["paused_since_ms"] == told["pauses"][0]["since_ms"]

        assert dynamirror(regions, "resume", config, "--target", "us-east-1").exit_code == Exit.DONE
        assert status(regions, config)["pauses"]  # that was the other one's
        resumed = dynamirror(regions, "resume", config, "--json")
        assert [one["was_paused"] for one in json.loads(resumed.stdout)["links"]] == [True, False]
        until(lambda: len(there) == 2)
        until(lambda: status(regions, config)["parked_keys"] == 0)


def test_a_target_that_is_none_is_an_error(regions: Regions, config: Path) -> None:
    """With the names there are; and nothing is held back where it couldn't be parked."""
    wrong = dynamirror(regions, "pause", config, "--target", "mars")
    config.write_text(config.read_text().replace("[mirrors.stories]", UNPARKED))
    deployed = dynamirror(regions, "pause", config, "--target", "eu-west-1", "--deployed")

    assert (wrong.exit_code, deployed.exit_code) == (Exit.UNUSABLE, Exit.UNUSABLE)
    assert "no target 'mars'; it has: eu-west-1" in wrong.stderr
    assert "leave --target out, or set backlog_seconds" in deployed.stderr


def test_a_pause_before_the_engine_runs_says_so(regions: Regions, config: Path) -> None:
    """Nobody may take 'paused' for 'an engine obeyed' where there is none."""
    first = dynamirror(regions, "pause", config, "--for", "2h", "--json")
    second = dynamirror(regions, "resume", config, "--json")
    third = dynamirror(regions, "resume", config)

    (told,) = json.loads(first.stdout)["links"]
    assert (told["engine"], told["paused"]) == (False, True)
    assert told["until_ms"] - time.time() * 1_000 == pytest.approx(7_200_000, abs=60_000)
    assert json.loads(second.stdout)["links"][0]["was_paused"]
    assert "was not paused by a person; no engine runs" in third.stdout


@pytest.mark.usefixtures("engine")
def test_a_limit_holds_until_it_is_lifted(regions: Regions, config: Path) -> None:
    """`limit` is seen by the running engine, and `status` names it."""
    result = dynamirror(regions, "limit", config, "--max-writes-per-second", 25)

    assert "at most 25 items a second to each target" in result.stdout
    until(lambda: status(regions, config)["limit_per_second"] == 25)
    dynamirror(regions, "limit", config, "--max-writes-per-second", "none")
    until(lambda: status(regions, config)["limit_per_second"] is None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pause", "--link", "stories/mars"], "has no link 'stories/mars'; it has: stories/us-"),
        (["resume", "--mirror", "novels"], "has no mirror 'novels'; it has: stories"),
        (["pause", "--for", "soon"], "write 90s, 30min or 2h"),
        (["limit", "--max-writes-per-second", "-1"], "write a number above 0, or none"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], told: str, regions: Regions, config: Path
) -> None:
    """A slip of the pen pauses nothing, and says what would do."""
    command, *options = arguments
    result = dynamirror(regions, command, config, *options)

    assert result.exit_code == Exit.UNUSABLE
    assert told in result.stderr
