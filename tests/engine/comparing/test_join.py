"""Two tables' items find each other whatever their order, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from random import Random

import msgspec
import pytest
from tests.engine.world import item, key

from dynamirror.core.drift import End, Sight
from dynamirror.core.values import Key, encode, key_of
from dynamirror.engine.comparing.join import Join
from dynamirror.engine.reads import Item

SIGHT = Sight("us-east-1", "eu-west-1")


def held(name: str, value: int = 0) -> Item:
    keys = key(name)
    return Item(key_of(keys), keys, msgspec.Raw(encode(item(name, value))))


def joined(
    seed: int, waiting_bytes_max: int, sight: Sight = SIGHT
) -> tuple[set[Key], set[Key], int]:
    """Join two tables, each in an order of its own; return what was found, and what was to be."""
    chance = Random(seed)
    mine = {f"item {number}": number for number in range(2_000)}
    theirs = dict(mine)
    for name in chance.sample(list(mine), 30):
        del theirs[name]
    for name in chance.sample(list(theirs), 30):
        theirs[name] += 1
    theirs |= {f"extra {number}": number for number in range(30)}
    wanted = {
        key_of(key(name))
        for name in mine.keys() | theirs.keys()
        if mine.get(name) != theirs.get(name) and (name in mine or sight.extras)
    }
    sides = {
        end: [held(*one) for one in chance.sample(list(table.items()), len(table))]
        for end, table in zip(End, (mine, theirs), strict=True)
    }
    found: list[Item] = []
    with Join(sight, waiting_bytes_max) as join:
        while any(sides.values()):
            end = chance.choice([end for end in End if sides[end]])
            page = [sides[end].pop() for _ in range(min(50, len(sides[end])))]
            found += join.add(end, page)
        for rest in join.rest():
            found += rest
        spilled = join.spilled
    keys = {one.key for one in found}
    assert len(keys) == len(found), "an item is told of once"
    assert all(one.keys for one in found)
    return keys, wanted, spilled


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [10**9, 200_000, 1])
@pytest.mark.parametrize("extras", [True, False])
def test_exactly_what_differs_is_left(seed: int, most: int, *, extras: bool) -> None:
    """In memory, by way of files, or partly so."""
    sight = Sight("us-east-1", "eu-west-1", extras=extras)
    found, wanted, spilled = joined(seed, most, sight)
    assert found == wanted
    assert (spilled > 0) == (most < 10**9)


def test_files_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Join(SIGHT, 1) as join:
        join.add(End.SOURCE, [held("a")])
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_memory_is_bounded_by_what_may_wait() -> None:
    """All of one table first, then all of the other: the worst order there is."""
    most = 2 * 1024 * 1024
    tracemalloc.start()
    try:
        with Join(SIGHT, most) as join:
            for end in End:
                for number in range(0, 20_000, 100):
                    page = [held(f"item {one}", one) for one in range(number, number + 100)]
                    assert not join.add(end, page)
            left = [one for rest in join.rest() for one in rest]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not left
    assert join.spilled > 30_000
    assert peak < 12 * 1024 * 1024


def test_a_waiting_item_does_not_keep_its_page() -> None:
    page = encode([item(f"item {number}", number) for number in range(1_000)])
    raws = msgspec.json.decode(page, type=list[msgspec.Raw])
    with Join(SIGHT) as join:
        names = key("item 0")
        join.add(End.SOURCE, [Item(key_of(names), names, raws[0])])
        ((waiting,), _) = (list(side.values()) for side in join._waiting)
    assert waiting.image is not raws[0]
    assert bytes(waiting.image) == bytes(raws[0])
