"""A version that is none, two-way: parked, then mended by a save or a delete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.simulation.test_engine import REGIONS, World, parked

from dynamirror.config.load import load
from dynamirror.core.values import Wire
from dynamirror.engine.held.redrive import Redriven
from dynamirror.runtimes.process import consumer_of, redriver_of
from dynamirror.simulation.replicas import EXPIRES, JOURNAL, TABLE
from dynamirror.wiring import Wiring

HOME, OTHER, THIRD = REGIONS
TEXT = {"S": "four"}

CONFIG = """
[mirrors.sessions]
mode = "two-way"
on_poison = "park"
{more}
replicas = [
  {{ region = "us-east-1", table = "Sessions" }},
  {{ region = "eu-west-1" }},
  {{ region = "ap-southeast-2" }},
]
"""


class Stage(World):
    """Three replicas of one item, whose home is the first."""

    def __init__(self, more: str = "") -> None:
        super().__init__(0)
        self.wiring = Wiring(
            load(CONFIG.format(more=more)),
            connect=self.connect,
            clock=now_ms,
            backoff=self.wiring.backoff,
        )

    def save(self, region: str, version: Wire | int, value: str) -> None:
        wire = {"N": str(version)} if isinstance(version, int) else version
        item = {"id": {"S": "k"}, "version": wire, "value": {"S": value}}
        self.regions[region].db.perform("PutItem", {"TableName": TABLE, "Item": item})

    def remove(self, region: str) -> None:
        key = {"id": {"S": "k"}}
        self.regions[region].db.perform("DeleteItem", {"TableName": TABLE, "Key": key})

    async def mirror(self, *names: str) -> None:
        """Run the consumers of all replicas, or of some, until nothing is left to read."""
        for _ in range(3):
            for one in self.wiring.config.mirrors:
                if one.source.name in (names or REGIONS):
                    await consumer_of(self.wiring, one).run(once=True)

    async def redrive(self, left: list[str] | None = None) -> Redriven:
        def note(_: Wire, error: Exception) -> None:
            if left is not None:
                left.append(str(error))

        home = redriver_of(self.wiring, self.wiring.config.mirrors[0])
        return await home.run(lambda _: None, note)

    def values(self) -> list[str | None]:
        items = [region.item("k") for region in self.regions.values()]
        return [item["value"]["S"] if item else None for item in items]

    def losers(self) -> list[str]:
        rows: Sequence[Any] = [
            row for one in self.regions.values() for row in one.db.table(JOURNAL).contents()
        ]
        return sorted(row["images"]["S"] for row in rows)


async def spoilt(more: str = "") -> Stage:
    """Return a stage on which all have version 3, and the home's next version was none."""
    stage = Stage(more)
    await stage.init()
    stage.save(HOME, 3, "known")
    await stage.mirror()
    assert stage.values() == ["known"] * 3
    stage.save(HOME, TEXT, "unfit")
    await stage.mirror()
    assert stage.values() == ["unfit", "known", "known"]
    return stage


def test_an_item_that_was_deleted_for_its_unfit_version_is_deleted_everywhere() -> None:
    """The delete has the rank of one more version of the last one that had a rank."""

    async def main() -> None:
        stage = await spoilt()
        stage.remove(HOME)
        await stage.mirror()
        assert (await stage.redrive()).keys == 1
        await stage.mirror()
        assert stage.values() == [None] * 3
        assert parked(stage, HOME) == []
        assert stage.losers() == []

    run(main)


def test_so_it_is_though_it_had_been_deleted_before() -> None:
    """A tombstone of an earlier life tells nothing of this one."""

    async def main() -> None:
        stage = Stage()
        await stage.init()
        stage.save(HOME, 1, "first")
        await stage.mirror()
        stage.remove(HOME)
        await stage.mirror()
        stage.save(HOME, 7, "second")
        await stage.mirror()
        stage.save(HOME, TEXT, "unfit")
        stage.remove(HOME)
        await stage.mirror()
        assert stage.values() == [None, "second", "second"]
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        assert stage.values() == [None] * 3

    run(main)


def test_a_save_that_outranks_such_a_delete_stays_and_one_that_it_outranks_is_journaled() -> None:
    async def main(version: int) -> tuple[list[str | None], list[str]]:
        stage = await spoilt()
        stage.save(THIRD, version, "beside")
        stage.remove(HOME)
        await stage.mirror(HOME)
        await stage.redrive()
        await stage.mirror()
        await stage.redrive()
        await stage.mirror()
        return stage.values(), stage.losers()

    values, _ = run(lambda: main(9))
    assert values == ["beside"] * 3
    values, losers = run(lambda: main(4))
    assert values == [None] * 3
    assert len(losers) == 1
    assert '"beside"' in losers[0]


def test_the_redrive_waits_for_a_delete_that_the_stream_is_still_to_tell_of() -> None:
    """By then the stream tells whether it was an application's, and the key stays held."""

    async def main() -> None:
        stage, left = await spoilt(), list[str]()
        stage.remove(HOME)
        assert (await stage.redrive(left)).left == 1
        assert "still to tell" in left[0]
        await stage.mirror()
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        assert stage.values() == [None] * 3

    run(main)


@pytest.mark.parametrize("lower", [1, 3])
def test_a_save_that_mends_it_with_no_higher_version_is_raised(lower: int) -> None:
    """Saved with a version that the others have passed, it is an unversioned write, and no less."""

    async def main() -> None:
        stage = await spoilt()
        stage.save(HOME, lower, "mended")
        await stage.mirror()
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        assert stage.values() == ["mended"] * 3
        assert parked(stage, HOME) == []

    run(main)


def test_one_made_again_under_a_low_version_is_raised_too() -> None:
    async def main() -> None:
        stage = await spoilt()
        stage.remove(HOME)
        stage.save(HOME, 1, "again")
        await stage.mirror()
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        assert stage.values() == ["again"] * 3
        assert parked(stage, HOME) == []

    run(main)


def test_a_delete_that_the_mirror_ignores_is_made_up_for_by_nobody() -> None:
    async def main() -> None:
        stage = await spoilt('deletes = "ignore"')
        stage.remove(HOME)
        await stage.mirror()
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        assert stage.values() == [None, "known", "known"]

    run(main)


def test_an_item_that_expired_with_an_unfit_version_is_removed_and_no_later_save() -> None:
    """A removal by TTL takes the image that expired: a save elsewhere, one version on, stays."""

    async def main(beside: int | None) -> list[str | None]:
        stage = await spoilt()
        item = {
            "id": {"S": "k"},
            "version": TEXT,
            "value": {"S": "unfit"},
            EXPIRES: {"N": str(now_ms() // 1_000 + 1)},
        }
        home = stage.regions[HOME].db
        home.perform("PutItem", {"TableName": TABLE, "Item": item})
        await asyncio.sleep(5)
        home.table(TABLE).expire(now_ms())
        assert stage.values()[0] is None
        if beside is not None:
            stage.save(THIRD, beside, "beside")
        await stage.mirror(HOME)
        assert (await stage.redrive()).left == 0
        await stage.mirror()
        await stage.redrive()
        await stage.mirror()
        return stage.values()

    assert run(lambda: main(None)) == [None] * 3
    assert run(lambda: main(4)) == ["beside"] * 3


def test_what_was_never_mirrored_leaves_nothing_parked() -> None:
    """Inserted with an unfit version and deleted again: nobody else ever had it."""

    async def main() -> None:
        stage = Stage()
        await stage.init()
        stage.save(HOME, TEXT, "unfit")
        stage.remove(HOME)
        await stage.mirror()
        assert (await stage.redrive()).left == 0
        assert stage.values() == [None] * 3
        assert parked(stage, HOME) == []

    run(main)
