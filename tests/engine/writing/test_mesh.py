"""One replica's changes carried to all others: what fails at one leaves the others alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.engine.virtual_time import now_ms, run

from dynamirror.core.record import StreamRecord
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire
from dynamirror.engine.retry import Backoff
from dynamirror.engine.writing.apply import Applier
from dynamirror.engine.writing.limiter import Limiter
from dynamirror.engine.writing.mesh import MeshApplier
from dynamirror.engine.writing.replicas import CarryTarget, JudgeTarget
from dynamirror.errors import PoisonError, ThrottledError
from dynamirror.simulation.replicas import Place, mesh_of


def record(number: int, version: str, old: Wire | None = None) -> StreamRecord:
    keys: Wire = {"id": {"S": "k"}}
    image = {**keys, "version": {"N": version}, "value": {"S": f"v{version}"}}
    return StreamRecord(number, "MODIFY", ("S", "k"), keys, image, old, 0.0, by_ttl=False)


class Mesh:
    def __init__(self) -> None:
        self.places = {name: Place(name, now_ms) for name in "ABC"}
        self.apis: Any = {name: place.db for name, place in self.places.items()}
        self.failures: list[BaseException] = []
        rules = TwoWay(mesh_of(3), "A")
        named: Any = {"on_failure": self.failures.append, "backoff": Backoff()}
        legs = [
            Applier(CarryTarget(rules, self.apis, now_ms, there), Limiter(8), **named)
            for there in rules.others
        ]
        judge = JudgeTarget(rules, self.apis, now_ms)
        self.applier = MeshApplier(judge, Limiter(8), legs, **named)

    def version(self, name: str) -> str | None:
        item = self.places[name].item("k")
        return item["version"]["N"] if item else None


def test_a_throttled_replica_holds_up_no_other() -> None:
    """What one replica refuses for a while is tried again there, and is done once elsewhere."""

    async def main() -> tuple[str | None, str | None, str | None, int]:
        mesh, puts = Mesh(), 0

        async def count(operation: str, _: bytes) -> None:
            nonlocal puts
            puts += operation == "PutItem"

        async def throttle(operation: str, _: bytes) -> None:
            if operation == "PutItem" and now_ms() % 10**9 < 5_000:
                raise ThrottledError("ThrottlingException", "not yet")

        mesh.places["B"].db.before, mesh.places["C"].db.before = throttle, count
        done = asyncio.Event()
        mesh.applier.submit([record(1, "7")], done.set)
        await asyncio.sleep(1)
        early = mesh.version("C")
        await done.wait()
        return early, mesh.version("B"), mesh.version("C"), puts

    early, b, c, puts = run(main)
    assert (early, b, c) == ("7", "7", "7")
    assert puts == 1


def test_saves_of_a_key_are_squashed_and_removals_never() -> None:
    """Of local saves in a row the last is sent, with what the first replaced."""
    rules = TwoWay(mesh_of(2), "A")
    first = record(1, "7")
    second = record(2, "8", first.new_image)  # type: ignore[arg-type]
    removal = StreamRecord(3, "REMOVE", ("S", "k"), first.keys, None, second.new_image, 0.0, False)  # noqa: FBT003
    both = rules.squashed(first, second)

    assert both is not None
    assert (both.sequence_number, both.old_image) == (2, None)
    assert rules.squashed(second, removal) is None
    assert rules.squashed(removal, first) is None


@pytest.mark.parametrize("version", ["-1", "0.5"])
def test_an_unfit_version_is_refused_by_itself(version: str) -> None:
    """A change that can't be mirrored stops the mirror, or is parked; it is never guessed at."""

    async def main() -> list[BaseException]:
        mesh = Mesh()
        bad = record(2, version, record(1, "7").new_image)  # type: ignore[arg-type]
        mesh.applier.submit([record(1, "7"), bad], lambda: None)
        await asyncio.sleep(5)
        assert mesh.version("B") == "7"
        return mesh.failures

    (failure,) = run(main)
    assert isinstance(failure, PoisonError)
