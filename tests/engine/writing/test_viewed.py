"""A view that is not the one that made what a target holds is noticed."""

from __future__ import annotations

from dataclasses import replace

from tests.engine.held.test_recovery import OTHER, Pair
from tests.engine.virtual_time import run
from tests.engine.world import TARGET

from dynamirror.core.view.lens import View
from dynamirror.engine.writing.viewed import changed_views, note_views

FEW = View(transform="app:few")


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
