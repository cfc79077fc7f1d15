"""Verify sees what a target gets to see, and repair puts that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.engine.virtual_time import run
from tests.engine.writing.test_views import SECRET, VIEWS, Two

from dynamirror.config.model import Guard
from dynamirror.core.values import Wire
from dynamirror.engine.comparing.compared import Compared, Method, Scope
from dynamirror.engine.comparing.mended import Mended, Outcome
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.runtimes.process import (
    backfill_of,
    consumer_of,
    looker_of,
    repairer_of,
    verifier_of,
)


async def verified(
    two: Two, scope: Scope, *, repair: bool = False
) -> tuple[Compared, list[Drift], list[Mended]]:
    drifts: list[Drift] = []
    mended: list[Mended] = []

    async def mend(some: Sequence[Drift]) -> None:
        if repair:
            await repairer_of(two.wiring, two.mirror).run(some, mended.append)

    verifier = verifier_of(two.wiring, two.mirror)
    compared = await verifier.run(drifts.append, lambda _: None, scope, on_drifts=mend)
    return compared, drifts, mended


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("name", VIEWS)
def test_through_a_view_drift_is_found_and_repaired(
    name: str, guard: Guard, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a running engine: an item changed at the target, one removed, and one that is not the
    view's of any item.
    """
    monkeypatch.setenv(SECRET, "a secret")

    async def main() -> None:
        two = Two(name, guard, 1)
        two.write(60)
        following = asyncio.create_task(consumer_of(two.wiring, two.mirror).run())
        await asyncio.sleep(2)
        await backfill_of(two.wiring, two.mirror).run(lambda _: None)
        await asyncio.sleep(20)
        assert two.differences == []
        scope = Scope(method=method)
        assert (await verified(two, scope))[0].equal
        for keys_only in (True, False):
            told, drifts, _ = await verified(two, Scope(method=method, keys_only=keys_only))
            assert told.equal, drifts

        table = two.target.table("Stories")
        changed, removed, *_ = map(dict, table.contents())
        keys_of_removed = {name: removed[name] for name in table.key_names}
        spoilt: Wire = {**changed, "spoilt": {"BOOL": True}}
        two.target.perform("PutItem", {"TableName": "Stories", "Item": spoilt})
        two.target.perform("DeleteItem", {"TableName": "Stories", "Key": keys_of_removed})
        told, drifts, mended = await verified(two, scope, repair=True)
        assert sorted(drift.kind for drift in drifts) == ["different", "missing"]
        assert {one.outcome for one in mended} == {Outcome.REPAIRED}
        assert len(mended) == 2
        assert two.differences == []
        source = next(iter(two.source.table("Stories").contents()))
        looker = await looker_of(two.wiring, two.mirror)
        item = await looker.look({"id": source["id"]})
        assert not item.drift
        assert item.places[0].image == source
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    run(main)
