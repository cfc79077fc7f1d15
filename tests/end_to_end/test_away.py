"""A region that is cut off on a real server: the others get on, and it has it all on its return."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.fault_proxy import Fault, Rule
from tests.storm.mapping import Context, Stream, environment
from tests.storm.two_way import Regions
from tests.storm.weather import Weather
from tests.storm.world import Wire

from dynamirror.runtimes.aws_lambda import handler

LAG_S_MAX = 4.0
"""Within which the others must have a change: less than the cut lasts, on a busy machine."""

TIMEOUT_MS = 6_000


class Far(Regions):
    """Three regions, of which the last is behind the proxy."""

    def __init__(self, url: str, folder: Path, proxy: str, options: str) -> None:
        """``options``: of the mirror; with a guard among them it is one-way, from the first."""
        super().__init__(url, folder, 3, proxy=url, options=options)
        near, _, far = self.text.rpartition(url)
        self.text = f"{near}{proxy}{far}"
        if "guard" in options:
            self.text = self.text.replace("two-way", "one-way").replace("replicas = [", "source = ")
            self.text = self.text.replace(", { region", "\ntargets = [{ region", 1)
        self.config.write_text(self.text)
        self.number = 0

    def save(self, region: str, key: str) -> str:
        """Save an item, and return its value, which no other save has."""
        self.number += 1
        value = f"{region} {self.number}"
        item = {
            "id": {"S": key},
            "version": {"N": str(time.time_ns() // 1_000_000 + self.number)},
            "value": {"S": value},
        }
        self.api(region).put_item(TableName=self.table, Item=item)
        return value

    def remove(self, region: str, key: str) -> None:
        self.api(region).delete_item(TableName=self.table, Key={"id": {"S": key}})

    def value(self, region: str, key: str) -> str | None:
        answer = self.api(region).get_item(
            TableName=self.table, Key={"id": {"S": key}}, ConsistentRead=True
        )
        return answer["Item"]["value"]["S"] if "Item" in answer else None

    def equal(self) -> bool:
        first, *others = self.items().values()
        return all(first == other for other in others)

    def write_beside(self, changes: int) -> float:
        """Change items of the first region; return for how long the second lacked one at most."""
        first, second, _ = self.names
        longest_s = 0.0
        for number in range(changes):
            key, began_s = f"k{number % 12}", time.monotonic()
            if number % 5 == 4:
                self.remove(first, key)
                value = None
            else:
                value = self.save(first, key)
            self.wait(lambda key=key, value=value: self.value(second, key) == value)  # type: ignore[misc]
            longest_s = max(longest_s, time.monotonic() - began_s)
        return longest_s

    def far_link(self) -> Wire:
        """Return what ``status --json`` tells of the way from the first region to the last."""
        _, said = self.command("status", "--json")
        for one in json.loads(said)["mirrors"]:
            for link in (one["report"] or {"links": []})["links"]:
                if link["target"] == self.names[2]:
                    return {**link, "state": one["state"]}
        return {}


@contextmanager
def cut(weather: Weather, how: Fault, *, hang_s: float = 5.0) -> Iterator[None]:
    """Cut off within it whoever is behind the proxy."""
    weather.proxy.hang_s = hang_s
    weather.proxy.rules = [Rule(rates={how: 1.0})]
    try:
        yield
    finally:
        weather.proxy.rules = []


def test_a_target_that_is_cut_off_holds_up_no_other(
    url: str, weather: Weather, tmp_path: Path
) -> None:
    """The other lags by seconds at most; afterwards all are equal, and nothing is parked."""
    with Far(url, tmp_path, weather.endpoint, 'guard = "order"\nbacklog_seconds = 2') as world:
        engine = world.start("run")
        assert world.write_beside(8) < 3 * LAG_S_MAX  # it has just been started
        with cut(weather, Fault.RESET_BEFORE):
            assert world.write_beside(20) < LAG_S_MAX
            world.wait(lambda: world.far_link().get("away_since_ms") is not None)
            link = world.far_link()
            assert (link["state"], link["waiting_keys"] > 0) == ("away", True)
            assert world.write_beside(10) < LAG_S_MAX
        world.wait(lambda: world.equal() and not world.parked())
        world.wait(lambda: world.far_link()["state"] == "ok")
        assert engine.terminate() == 0
        assert world.equal()


def test_a_replica_that_is_cut_off_holds_up_no_other_and_who_loses_is_journaled(
    url: str, weather: Weather, tmp_path: Path
) -> None:
    """Written on both sides of the cut: equal afterwards, nothing parked, each loser kept."""
    with Far(url, tmp_path, weather.endpoint, "backlog_seconds = 2") as world:
        first, second, far = world.names
        engine = world.start("run")
        assert world.write_beside(6) < 3 * LAG_S_MAX
        world.wait(world.equal)
        saved: dict[str, set[str]] = {}
        with cut(weather, Fault.RESET_BEFORE):
            for number in range(8):
                key = f"both{number}"
                saved[key] = {world.save(far, key), world.save((first, second)[number % 2], key)}
            assert world.write_beside(20) < LAG_S_MAX
            world.wait(lambda: len(world.parked()) > 0)
        world.wait(lambda: world.equal() and not world.parked())
        losers = {
            (key, loser)
            for key, values in saved.items()
            for loser in values - {world.value(first, key) or ""}
        }
        assert len(losers) == len(saved)
        # The one that reads the loser's stream may tell of it later than the winner has arrived.
        world.wait(lambda: losers <= set(world.journal()))
        assert engine.terminate() == 0


def test_a_function_whose_target_never_answers_gets_on_for_the_other(
    url: str, weather: Weather, tmp_path: Path
) -> None:
    """A delivery takes what it is given to find out, the next none; a later environment brings the
    target what it lacks.
    """
    options = 'guard = "ledger"\nbacklog_seconds = 1'
    with (
        Far(url, tmp_path, weather.endpoint, options) as world,
        closing(Stream(world, world.names[0])) as stream,
    ):

        def deliver() -> float:
            began_s = time.monotonic()
            while records := stream.read():
                assert handler({"Records": records}, Context(TIMEOUT_MS)) == {
                    "batchItemFailures": []
                }
            return time.monotonic() - began_s

        def change() -> None:
            for number in range(10):
                world.save(world.names[0], f"k{number}")
            world.remove(world.names[0], "k0")

        with environment(str(world.config)):
            change()
            deliver()
            assert world.equal()
            with cut(weather, Fault.HANG, hang_s=3.0):
                change()
                time.sleep(1.1)  # older than backlog_seconds: no delivery is tried for longer
                deliver()
                change()
                assert deliver() < 2.0
                assert world.value(world.names[1], "k1") == world.value(world.names[0], "k1")
                assert world.parked()
        weather.calm()
        with environment(str(world.config)):
            change()
            deliver()
            assert world.equal()
            assert world.parked() == []
