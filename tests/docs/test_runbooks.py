"""Every runbook does what it says, command by command, on a server of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.docs.runbook import BOOKS, Desk, steps_of
from tests.servers import server_python
from tests.storm.world import BOTH_IMAGES, Wire, scanned

from dynamirror.demo.server import EmbeddedServer

OURS = {"_mirror", "version"}

OLD, NEW = "111111111111", "222222222222"

FOLLOWED = {"migrate", "cut-over", "evacuate", "come-back", "history-lost"}
"""The others have tests of their own."""


class Town:
    """An application's tables in regions and accounts, and the desk of who is on duty."""

    def __init__(self, url: str, folder: Path) -> None:
        self.desk = Desk(url, folder)
        self._url = url
        self._apis: list[Any] = []
        self._numbers = count(1)

    def api(self, region: str, account: str = OLD) -> Any:
        api = boto3.client(
            "dynamodb",
            region_name=region,
            endpoint_url=self._url,
            aws_access_key_id=account,
            aws_secret_access_key="test",
        )
        self._apis.append(api)
        return api

    def make(self, api: Any, table: str) -> None:
        api.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            Tags=[{"Key": "team", "Value": "news"}],
        )

    def write(self, api: Any, table: str) -> None:
        """Save new items, change one and delete one, as an application does."""
        for _ in range(20):
            self.put(api, table, f"item {next(self._numbers)}")
        self.put(api, table, "item 1")
        api.delete_item(TableName=table, Key={"id": {"S": f"item {next(self._numbers) - 1}"}})

    def put(self, api: Any, table: str, name: str) -> None:
        number = {"N": str(next(self._numbers))}
        api.put_item(TableName=table, Item={"id": {"S": name}, "n": number})

    def close(self) -> None:
        self.desk.stop()
        for api in self._apis:
            api.close()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with EmbeddedServer(server_python()) as server:
        made = Town(server.url, tmp_path)
        try:
            yield made
        finally:
            made.close()


def seen(api: Any, table: str) -> dict[str, Wire]:
    """Return a table's items without what a mirror leaves on them."""
    return {
        name: {part: value for part, value in item.items() if part not in OURS}
        for name, item in scanned(api, table).items()
    }


def test_migrate(town: Town) -> None:
    """A table is in another account in the end, live writes and older items alike."""
    old, new = town.api("us-east-1"), town.api("us-east-1", NEW)
    town.make(old, "Stories")
    town.write(old, "Stories")

    town.desk.follow("migrate", {"the application writes": lambda: town.write(old, "Stories")})
    town.desk.command("dynamirror status mirrors.toml --wait-drained --timeout 60")

    assert seen(new, "Stories") == seen(old, "Stories")
    assert len(seen(new, "Stories")) > 50


def test_cut_over(town: Town) -> None:
    """At the switch nothing is missing at the target; after it, the source follows."""
    old, new = town.api("us-east-1"), town.api("eu-west-1")
    town.make(old, "Stories")
    town.write(old, "Stories")
    steps = steps_of("cut-over")
    (town.desk._folder / "mirrors.toml").write_text(steps[0].text)
    for command in ("init mirrors.toml --yes", "run mirrors.toml", "backfill mirrors.toml --yes"):
        town.desk.command(f"dynamirror {command}")
    at_switch: dict[str, Wire] = {}

    def engine_stops() -> None:
        town.desk.stop()
        at_switch.update(seen(old, "Stories"))
        assert seen(new, "Stories") == at_switch

    town.desk.follow(
        "cut-over",
        {
            "the application writes": lambda: town.write(old, "Stories"),
            "the writers stop": lambda: None,
            "the engine stops": engine_stops,
            "the application writes at the target": lambda: town.write(new, "Stories"),
        },
    )

    assert at_switch
    assert seen(old, "Stories") == seen(new, "Stories") != at_switch


def two_way(town: Town) -> tuple[Any, Any]:
    """Make a two-way mirror at work."""
    first, second = town.api("us-east-1"), town.api("eu-west-1")
    town.make(first, "Sessions")
    (town.desk._folder / "mirrors.toml").write_text(steps_of("evacuate")[0].text)
    town.desk.command("dynamirror init mirrors.toml --yes")
    town.desk.command("dynamirror run mirrors.toml")
    town.write(first, "Sessions")
    return first, second


def test_evacuate_and_come_back(town: Town) -> None:
    """Nothing that was written in the region that was left is missing, and it serves again."""
    first, second = two_way(town)
    here: dict[str, Callable[[], None]] = {
        "everybody leaves us-east-1": lambda: town.write(second, "Sessions"),
        "the engine stops": town.desk.stop,
        "the application writes in eu-west-1": lambda: town.write(second, "Sessions"),
        "the application writes in us-east-1": lambda: town.write(first, "Sessions"),
    }

    town.desk.follow("evacuate", here)
    assert seen(first, "Sessions").keys() <= seen(second, "Sessions").keys()
    town.desk.stop()
    town.write(second, "Sessions")
    town.desk.follow("come-back", here)

    assert seen(first, "Sessions") == seen(second, "Sessions")
    assert len(seen(first, "Sessions")) > 80


def test_history_lost(town: Town) -> None:
    """After a stream was re-created, and a backfill and a repair, both tables are the same."""
    old, new = town.api("us-east-1"), town.api("eu-west-1")
    town.make(old, "Stories")
    town.write(old, "Stories")
    (town.desk._folder / "mirrors.toml").write_text(steps_of("history-lost")[0].text)
    town.desk.command("dynamirror init mirrors.toml --yes")
    town.desk.command("dynamirror backfill mirrors.toml --yes")
    town.desk.command("dynamirror run mirrors.toml --once")
    old.update_table(TableName="Stories", StreamSpecification={"StreamEnabled": False})
    town.write(old, "Stories")
    old.delete_item(TableName="Stories", Key={"id": {"S": "item 5"}})
    view = {"StreamEnabled": True, "StreamViewType": BOTH_IMAGES}
    old.update_table(TableName="Stories", StreamSpecification=view)

    town.desk.follow("history-lost", {})

    assert seen(new, "Stories") == seen(old, "Stories")
    assert repr(("S", "item 5")) not in seen(new, "Stories")


def test_every_runbook_is_followed_here() -> None:
    """A command that nobody has run since it was written is wrong by tomorrow."""
    names = [path.stem for path in BOOKS.glob("*.md")]
    written = {name for name in names if any(one.kind == "command" for one in steps_of(name))}

    assert written == FOLLOWED


@pytest.mark.parametrize("name", sorted(FOLLOWED))
def test_a_runbook_fits_on_two_screens(name: str) -> None:
    """They are read at night."""
    lines = (BOOKS / f"{name}.md").read_text().splitlines()

    assert len(lines) <= 110
    assert max(map(len, lines)) <= 120
