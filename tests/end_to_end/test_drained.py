"""The barrier on a real server: drained means that nothing written before is missing anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.storm.world import SOURCE, TARGET, World, scanned

from dynamirror.errors import Exit

Make = Callable[..., World]

UNVERSIONED_TWO_WAY = """\
[mirrors.storm]
mode = "two-way"
replicas = [
  {{ region = "us-east-1", table = "{table}", endpoint_url = "{url}" }},
  {{ region = "eu-west-1", table = "{table}", endpoint_url = "{url}" }},
]
"""


def test_after_the_barrier_a_cut_over_loses_nothing(make_world: Make) -> None:
    """An engine that lags behind a writer: once the writers stop and the barrier opens, both
    tables are equal, with no further wait.
    """
    world = make_world("order", options="max_writes_per_second = 300")
    engine = world.start("run")
    assert world.writer(seed=11, keys=2_000, changes=3_000).end() == 0
    assert world.differences()

    status, said = world.command("status", "--wait-drained", "--timeout", "120")

    assert (status, world.differences()) == (0, []), said
    assert engine.terminate() == 0


def test_nobody_reads(make_world: Make) -> None:
    """Changes that no engine applies keep the barrier shut: 1, and JSON says why."""
    world = make_world("order")
    assert world.command("run", "--once")[0] == 0
    world.put(id={"S": "a"})

    child = world.start("status", "--wait-drained", "--timeout", "8", "--json")

    assert child.end() == Exit.FINDING
    told = json.loads(child.said[child.said.index("{") :])
    assert told["drained"] is False
    assert "nobody reads the stream" in told["mirrors"][0]["why"]


def test_a_two_way_mirror_is_drained_when_what_it_raised_has_come_too(make_world: Make) -> None:
    """Writes without a version are raised by a write of the mirror's own, which must arrive too."""
    world = make_world("order")
    world.config.write_text(UNVERSIONED_TWO_WAY.format(table=world.table, url=world.url))
    assert world.command("init", "--yes")[0] == 0
    for region, names in (
        (SOURCE, ("ledger", "journal")),
        (TARGET, ("checkpoints", "parked", "journal")),
    ):
        world._tables[region] += [f"{world.table}-dynamirror-{name}" for name in names]
    engine = world.start("run")
    for number in range(60):
        world.put(id={"S": f"a{number}"}, n={"N": "1"})
        world.target.put_item(TableName=world.table, Item={"id": {"S": f"b{number}"}})

    status, said = world.command("status", "--wait-drained", "--timeout", "120")

    mine, theirs = (scanned(api, world.table) for api in (world.source, world.target))
    assert status == 0, said
    assert len(mine) == 120
    assert [name for name in mine if _version(mine[name]) != _version(theirs.get(name, {}))] == []
    assert engine.terminate() == 0


def _version(item: dict[str, object]) -> object:
    return item.get("version", "none")
