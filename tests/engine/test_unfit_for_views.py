"""An item that a view can't be applied to: told of on every path, and nothing of it written.

Of ``moving`` it is one that would meet another item of the source under its key; of the others one
whose attributes can't be shown, and must not be shown as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.engine.virtual_time import run
from tests.engine.writing.test_views import SECRET, Two

from dynamirror.config.model import Guard
from dynamirror.core.values import Wire
from dynamirror.engine.comparing.compared import Method, Scope
from dynamirror.engine.comparing.mended import Mended, Outcome
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.runtimes.process import (
    backfill_of,
    consumer_of,
    looker_of,
    redriver_of,
    repairer_of,
    verifier_of,
)

TWINS: dict[str, tuple[Wire, Wire]] = {
    "moving": (
        {"id": {"S": "b#c"}, "kind": {"S": "a"}, "value": {"N": "40"}},
        {"id": {"S": "c"}, "kind": {"S": "a#b"}, "value": {"N": "50"}},
    ),
    "shape": (
        {"id": {"S": "b"}, "value": {"N": "40"}},
        {"id": {"S": "c"}, "value": {"N": "50"}, "n": {"N": "1"}, "email": {"S": "secret"}},
    ),
    "transform": (
        {"id": {"S": "b"}, "value": {"N": "40"}},
        {"id": {"S": "c"}, "value": {"S": "50"}, "email": {"S": "secret"}},
    ),
}
"""One that can be shown, and one that can't."""

TOLD = {
    "moving": "'kind' holds what in the key",
    "shape": "called as another one is renamed to",
    "transform": "failed: ValueError",
}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "a secret")


class Twins(Two):
    """The two, and what is told of the second."""

    def __init__(self, name: str, guard: Guard) -> None:
        super().__init__(name, guard, 0)
        self.good, self.bad = TWINS[name]
        if name == "transform":
            self.bad = {**self.bad, "value": {"N": "5e-1"}}

    def put(self, *items: Wire) -> None:
        for item in items:
            self.source.perform("PutItem", {"TableName": "Stories", "Item": item})

    @asynccontextmanager
    async def followed(self) -> Any:
        following = asyncio.create_task(consumer_of(self.wiring, self.mirror).run())
        await asyncio.sleep(20)
        yield
        await asyncio.sleep(20)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    def see_only_the_good_one(self, name: str) -> None:
        (held,) = self.target.table("Stories").contents()
        assert "email" not in held
        (key,) = self.target.table("Stories").key_names
        assert held[key] == ({"S": "a#b#c"} if name == "moving" else self.good["id"])
        assert held.get("n", held.get("value")) in (self.good["value"], {"N": "20"})

    async def compare(self, method: Method) -> tuple[list[Drift], list[Mended]]:
        drifts: list[Drift] = []
        mended: list[Mended] = []

        async def mend(some: Sequence[Drift]) -> None:
            await repairer_of(self.wiring, self.mirror).run(some, mended.append)

        verifier = verifier_of(self.wiring, self.mirror)
        await verifier.run(drifts.append, lambda _: None, Scope(method=method), on_drifts=mend)
        return drifts, mended


Path = Callable[[Twins], Coroutine[Any, Any, None]]


async def live(two: Twins) -> None:
    """It is parked."""
    async with two.followed():
        two.put(two.good, two.bad)
    rows = list(two.source.table("Stories-dynamirror-parked").contents())
    assert len([row for row in rows if "code" in row]) == 1


async def copied(two: Twins) -> None:
    """It is left out, and told of."""
    two.put(two.good, two.bad)
    left: list[Any] = []
    await backfill_of(two.wiring, two.mirror).run(lambda _: None, on_left=left.append)
    assert [one.key for one in left] == [{"id": two.bad["id"]}]


async def copied_live(two: Twins) -> None:
    """Both at once."""
    two.put(two.bad, two.good)
    async with two.followed():
        await backfill_of(two.wiring, two.mirror).run(lambda _: None)


PATHS: list[Path] = [live, copied, copied_live]


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
@pytest.mark.parametrize("name", TWINS)
def test_nothing_of_an_item_that_cannot_be_shown_is_written(
    name: str, path: Path, guard: Guard
) -> None:
    """Nor by verify, repair and redrive afterwards, which say why; mended at the source, it goes
    over.
    """

    async def main() -> None:
        two = Twins(name, guard)
        await path(two)
        two.see_only_the_good_one(name)
        for method in Method:
            drifts, mended = await two.compare(method)
            assert [drift.kind for drift in drifts] == ["missing"]
            assert TOLD[name] in str(drifts[0].why)
            assert [one.outcome for one in mended] == [Outcome.LEFT]
        looked = await (await looker_of(two.wiring, two.mirror)).look({"id": two.bad["id"]})
        assert [TOLD[name] in str(drift.why) for drift in looked.drift] == [True]
        assert [one.outcome for one in looked.repair] == [Outcome.LEFT]
        left: list[str] = []
        redriver = redriver_of(two.wiring, two.mirror)
        await redriver.run(lambda _: None, lambda _, error: left.append(str(error)))
        assert all(TOLD[name] in each for each in left)
        assert len(left) == (path is not copied)
        two.see_only_the_good_one(name)

        mended_item = {"id": two.bad["id"], "kind": {"S": "a"}, "value": {"N": "50"}}
        two.put(mended_item)
        async with two.followed():
            pass
        await redriver_of(two.wiring, two.mirror).run(lambda _: None)
        assert two.differences == []
        assert len(two.target.table("Stories").contents()) == 2
        assert await two.verified() == {}

    run(main)


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("name", TWINS)
def test_an_item_that_cannot_be_shown_any_more_is_not_repaired(name: str, guard: Guard) -> None:
    """What the target has of it stays, and is told of: it is not overwritten with the bare item."""

    async def main() -> None:
        two = Twins(name, guard)
        two.put({**two.bad, "value": {"N": "60"}, "kind": {"S": "a"}})
        if name == "shape":
            two.put({each: two.bad[each] for each in ("id", "value")})
        await backfill_of(two.wiring, two.mirror).run(lambda _: None)
        (before,) = two.target.table("Stories").contents()
        two.put(two.bad)
        drifts, mended = await two.compare(Method.SCAN)

        assert TOLD[name] in str([drift.why for drift in drifts])
        assert Outcome.LEFT in {one.outcome for one in mended}
        if name != "moving":
            assert two.target.table("Stories").contents() == [before]
        else:
            assert two.target.table("Stories").contents() == [], (
                "no item of the source is called so"
            )

    run(main)
