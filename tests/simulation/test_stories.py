"""Histories told step by step: those by which rules were found."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from dynamirror.core.mesh import Answer, Ask, Skip, Verdict
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire
from dynamirror.errors import UnfitError
from dynamirror.simulation.replicas import KEY, TABLE, Place, mesh_of

KEYS = {KEY: {"S": "k"}}
NOW_MS = 1_700_000_000_000


class Trio:
    """Three replicas, A stronger than B, B than C, whose records are applied by hand."""

    def __init__(self, *, bump: bool = True) -> None:
        self.places = {name: Place(name, lambda: NOW_MS) for name in "ABC"}
        mesh = mesh_of(3, bump=bump)
        self.rules = {name: TwoWay(mesh, name) for name in "ABC"}
        self.read = dict.fromkeys("ABC", 0)
        self.asked: list[Ask] = []

    def save(self, name: str, version: int, value: str) -> None:
        """Let an application update an item: it keeps what it does not know, such as the stamp."""
        update: Wire = {
            "TableName": TABLE,
            "Key": KEYS,
            "UpdateExpression": "SET #v = :v, #value = :value",
            "ExpressionAttributeNames": {"#v": "version", "#value": "value"},
            "ExpressionAttributeValues": {":v": {"N": str(version)}, ":value": {"S": value}},
        }
        self.places[name].db.perform("UpdateItem", update)

    def delete(self, name: str) -> None:
        self.places[name].db.perform("DeleteItem", {"TableName": TABLE, "Key": KEYS})

    def next(self, name: str, to: Sequence[str] = "ABC") -> Verdict:
        """Let a consumer apply its next record, at these replicas only."""
        record = self.places[name].records()[self.read[name]]
        self.read[name] += 1
        verdict: Verdict = self._carried_out(self.rules[name].local(record, NOW_MS))
        if not isinstance(verdict, Skip):
            for other in self.rules[name].others:
                if other in to:
                    self._carried_out(self.rules[name].remote(verdict, other, NOW_MS))
        return verdict

    def drain(self) -> None:
        while any(self.read[name] < len(self.places[name].records()) for name in "ABC"):
            for name in "ABC":
                if self.read[name] < len(self.places[name].records()):
                    self.next(name)

    def values(self) -> list[str | None]:
        items = [place.item("k") for place in self.places.values()]
        return [item["value"]["S"] if item else None for item in items]

    def lost(self) -> list[str]:
        return [
            row["loser"]["value"]["S"] for place in self.places.values() for row in place.journal()
        ]

    def _carried_out(self, steps: Generator[Ask, Answer, Any]) -> Any:
        try:
            ask = next(steps)
            while True:
                self.asked.append(ask)
                ask = steps.send(self.places[ask.replica].perform(ask))
        except StopIteration as end:
            return end.value


def test_a_removal_that_another_delete_explains_is_no_delete() -> None:
    """The mirror's own removal, read back, must not become a delete that nobody made and that
    outranks a save it never saw.
    """
    trio = Trio()
    trio.save("A", 10, "first")
    trio.drain()
    trio.save("B", 11, "b")
    assert trio.next("B", to="C") != Skip.ECHO  # it reaches only C
    trio.save("C", 12, "c")
    trio.delete("A")
    trio.next("A")  # rank (11, A): removes B's image
    assert trio.values()[1] is None
    trio.next("C")  # B's save coming back: an echo
    trio.next("C")  # C's save arrives at A and B

    assert trio.next("B") is Skip.OUTRANKED
    trio.drain()
    assert trio.values() == ["c", "c", "c"]


def test_a_change_costs_one_request_and_no_read() -> None:
    """A save of an item that is there is one conditional put elsewhere; its echo costs nothing."""
    trio = Trio()
    trio.save("A", 1, "one")
    trio.drain()
    trio.asked.clear()
    trio.save("A", 2, "two")
    trio.drain()

    assert [(ask.operation, ask.replica) for ask in trio.asked] == [
        ("PutItem", "B"),
        ("PutItem", "C"),
    ]
    assert trio.values() == ["two", "two", "two"]


def test_of_two_saves_at_once_one_stays_and_the_other_is_journaled() -> None:
    """A true conflict: the stronger replica's save stays everywhere, the other's is kept aside."""
    trio = Trio()
    trio.save("A", 1, "both knew")
    trio.drain()
    trio.save("A", 2, "a")
    trio.save("B", 2, "b")
    trio.drain()

    assert trio.values() == ["a", "a", "a"]
    assert trio.lost() == ["b"]


def test_a_version_that_is_no_whole_number_is_unfit() -> None:
    """What can't be ordered is not mirrored by guess: it is parked."""
    for number in ("-1", "1.5", "1" + 37 * "0"):
        trio = Trio()
        item = {**KEYS, "version": {"N": number}, "value": {"S": "x"}}
        trio.places["A"].db.perform("PutItem", {"TableName": TABLE, "Item": item})
        with pytest.raises(UnfitError):
            trio.next("A")


def test_a_write_without_a_version_flows_all_the_same() -> None:
    """An application that never heard of versions is mirrored, unless only a report is wanted."""
    for bump, expected in ((True, ["x", "x", "x"]), (False, ["x", None, None])):
        trio = Trio(bump=bump)
        trio.places["A"].db.perform(
            "PutItem", {"TableName": TABLE, "Item": {**KEYS, "value": {"S": "x"}}}
        )
        trio.drain()

        assert trio.values() == expected
