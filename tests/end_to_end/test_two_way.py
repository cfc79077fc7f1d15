"""After a two-way storm all replicas are equal, who lost is journaled, and all is quiet."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.storm.repairs import repair_storm
from tests.storm.two_way import Plan, Regions, two_way_storm
from tests.storm.two_way_mapping import handler_storm

HOT, COLD = 8, 100
RATE = 80.0


@pytest.mark.parametrize("replicas", [2, 3])
def test_a_killed_engine_leaves_replicas_equal_and_losers_journaled(
    replicas: int, url: str, tmp_path: Path
) -> None:
    """Writers in every region, with versions and without, faults before all replicas and
    ``kill -9``: equal, no loop, every lost write in a journal, nothing lost that one region wrote.
    """
    plan = Plan(
        seed=1,
        replicas=replicas,
        changes=200 * replicas,
        writers=1,
        hot=HOT,
        cold=COLD,
        kills=2,
        rate=RATE,
    )
    result = two_way_storm(plan, url, tmp_path)

    result.require_clean()
    assert result.lost > 0
    assert result.counts["duplicates"] > 0


@pytest.mark.parametrize(
    ("mutant", "notices"), [("NoRaise", "differs"), ("NoJournalOfPuts", "is lost unseen")]
)
def test_the_two_way_storm_bites(mutant: str, notices: str, url: str, tmp_path: Path) -> None:
    """With a rule broken, the same storm finds replicas that differ, or a loser in no journal."""
    plan = Plan(
        seed=1,
        replicas=2,
        changes=600,
        writers=1,
        hot=4,
        cold=50,
        kills=1,
        rate=RATE,
        mutant=mutant,
    )
    result = two_way_storm(plan, url, tmp_path)

    assert any(notices in wrong for wrong in result.wrong)


def test_repairs_under_full_load_leave_replicas_equal_and_lose_nothing(
    url: str, tmp_path: Path
) -> None:
    """Again and again beside writers, an engine and faults, some of it killed: what differed from
    the beginning is mended as the ranks say, and what is on its way is nobody's drift.
    """
    plan = Plan(
        seed=1,
        replicas=2,
        changes=400,
        writers=1,
        hot=HOT,
        cold=COLD,
        kills=2,
        rate=RATE,
        drifts=40,
    )
    result = repair_storm(plan, url, tmp_path)

    result.require_clean()
    assert result.repairs > 0
    assert result.lost > 0


def test_functions_leave_replicas_equal_and_losers_journaled(url: str, tmp_path: Path) -> None:
    """The same by a function in each region, which runs out of time; batches come twice."""
    plan = Plan(
        seed=1,
        replicas=2,
        changes=400,
        writers=1,
        hot=HOT,
        cold=COLD,
        kills=0,
        rate=RATE,
        handler=True,
    )
    result = handler_storm(plan, url, tmp_path)

    result.require_clean()
    assert result.lost > 0
    assert result.counts["duplicates"] > 0


@pytest.mark.parametrize("how", ["ADD version 1", "no version"])
def test_an_item_handed_over_when_quiet_loses_no_write(how: str, url: str, tmp_path: Path) -> None:
    """Plain counters, and applications that never heard of a version: each region in its turn
    saves, deletes and makes again the same items; both hold the last write, and no journal any.
    """
    with Regions(url, tmp_path, 2, proxy=url) as world:
        hand_over(world, how, turns=3)


def hand_over(world: Regions, how: str, *, turns: int) -> None:
    """Let each region in its turn change the same items, and hold that nothing is lost."""
    dice, expected = random.Random(how), dict[str, str]()
    for turn in range(turns):
        api = world.api(world.names[turn % 2])
        for number in range(30):
            key, value = f"k{number % 10}", f"{turn}/{number}"
            if dice.random() < 0.3:
                api.delete_item(TableName=world.table, Key={"id": {"S": key}})
                expected.pop(key, None)
                continue
            update = "SET #v = :v" + (" ADD version :one" if "ADD" in how else "")
            one = {":one": {"N": "1"}} if "ADD" in how else {}
            api.update_item(
                TableName=world.table,
                Key={"id": {"S": key}},
                UpdateExpression=update,
                ExpressionAttributeNames={"#v": "value"},
                ExpressionAttributeValues={":v": {"S": value}, **one},
            )
            expected[key] = value
        for _ in world.names:
            assert world.command("run", "--once")[0] == 0
        for items in world.items().values():
            assert {key: item["value"][1] for key, item in items.items()} == expected
    assert world.journal() == []
