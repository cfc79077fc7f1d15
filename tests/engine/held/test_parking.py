"""A parked change is kept whole, and holds its key until the last of its rows is gone."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs
from tests.core.images import nested
from tests.engine.virtual_time import run
from tests.engine.world import PARKED, World, change, item

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, decode, row_key
from dynamirror.engine.held.parked import PART_BYTES
from dynamirror.engine.held.parking import Parking
from dynamirror.errors import NotFoundError, RefusedError, ThrottledError

THROTTLED = ThrottledError("ThrottlingException", "not yet")
TOO_LARGE = RefusedError("ValidationException", "Item size has exceeded the maximum allowed size")


def large(name: str, number: int) -> StreamRecord:
    """Return a change of an item of 400 KB: its images have twice that, in JSON still more."""
    new, old = item(name, 1, big={"S": "n" * 409_000}), item(name, 0, big={"S": '"' * 409_000})
    return structs.replace(change(name, number), new_image=new, old_image=old)


async def whole(parking: Parking, record: StreamRecord) -> tuple[Wire, Wire]:
    """Return a parked change's first row, and its images put together."""
    rows = [row async for row in parking.rows_of(record.key)]
    (first,) = [row for row in rows if "code" in row]
    parts = [row["images"] for row in rows if "images" in row]
    assert len(parts) == first["parts"]
    return first, decode("".join(parts).encode())


def test_a_change_of_400_kb_images_is_parked_whole_in_several_rows() -> None:
    async def main() -> None:
        world = World()
        parking, record = world.links.parking_of(3), large("a", 5)
        await parking.park(record, "eu-west-1", TOO_LARGE)
        first, images = await whole(parking, record)
        assert images == {"new": record.new_image, "old": record.old_image}
        assert first["parts"] > 2
        assert first["keys"] == record.keys
        assert first["sequence_number"] == "5"
        assert first["event_name"] == "MODIFY"
        assert first["target"] == "eu-west-1"
        assert first["code"] == "ValidationException"
        assert "exceeded the maximum" in first["error"]
        assert first["k"] == row_key("stories", record.key)
        assert [row["seq"] async for row in parking.rows()] == [first["seq"]]

    run(main)


def test_images_that_no_table_takes_are_parked_too() -> None:
    async def main() -> None:
        world = World()
        deep = structs.replace(change("a", 5), new_image=item("a", 1, deep=nested(50)))
        parking = world.links.parking_of(1)
        await parking.park(deep, "eu-west-1", TOO_LARGE)
        _, images = await whole(parking, deep)
        assert images["new"] == deep.new_image

    run(main)


@pytest.mark.parametrize("rows", range(4))
def test_cut_off_in_the_middle_a_change_is_not_taken_for_parked_whole(rows: int) -> None:
    """The row that names it is written last; parked again, it is whole."""

    async def main() -> None:
        world = World()
        left = rows

        async def cut(operation: str, _: bytes) -> None:
            nonlocal left
            if operation == "PutItem":
                left -= 1
                if left < 0:
                    raise NotFoundError("ResourceNotFoundException", "cut")

        record = large("a", 5)
        world.source.before = cut
        with pytest.raises(NotFoundError):
            await world.links.parking_of(1).park(record, "eu-west-1", TOO_LARGE)
        world.source.before = None
        parking = world.links.parking_of(1)
        assert [row async for row in parking.rows()] == []
        await parking.park(record, "eu-west-1", TOO_LARGE)
        _, images = await whole(parking, record)
        assert images["new"] == record.new_image

    run(main)


def test_what_others_have_parked_is_learned_at_the_start() -> None:
    async def main() -> None:
        world = World()
        await world.links.parking_of(1).park(change("a", 5), "eu-west-1", TOO_LARGE)
        other = world.links.parking_of(1)
        await other.load()
        assert other.holds("eu-west-1", ("S", "a"))
        assert not other.holds("eu-west-1", ("S", "b"))
        assert other.held == 1
        assert not await other.released("eu-west-1", ("S", "a"))

    run(main)


def test_a_key_is_free_when_its_last_row_is_gone() -> None:
    async def main() -> None:
        world = World()
        parking = world.links.parking_of(1)
        for number in (5, 6):
            await parking.park(change("a", number), "eu-west-1", TOO_LARGE if number == 5 else None)
        name = "eu-west-1"
        listing = await parking.listing(name, ("S", "a"))
        rows = [row async for row in parking.rows_of(("S", "a"))]
        numbers = [row["sequence_number"] for row in rows if "code" in row]
        assert numbers == ["5", "6"]
        await parking.release(name, ("S", "a"), rows[:1], None)
        assert not await parking.released(name, ("S", "a"))
        await parking.release(name, ("S", "a"), rows[1:], listing)
        assert await parking.released("eu-west-1", ("S", "a"))
        assert not parking.holds("eu-west-1", ("S", "a"))
        assert world.rows(PARKED) == []

    run(main)


def test_many_parked_keys_are_read_page_by_page() -> None:
    async def main() -> None:
        world = World()
        parking = world.links.parking_of(1)
        for number in range(8):
            await parking.park(large(f"k{number}", number), "eu-west-1", TOO_LARGE)
        other = world.links.parking_of(1)
        await other.load()
        assert other.held == 8

    run(main)


def test_images_are_cut_between_characters_by_their_bytes() -> None:
    """A change of 130,000 characters of three bytes each, twice, fits rows of 400 KB."""

    async def main() -> None:
        world, text = World(), "水" * 130_000
        images = [item("a", value, t={"S": text}) for value in (1, 0)]
        record = structs.replace(change("a", 7), new_image=images[0], old_image=images[1])
        parking = world.links.parking_of(1)
        await parking.park(record, "eu-west-1", TOO_LARGE)
        assert await whole(parking, record) is not None
        rows = [row async for row in parking.rows_of(record.key)]
        assert all(len(row.get("images", "").encode()) <= PART_BYTES for row in rows)

    run(main)


def test_learning_which_keys_are_parked_reads_no_images() -> None:
    """A function does so at every invocation."""

    async def main() -> None:
        world = World()
        parking = world.links.parking_of(1)
        for number in range(8):
            await parking.park(large(f"k{number}", number), "eu-west-1", TOO_LARGE)
        asked: list[str] = []

        async def count(operation: str, _: bytes) -> None:
            asked.append(operation)

        world.source.before = count
        other = world.links.parking_of(1)
        await other.load()
        assert other.held == 8
        assert asked == ["Query"]

    run(main)


def test_a_key_parked_again_while_it_is_released_stays_listed() -> None:
    """Whoever starts next must know that it is held; also of an older change, delivered again."""

    async def main() -> None:
        world, key, name = World(), ("S", "a"), "eu-west-1"
        parking = world.links.parking_of(1)
        await parking.park(change("a", 6), name, TOO_LARGE)
        listing = await parking.listing(name, key)
        rows = [row async for row in parking.rows_of(key)]
        await asyncio.sleep(1)
        await parking.park(change("a", 5), name, TOO_LARGE)
        await parking.release(name, key, rows, listing)
        other = world.links.parking_of(1)
        await other.load()
        assert other.holds(name, key)
        assert not await other.released(name, key)

    run(main)


def test_a_key_is_forgotten_only_if_nothing_was_parked_since_it_was_looked_at() -> None:
    """Else a change would pass that must wait behind one that is just being parked."""

    async def main() -> None:
        world, key, name = World(), ("S", "a"), "eu-west-1"
        parking = world.links.parking_of(1)
        await parking.shelve([change("a", 5)], name, THROTTLED)
        before = parking.pledge(name, key)
        await parking.shelve([change("a", 6)], name, THROTTLED)
        parking.free(name, key, before)
        assert parking.holds(name, key)

        async def look(operation: str, _: bytes) -> None:
            if operation == "BatchWriteItem":
                assert parking.pledge(name, key) is None
                parking.free(name, key, before)

        world.source.before = look
        await parking.shelve([change("a", 7)], name, THROTTLED)
        assert parking.holds(name, key)
        parking.free(name, key, parking.pledge(name, key))
        assert not parking.holds(name, key)

    run(main)


def test_of_a_shelved_key_the_first_change_and_the_last_are_kept() -> None:
    """The first tells what the target had, the last its mark; of a busy key no thousands."""

    async def main() -> None:
        world = World()
        parking = world.links.parking_of(1)
        for number in range(1, 9):
            await parking.shelve([change("a", number), change("b", number)], "x", THROTTLED)
        numbers = [row["sequence_number"]["S"] for row in world.parked]
        assert sorted(numbers) == ["1", "1", "8", "8"]
        other = world.links.parking_of(1)
        await other.load()
        assert (other.held, other.shelved("x")) == (2, 2)
        await other.condemn("x", {"id": {"S": "a"}})
        again = world.links.parking_of(1)
        await again.load()
        assert (again.held, again.shelved("x")) == (2, 1)

    run(main)
