"""What a change costs in a two-way mirror: requests counted, and the manual says the same."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.simulation.test_members import EU, US, Members

from dynamirror.core.values import Wire, decode
from dynamirror.runtimes.process import consumer_of
from dynamirror.simulation.replicas import TABLE

MANUAL = Path(__file__).parents[2] / "docs" / "two-way.md"

KIND = {"GetItem": "read", "PutItem": "write", "UpdateItem": "write", "DeleteItem": "write"}
"""Of requests that are charged for; heartbeats describe a table, which is free."""

OURS = ("ledger", "journal")


def save(world: Members, *, version: bool = True) -> None:
    """Save as an application does: what it does not name, stays."""
    update: Wire = {
        "TableName": TABLE,
        "Key": {"id": {"S": "k"}},
        "UpdateExpression": "SET #n = :n ADD #v :one" if version else "SET #n = :n",
        "ExpressionAttributeNames": {"#n": "note", **({"#v": "version"} if version else {})},
        "ExpressionAttributeValues": {":n": {"S": str(now_ms())}},
    }
    if version:
        update["ExpressionAttributeValues"][":one"] = {"N": "1"}
        if world.regions[US].item("k") is None:
            update["ExpressionAttributeValues"][":one"] = {"N": str(now_ms())}
    world.regions[US].db.perform("UpdateItem", update)


def delete(world: Members) -> None:
    world.regions[US].db.perform("DeleteItem", {"TableName": TABLE, "Key": {"id": {"S": "k"}}})


class Counted:
    """Counts requests to replicas, ledgers and journals, by region."""

    def __init__(self, world: Members) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        for name in (US, EU):
            world.regions[name].db.before = self._at(name)

    def _at(self, region: str) -> Callable[[str, bytes], Awaitable[None]]:
        async def before(operation: str, body: bytes) -> None:
            table = decode(body).get("TableName", "")
            if operation in KIND and (table == TABLE or table.endswith(OURS)):
                name = table.removeprefix(f"{TABLE}-dynamirror-")
                self.requests[region, KIND[operation], name] += 1

        return before

    def at(self, region: str) -> str:
        """Return the requests to a region as the manual spells them."""
        found = {key[1:]: count for key, count in self.requests.items() if key[0] == region}
        told = [
            f"{found[kind, table]} {kind} of the {'replica' if table == TABLE else table}"
            for table in ("ledger", TABLE, "journal")
            for kind in ("read", "write")
            if (kind, table) in found
        ]
        return ", ".join(told) or "none"


def measured(kind: str) -> tuple[str, str, str, str]:
    """Return what a change costs elsewhere and at home, and what its echoes cost there."""

    async def main() -> tuple[str, str, str, str]:
        world = Members()
        await world.begin()
        if kind != "insert":
            save(world)
            await world.drain(world.two)
        await asyncio.sleep(1)
        if kind == "delete":
            delete(world)
        else:
            save(world, version=kind != "save without a version")
        us, eu = (consumer_of(world.two, one) for one in world.two.config.mirrors)
        counted = Counted(world)
        await us.run(once=True)
        elsewhere, home = counted.at(EU), counted.at(US)
        counted = Counted(world)
        await eu.run(once=True)
        return elsewhere, home, counted.at(EU), counted.at(US)

    return run(main)


KINDS = ("save", "insert", "delete", "save without a version")


@pytest.mark.parametrize("kind", KINDS)
def test_the_manual_says_what_was_counted(kind: str) -> None:
    """Requests per change and kind, and of its echo, which never writes."""
    elsewhere, home, echo, beyond = measured(kind)

    row = f"| {kind} | {elsewhere} | {home} | {echo} |"
    assert row in MANUAL.read_text(), row
    assert beyond == "none"
    assert "write" not in echo


def test_the_echo_of_a_save_costs_nothing() -> None:
    """The stamp tells it: no read, no write."""
    assert measured("save")[2] == "none"


def test_the_manual_adds_up() -> None:
    """The write units of the table are the writes of its rows, items and rows of up to 1 KB."""
    text = MANUAL.read_text()

    for kind in KINDS:
        found = re.search(rf"\| {kind} \|(.*)\|(.*)\|(.*)\|\n", text)
        units = re.search(rf"\| {kind} \| (\d+) \|\n", text)
        assert found is not None
        assert units is not None
        assert int(units[1]) == sum(map(int, re.findall(r"(\d+) write", found[0])))
