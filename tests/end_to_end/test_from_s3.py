"""Batches that Lambda gave up are redriven from their bucket, by what the source holds now."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from tests.failed import letter, wire
from tests.storm.world import SOURCE, World, client

Make = Callable[..., World]

LANE = "aws/lambda/0f/shardId-1/2026/11/14"


class Bucket:
    """A bucket of its own."""

    def __init__(self, world: World) -> None:
        self._s3: Any = client(world.url, SOURCE, "s3")
        self.name = f"failed-{uuid.uuid4()}"
        self._s3.create_bucket(Bucket=self.name)

    def put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self.name, Key=key, Body=body)

    @property
    def keys(self) -> list[str]:
        told = self._s3.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(each["Key"] for each in told)

    @property
    def url(self) -> str:
        return f"s3://{self.name}"


def stream_of(world: World) -> str:
    table: str = world.source.describe_table(TableName=world.table)["Table"]["LatestStreamArn"]
    return table


def number(value: int) -> dict[str, Any]:
    return {"n": {"N": str(value)}}


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_their_keys_become_what_the_source_holds(guard: str, make_world: Make) -> None:
    """Never the stale image: what was deleted since stays deleted, what was written since is not
    undone, and what another object holds of the same key changes nothing.
    """
    world = make_world(guard)
    bucket = Bucket(world)
    for key in ("same", "newer", "gone"):
        world.put(id={"S": key}, **number(1))
    stream = stream_of(world)
    world.target.put_item(TableName=world.table, Item={"id": {"S": "extra"}, **number(1)})
    world.put(id={"S": "newer"}, **number(2))
    world.delete(id={"S": "gone"})
    first = [wire(key, at, new=number(1)) for at, key in enumerate(("same", "newer", "gone"), 1)]
    later = [wire("extra", 4, old=number(1)), wire("newer", 3, new=number(0), old=number(1))]
    bucket.put(f"{LANE}/1", letter(first, stream))
    bucket.put(f"{LANE}/2", letter(later, stream))

    status, said = world.command("redrive", "--from-s3", bucket.url)

    assert status == 0, said
    assert "2 objects taken in (5 keys)" in said
    assert world.differences() == []
    assert bucket.keys == [f"redriven/{LANE}/1", f"redriven/{LANE}/2"]
    status, said = world.command("redrive", "--from-s3", bucket.url)
    assert status == 0, said
    assert "0 objects taken in" in said


def test_a_bucket_is_gone_on_with_and_what_is_no_batch_stays(make_world: Make) -> None:
    """With the reason and what to do instead; all others are taken in."""
    world = make_world("order")
    bucket = Bucket(world)
    world.put(id={"S": "a"}, **number(1))
    good = letter([wire("a", 1, new=number(1))], stream_of(world))
    bucket.put(f"{LANE}/1", b"{}")
    bucket.put(f"{LANE}/2", good)
    bucket.put(f"{LANE}/3", letter([wire("a", 1)], stream_of(world).replace(world.table, "Other")))

    status, said = world.command("redrive", "--from-s3", f"{bucket.url}/aws/lambda")

    assert status == 1, said
    assert "1 object taken in (1 key), 2 objects can't be used" in said
    assert f"{LANE}/1 stays where it is: no batch of a DynamoDB stream" in said
    assert "no mirror of" in said
    assert "verify" in said
    assert bucket.keys == [f"{LANE}/1", f"{LANE}/3", f"redriven/{LANE}/2"]
    assert world.differences() == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3://not-there-at-all", "there is no s3://not-there-at-all"),
        ("bucket", "write s3://BUCKET"),
    ],
)
def test_a_place_that_is_none_is_told(place: str, told: str, make_world: Make) -> None:
    world = make_world("order")
    status, said = world.command("redrive", "--from-s3", place)
    assert status == 2, said
    assert told in said


def test_beside_an_engine_that_can_not_be_told_nothing_is_written(make_world: Make) -> None:
    """Guard ``item``: an engine deletes what a redrive is about to write, and nothing would refuse
    the older item.
    """
    world = make_world("item")
    bucket = Bucket(world)
    engine = world.start("run")
    world.wait(lambda: world.status()["links"][0]["state"] == "ok")
    bucket.put(f"{LANE}/1", letter([wire("a", 1, new=number(1))], stream_of(world)))

    status, said = world.command("redrive", "--from-s3", bucket.url)

    assert status == 2, said
    assert "an engine runs" in said
    assert bucket.keys == [f"{LANE}/1"]
    engine.terminate()
