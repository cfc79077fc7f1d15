"""A view that is not the one that made what a target holds is noticed."""

from __future__ import annotations

from dataclasses import replace

from tests.engine.held.test_recovery import OTHER, Pair
from tests.engine.virtual_time import now_ms, run
from tests.engine.world import TARGET, World

from dynamirror.core.view.lens import View
from dynamirror.core.view.where import Where
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.verify import Verifier
from dynamirror.engine.writing.viewed import changed_views, note_views

FEW = View(where=Where("attribute_exists(few)"))


def test_only_a_target_that_was_there_can_hold_what_an_old_view_made() -> None:
    """One that is added has nothing yet: a backfill gives it what its view lets it have."""

    async def main() -> None:
        world = Pair()
        both = world.mirror
        await note_views(world.checkpoints, replace(both, targets=(TARGET,)))
        known = await world.checkpoints.load()
        views = {TARGET.name: FEW, OTHER.name: FEW}
        assert changed_views(both, known) == []
        assert changed_views(replace(both, views=views), known) == [TARGET.name]

    run(main)


def test_a_mirror_that_begins_notes_what_its_targets_see() -> None:
    """Or nobody could tell later that a view is another one."""

    async def main() -> None:
        world = World()
        await world.consumer().run(once=True)
        world.mirror = replace(world.mirror, views={TARGET.name: FEW})
        assert changed_views(world.mirror, await world.checkpoints.load()) == [TARGET.name]

    run(main)


def test_only_a_comparison_that_found_nothing_settles_a_changed_view() -> None:
    """What differs may be what the old view let the target have."""

    async def main() -> None:
        world = World()
        await note_views(world.checkpoints, world.mirror)
        world.mirror = replace(world.mirror, views={TARGET.name: FEW})
        verifier = Verifier(world.links, world.source, {}, [], clock=now_ms, backoff=world.backoff)
        for found in ({"different": 1}, {"in_flight": 1}):
            await verifier.note(world.checkpoints, Compared(**found))
            assert changed_views(world.mirror, await world.checkpoints.load()) == [TARGET.name]
        await verifier.note(world.checkpoints, Compared())
        assert changed_views(world.mirror, await world.checkpoints.load()) == []

    run(main)
