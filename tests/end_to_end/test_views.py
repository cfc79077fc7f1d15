"""Views on a server, by the commands that users type."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.storm.world import World, scanned

Make = Callable[..., World]

MOVED = 'on_poison = "park"\nkey = { id = "{kind}#{id}" }\nattributes = { exclude = ["email"] }'

GOOD = {"id": {"S": "b#c"}, "kind": {"S": "a"}}
"""Kept as ``a#b#c``."""
TWIN = {"id": {"S": "c"}, "kind": {"S": "a#b"}, "email": {"S": "secret"}}
"""Would be, too."""


@pytest.mark.parametrize("guard", ["order", "ledger"])
def test_two_items_never_meet_under_one_key(guard: str, make_world: Make) -> None:
    """Live, copied, verified, repaired or redriven: the second is told of, with its reason, and
    the first stays; given another key at the source, it goes over.
    """
    world = make_world(guard, options=MOVED)
    world.put(**GOOD)
    world.put(**TWIN)

    def see_the_first() -> None:
        (held,) = scanned(world.target, world.table).values()
        assert held["id"] == ("S", "a#b#c")
        assert held["kind"] == ("S", "a")

    for words in (
        ["check"],
        ["backfill", "--yes"],
        ["run", "--once"],
        ["verify"],
        ["verify", "--repair", "--yes"],
        ["redrive"],
    ):
        status, said = world.command(*words)
        assert status == 1, (words, said)
        assert words == ["run", "--once"] or "holds what in the key" in said, (words, said)
        if words != ["check"]:
            see_the_first()
    _, said = world.command("verify", "--json")
    (drift,) = (
        json.loads(line) for line in said.splitlines() if line.startswith('{"event":"drift"')
    )
    assert drift["kind"] == "missing"
    assert drift["key"] == {"id": TWIN["id"]}
    assert "holds what in the key" in drift["why"]

    world.put(**TWIN | {"kind": {"S": "b"}})
    world.command("run", "--once")
    for words in (["redrive"], ["verify"]):
        status, said = world.command(*words)
        assert status == 0, (words, said)
    held = scanned(world.target, world.table).values()
    assert sorted(item["id"][1] for item in held) == ["a#b#c", "b#c"]
    assert not any("email" in item for item in held)
