"""How much of a stream may be on its way."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from tests.engine.virtual_time import run

from dynamirror.core.record import page_of
from dynamirror.core.values import encode
from dynamirror.engine.stream.room import Room, weight_of


def test_who_asks_first_has_it_first() -> None:
    """A small page does not overtake a large one that waits, which would wait for ever."""

    async def main() -> None:
        room, order = Room(10), list[int]()

        async def take(weight: int) -> None:
            await room.take(weight)
            order.append(weight)

        await take(8)
        waiting = [asyncio.create_task(take(weight)) for weight in (9, 1)]
        await asyncio.sleep(1)
        assert order == [8]
        room.give(8)
        await asyncio.gather(*waiting)
        assert order == [8, 9, 1]
        assert room.taken == 10

    run(main)


def test_what_is_larger_than_all_of_it_goes_alone() -> None:
    async def main() -> None:
        room = Room(10)
        await room.take(25)
        other = asyncio.create_task(room.take(1))
        await asyncio.sleep(1)
        assert not other.done()
        room.give(25)
        await other
        assert room.taken == 1

    run(main)


@pytest.mark.parametrize("value_bytes", [10, 300, 20_000])
def test_a_page_weighs_at_least_the_memory_it_takes(value_bytes: int) -> None:
    """Small records take more beside their images than in them, large ones the reverse."""
    record = {
        "eventName": "INSERT",
        "dynamodb": {
            "SequenceNumber": "1",
            "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}, "value": {"S": "x" * value_bytes}},
        },
    }
    spelled = encode({"Records": [record] * 100})
    tracemalloc.start()
    try:
        page = page_of(bytes(bytearray(spelled)))  # a copy that tracemalloc counts
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert page.size == len(spelled)
    assert taken <= weight_of(page) <= 20 * taken
