"""Two-way repair: what outranks the rest is carried to all, and nothing is lost unseen."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import Faults

from dynamirror.config.model import Place as ConfiguredPlace
from dynamirror.config.model import Side, Unversioned
from dynamirror.core.drift import Kind
from dynamirror.core.ledger import Tombstone
from dynamirror.core.rank import Peers, Rank
from dynamirror.core.stamp import Marks, Stamp
from dynamirror.core.values import Wire, row_key
from dynamirror.engine.comparing.mended import Mended, Outcome
from dynamirror.engine.comparing.resync import REPORTED, UNTOLD, TwoWayRepairer
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.retry import Backoff
from dynamirror.simulation.replicas import LEDGER, TABLE, Place

NAMES = ("A", "B", "C")
PEERS = Peers(NAMES)
MARKS = Marks(PEERS, "version", "_mirror")
KEYS: Wire = {"id": {"S": "k"}}
PLACES = tuple(ConfiguredPlace(region=name, table=TABLE, name=name) for name in NAMES)


class Replicas:
    """Three replicas, and what repairs them."""

    def __init__(self, *, unversioned: Unversioned = Unversioned.BUMP, seed: int = 0) -> None:
        self.places = {name: Place(name, now_ms) for name in NAMES}
        side = Side(
            name="sessions",
            source=PLACES[0],
            targets=PLACES[1:],
            replicas=PLACES,
            unversioned=unversioned,
        )
        apis = {name: place.db for name, place in self.places.items()}
        chance = Random(seed)
        self.repairer = TwoWayRepairer(
            side, apis, [], clock=now_ms, backoff=Backoff(draw=chance.random)
        )

    def save(self, at: str, version: str | None, value: str, stamp: Stamp | None = None) -> None:
        item = {**KEYS, "value": {"S": value}}
        if version is not None:
            item["version"] = {"N": version}
        if stamp is not None:
            item["_mirror"] = MARKS.wire(stamp)
        self.places[at].db.perform("PutItem", {"TableName": TABLE, "Item": item})

    def bury(self, at: str, version: int, origin: str) -> None:
        until = now_ms() // 1_000 + 10**6
        ledger = self.repairer._rules[at].ledger
        key = row_key("sessions", ("S", "k"))
        grave = Tombstone(PEERS.rank(version, origin), {}, until)
        request = ledger.bury(LEDGER, key, grave, now_ms() // 1_000)
        self.places[at].db.perform("UpdateItem", request)

    async def repair(self, *, dry: bool = False) -> Mended:
        told: list[Mended] = []
        drift = Drift(Kind.DIFFERENT, "B", KEYS, [])
        await self.repairer.run([drift], told.append, dry=dry)
        return told[0]

    def values(self) -> list[str | None]:
        items = [self.places[name].item("k") for name in NAMES]
        return [item["value"]["S"] if item else None for item in items]


def outcome_of(told: Mended) -> tuple[Outcome, str | None, str | None]:
    return told.outcome, told.action, told.origin


def test_the_highest_rank_is_put_everywhere() -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "4", "older")
        replicas.save("B", "5", "newer")
        told = await replicas.repair(dry=True)
        assert outcome_of(told) == (Outcome.PLANNED, "put", "B")
        assert replicas.values() == ["older", "newer", None]
        told = await replicas.repair()
        assert outcome_of(told) == (Outcome.REPAIRED, "put", "B")
        assert replicas.values() == ["newer"] * 3
        assert outcome_of(await replicas.repair()) == (Outcome.EQUAL, None, None)

    run(main)


def test_what_no_ledger_tells_a_delete_of_comes_back_and_is_said_to() -> None:
    """An item that was deleted in lost history looks like one that has never come."""

    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "4", "alone")
        planned = await replicas.repair(dry=True)
        assert (planned.outcome, planned.why) == (Outcome.PLANNED, UNTOLD)
        done = await replicas.repair()
        assert (done.outcome, done.why) == (Outcome.REPAIRED, UNTOLD)
        assert replicas.values() == ["alone"] * 3

    run(main)


@pytest.mark.parametrize("at", ["A", "C"])
def test_an_item_made_again_after_a_delete_that_a_ledger_tells_of_is_none_of_these(at: str) -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "5", "again")
        replicas.bury(at, 4, "B")
        told = await replicas.repair(dry=True)
        assert (*outcome_of(told), told.why) == (Outcome.PLANNED, "put", "A", None)

    run(main)


def test_of_one_version_the_stronger_replicas_stays() -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("C", "5", "weaker")
        replicas.save("B", "5", "stronger")
        assert outcome_of(await replicas.repair()) == (Outcome.REPAIRED, "put", "B")
        assert replicas.values() == ["stronger"] * 3

    run(main)


@pytest.mark.parametrize(
    ("version", "origin", "gone"),
    [(5, "A", True), (6, "A", True), (4, "A", False)],
)
def test_a_delete_that_outranks_the_item_is_carried_to_it(
    version: int, origin: str, *, gone: bool
) -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("C", "5", "x")
        replicas.bury("A", version, origin)
        told = await replicas.repair()
        assert told.action == ("delete" if gone else "put")
        assert replicas.values() == ([None] * 3 if gone else ["x"] * 3)

    run(main)


def test_an_item_made_again_with_the_rank_of_its_delete_is_raised_above_it() -> None:
    """The counter of its application started again."""

    async def main() -> None:
        replicas = Replicas()
        replicas.save("C", "5", "again")
        for name in NAMES:
            replicas.bury(name, 5, "C")
        assert outcome_of(await replicas.repair(dry=True)) == (Outcome.PLANNED, "raise", "C")
        assert (await replicas.repair()).outcome is Outcome.REPAIRED
        assert replicas.values() == ["again"] * 3

    run(main)


def test_an_item_that_a_late_put_brought_back_beside_its_tombstone_goes() -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "5", "x", Stamp(PEERS.rank(5, "B")))
        replicas.bury("A", 6, "B")
        assert outcome_of(await replicas.repair()) == (Outcome.REPAIRED, "delete", "A")
        assert replicas.values() == [None] * 3

    run(main)


def test_two_images_of_one_rank_become_one_and_the_other_is_kept() -> None:
    """Somebody changed a copy behind the mirror's back, without a version."""

    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "5", "made")
        stamp = Stamp(PEERS.rank(5, "A"))
        replicas.save("B", "5", "changed", stamp)
        replicas.save("C", "5", "made", stamp)
        assert outcome_of(await replicas.repair(dry=True)) == (Outcome.PLANNED, "raise", "A")
        assert (await replicas.repair()).outcome is Outcome.REPAIRED
        assert replicas.values() == ["made"] * 3
        lost = {name: place.journal() for name, place in replicas.places.items()}
        assert [row["loser"]["value"]["S"] for row in lost.pop("B")] == ["changed"]
        assert lost == {"A": [], "C": []}

    run(main)


def test_what_lacks_at_one_replica_only_needs_no_new_version() -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "5", "made")
        replicas.save("B", "5", "made", Stamp(PEERS.rank(5, "A")))
        assert outcome_of(await replicas.repair()) == (Outcome.REPAIRED, "put", "A")
        item = replicas.places["C"].item("k")
        assert item is not None
        assert item["version"] == {"N": "5"}
        assert not any(place.journal() for place in replicas.places.values())

    run(main)


def test_a_lower_rank_never_wins_by_being_given_a_version() -> None:
    """Of the two that differ on top one is raised, not the stronger replica's older item."""

    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "4", "older")
        replicas.save("B", "5", "newer")
        replicas.save("C", "5", "changed", Stamp(PEERS.rank(5, "B")))
        assert (await replicas.repair()).outcome is Outcome.REPAIRED
        assert replicas.values() == ["newer"] * 3

    run(main)


def test_an_item_without_a_version_is_given_one_first() -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("B", None, "x")
        assert (await replicas.repair()).outcome is Outcome.REPAIRED
        assert replicas.values() == ["x"] * 3

    run(main)


def test_report_leaves_unversioned_writes_to_the_application() -> None:
    async def main() -> None:
        replicas = Replicas(unversioned=Unversioned.REPORT)
        replicas.save("A", "5", "made")
        replicas.save("B", "5", "changed", Stamp(PEERS.rank(5, "A")))
        told = await replicas.repair()
        assert (told.outcome, told.why) == (Outcome.LEFT, REPORTED)
        assert replicas.values()[:2] == ["made", "changed"]

    run(main)


def test_an_item_without_a_rank_is_left_with_the_reason() -> None:
    async def main() -> None:
        replicas = Replicas()
        replicas.save("A", "0.5", "x")
        told = await replicas.repair()
        assert told.outcome is Outcome.LEFT
        assert "version" in (told.why or "")
        assert replicas.values() == ["x", None, None]

    run(main)


@pytest.mark.parametrize("seed", range(20))
def test_beside_writes_at_every_replica_the_highest_rank_of_all_survives(seed: int) -> None:
    """Through throttles, delays and lost answers; saves go on at three replicas meanwhile, and not
    one that outranks the rest is ever overwritten.
    """

    async def main() -> None:
        chance, replicas = Random(seed), Replicas(seed=seed)
        faults = Faults(seed, 0.1)
        ranks: dict[str, Rank] = {}

        async def write() -> None:
            while True:
                at = chance.choice(NAMES)
                held = replicas.places[at].item("k")
                seen = int(held["version"]["N"]) if held else 0
                version, value = seen + chance.randrange(1, 4), f"{at} {len(ranks)}"
                held_stamp = (held or {}).get("_mirror")
                item = {**KEYS, "value": {"S": value}, "version": {"N": str(version)}}
                if held_stamp and chance.random() < 0.7:
                    item["_mirror"] = held_stamp
                replicas.places[at].db.perform("PutItem", {"TableName": TABLE, "Item": item})
                ranks[value] = PEERS.rank(version, at)
                await asyncio.sleep(chance.random() * 0.3)

        for place in replicas.places.values():
            place.db.before, place.db.after = faults.before, faults.after
        writing = asyncio.create_task(write())
        for _ in range(15):
            await replicas.repair()
            await asyncio.sleep(chance.random())
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert (await replicas.repair()).outcome in (Outcome.REPAIRED, Outcome.EQUAL)
        (value,) = set(replicas.values())
        assert value is not None
        assert ranks[value] == max(ranks.values())

    run(main)
