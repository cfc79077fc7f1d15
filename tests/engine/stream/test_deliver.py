"""One batch before a deadline: what is not applied by then is told by its lowest number."""

from __future__ import annotations

import asyncio

from tests.engine.virtual_time import run
from tests.engine.world import Watch, World, change

from dynamirror.config.model import Guard
from dynamirror.engine.stream.deliver import Delivery, Outcome, deliver
from dynamirror.errors import AccessDeniedError, ThrottledError


async def delivered(world: World, watch: Watch, timeout_s: float = 60, keys: int = 5) -> Delivery:
    world.connect = lambda db: watch if db is world.target else db
    outcome = Outcome()
    appliers = await world.links.open(1, outcome.failed)
    records = [change(f"k{n % keys}", 100 + n, n) for n in range(2 * keys)]
    return await deliver(appliers, records, outcome, timeout_s)


def test_all_applied_is_nothing_to_deliver_again() -> None:
    async def main() -> None:
        world = World(Guard.ITEM)
        assert await delivered(world, Watch(world.target)) == Delivery(None, ())
        assert {name: held["value"]["N"] for name, held in world.at_target().items()} == {
            f"k{n}": str(5 + n) for n in range(5)
        }

    run(main)


def test_the_lowest_record_of_an_unapplied_key_counts_though_it_was_squashed() -> None:
    """The later one of the key is lost with it."""

    async def main() -> None:
        world = World(Guard.ITEM)
        watch = Watch(world.target)
        watch.refuses = lambda name: (
            ThrottledError("ThrottlingException", "") if name == "k3" else None
        )
        assert await delivered(world, watch, timeout_s=5) == Delivery(103, ())

    run(main)


def test_a_failure_ends_the_delivery_at_once() -> None:
    async def main() -> None:
        world = World(Guard.ITEM)
        watch = Watch(world.target)
        watch.refuses = lambda _: AccessDeniedError("AccessDeniedException", "")
        end = await delivered(world, watch)
        assert end.lowest_unapplied == 100
        assert [type(error) for error in end.errors] == [AccessDeniedError]
        assert asyncio.get_running_loop().time() < 1

    run(main)


def test_without_time_nothing_is_begun() -> None:
    async def main() -> None:
        world = World(Guard.ITEM)
        for timeout_s in (0, -3):
            watch = Watch(world.target)
            assert await delivered(world, watch, timeout_s) == Delivery(100, ())
            assert watch.requests == []

    run(main)
