"""Mirrors through imitations of servers that do otherwise, over HTTP: as source and as target."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.end_to_end.test_two_way import hand_over
from tests.imitation import ImitationProxy, imitating
from tests.storm.engine import planned, run_storm
from tests.storm.two_way import Plan, Regions, two_way_storm
from tests.storm.world import PROGRAM

from dynamirror.core.servers import Kind, habits_of

LOOKS = {
    "DescribeContinuousBackups",
    "DescribeKinesisStreamingDestination",
    "DescribeLimits",
    "ListTagsOfResource",
}
"""What is asked only to be told, where there is anything to tell."""


@pytest.fixture(scope="session", params=[Kind.ALTERNATOR, Kind.DYNAMODB_LOCAL], ids=str)
def imitation(request: pytest.FixtureRequest, url: str) -> Iterator[ImitationProxy]:
    """One kind of server, before the server; Alternator's streams hold changes back for a second,
    and are called as newer versions call them.
    """
    alternator = {"shards": 8, "visible_after_s": 1.0, "newer": True}
    habits = alternator if request.param is Kind.ALTERNATOR else {}
    clock = lambda: time.time_ns() // 1_000_000  # noqa: E731
    with imitating(url, clock, request.param, **habits) as proxy:
        yield proxy


def test_a_one_way_storm_ends_equal(imitation: ImitationProxy, tmp_path: Path) -> None:
    """Both ends there; faults, pages that come twice, ``kill -9``: equal, and verify says so."""
    plan = planned("engine", "item", seed=1, changes=1_000, keys=100, kills=1, rate=400.0)

    result = run_storm(plan, imitation.endpoint, tmp_path, server=imitation.kind)

    result.require_equal()
    assert result.counts["duplicates"] > 0
    assert (imitation.pairs > 100) is habits_of(imitation.kind).puts_in_pairs


def test_a_two_way_storm_ends_equal_and_losers_are_journaled(
    imitation: ImitationProxy, tmp_path: Path
) -> None:
    """Writers in both regions, with versions and without, faults and ``kill -9``: equal, no loop,
    every lost write in a journal, nothing lost that one region wrote.
    """
    plan = Plan(
        seed=1,
        replicas=2,
        changes=300,
        writers=1,
        hot=8,
        cold=100,
        kills=1,
        rate=40.0,
        server=imitation.kind,
    )
    result = two_way_storm(plan, imitation.endpoint, tmp_path)

    result.require_clean()
    assert result.lost > 0
    assert (imitation.pairs > 100) is habits_of(imitation.kind).puts_in_pairs


def test_an_item_handed_over_when_quiet_loses_no_write(
    imitation: ImitationProxy, tmp_path: Path
) -> None:
    """Applications that never heard of a version: each region in its turn, and both hold it."""
    at = imitation.endpoint
    with Regions(at, tmp_path, 2, proxy=at, server=imitation.kind) as world:
        hand_over(world, "no version", turns=2)


def test_no_command_needs_what_the_server_lacks(imitation: ImitationProxy, tmp_path: Path) -> None:
    """From init to a restored conflict: every command does its work, and none asks for an
    operation that isn't there but to tell of what it finds.
    """
    imitation.in_vain.clear()
    at = imitation.endpoint
    with Regions(at, tmp_path, 2, proxy=at, server=imitation.kind) as world:

        def done(*words: str) -> str:
            *command, last = words
            child = world._start(["-c", PROGRAM, *command, str(world.config), *last.split()], "do")
            status = child.end()
            assert status == 0, child.said
            return child.said

        def by() -> set[str]:
            return {items["a"]["by"][1] for items in world.items().values()}

        for name in world.names:
            save = {"id": {"S": "a"}, "version": {"N": "1"}, "by": {"S": name}}
            world.api(name).put_item(TableName=world.table, Item=save)
        done("run", "--once")
        assert by() == {world.names[0]}
        (lost,) = json.loads(done("conflicts", "--json"))["conflicts"]
        done("conflicts", "restore", f"{lost['id']} --yes")
        done("run", "--once")
        assert by() == {world.names[1]}

        checked = world.command("check")[1]
        done("backfill", "--yes")
        unlike = {"id": {"S": "b"}, "version": {"N": "1"}}
        world.api(world.names[0]).put_item(TableName=world.table, Item=unlike)
        assert "missing" in world.command("verify")[1]
        world.command("verify", "--repair", "--yes")
        done("verify", "")
        done("status", "")

    assert ("not looked at: the account's limits" in checked) is (imitation.kind is Kind.ALTERNATOR)
    assert imitation.in_vain.keys() <= LOOKS, imitation.in_vain
