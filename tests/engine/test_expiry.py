"""Time to live, as docs/ttl.md has it: live, copied and compared alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.engine.comparing.test_verify import compared
from tests.engine.copying.test_backfill import copied
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, World, contents, key

from dynamirror.config.model import Deletes, Guard
from dynamirror.core.values import Wire
from dynamirror.core.view.lens import View
from dynamirror.core.view.shape import Shape
from dynamirror.memory import MemoryDynamoDB


def expire_by(db: MemoryDynamoDB, attribute: str) -> None:
    specification = {"Enabled": True, "AttributeName": attribute}
    request = {"TableName": "Stories", "TimeToLiveSpecification": specification}
    db.perform("UpdateTimeToLive", request)


def past() -> Wire:
    return {"N": str(now_ms() // 1_000 - 3_600)}


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("ttl_deletes", Deletes)
def test_expired_items_go_or_stay_in_every_way_alike(ttl_deletes: Deletes, guard: Guard) -> None:
    """What the source's service deletes goes at the target, or stays there, as the mirror says;
    what an application deletes goes. A backfill brings nothing back and takes nothing away, and
    verify takes none of it for drift.
    """

    async def main() -> tuple[set[str], set[str], bool]:
        world = World(guard)
        world.mirror = replace(world.mirror, ttl_deletes=ttl_deletes)
        expire_by(world.source, "until")
        world.put("expired", 1, until=past())
        world.put("deleted", 1, until=past())
        world.put("kept", 1)
        await world.consumer().run(once=True)
        world.delete("deleted")
        assert world.source.table("Stories").expire(now_ms()) == 1
        await world.consumer("next").run(once=True)
        live = set(contents(world.target, "Stories"))
        await copied(world)
        after = set(contents(world.target, "Stories"))
        return live, after, (await compared(world)).equal

    stays = {"kept"} if ttl_deletes is Deletes.MIRROR else {"kept", "expired"}
    assert run(main) == (stays, stays, True)


def test_an_item_made_again_after_it_expired_is_mirrored() -> None:
    """Though its delete by time to live was ignored: the target has the new one."""

    async def main() -> list[str]:
        world = World()
        world.mirror = replace(world.mirror, ttl_deletes=Deletes.IGNORE)
        expire_by(world.source, "until")
        world.put("a", 1, until=past())
        world.source.table("Stories").expire(now_ms())
        world.put("a", 2)
        await world.consumer().run(once=True)
        return world.differences()

    assert run(main) == []


@pytest.mark.parametrize("guard", Guard)
def test_a_target_expires_by_the_attribute_as_its_view_has_it(guard: Guard) -> None:
    """The view renames it: the target's own delete is no drift, and the source's, which comes
    later, finds nothing.
    """

    async def main() -> tuple[set[str], tuple[bool, int], tuple[bool, int]]:
        world = World(guard)
        shape = Shape(rename={"until": "gone_at"})
        world.mirror = replace(world.mirror, views={TARGET.name: View(shape=shape)})
        expire_by(world.source, "until")
        expire_by(world.target, "gone_at")
        world.put("a", 1, until=past())
        await world.consumer().run(once=True)
        names = {"id", "value", *contents(world.target, "Stories")["a"]} - {"_mirror_seq"}
        assert world.target.table("Stories").expire(now_ms()) == 1
        first = await compared(world)
        assert world.source.table("Stories").expire(now_ms()) == 1
        await world.consumer("next").run(once=True)
        then = await compared(world)
        assert contents(world.target, "Stories") == {}
        return names, (first.equal, first.expired), (then.equal, then.expired)

    assert run(main) == ({"id", "value", "gone_at"}, (True, 1), (True, 0))


@pytest.mark.parametrize("guard", Guard)
def test_an_expired_item_that_a_view_leaves_without_expiry_is_missing(guard: Guard) -> None:
    """A target without the attribute has nothing to expire by: an item that it lacks is drift."""

    async def main() -> tuple[int, int]:
        world = World(guard)
        shape = Shape(exclude=frozenset({"until"}))
        world.mirror = replace(world.mirror, views={TARGET.name: View(shape=shape)})
        expire_by(world.source, "until")
        world.put("a", 1, until=past())
        await world.consumer().run(once=True)
        world.target.perform("DeleteItem", {"TableName": "Stories", "Key": key("a")})
        found = await compared(world)
        return found.missing, found.expired

    assert run(main) == (1, 0)
