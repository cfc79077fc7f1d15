"""One process at a time reads a link's stream; who loses the lease, stops."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.virtual_time import run
from tests.engine.world import World

from dynamirror.engine.stream.lease import LEASE_S
from dynamirror.errors import HeldError


def test_a_second_holder_is_refused_and_told_who_has_it() -> None:
    async def main() -> None:
        world = World()
        await world.lease("alice").acquire()
        with pytest.raises(HeldError, match=r"stories/us-east-1 is read by alice"):
            await world.lease("bob").acquire()

    run(main)


def test_of_two_that_come_at_once_one_is_refused() -> None:
    """Both have looked before either writes."""

    async def main() -> None:
        world = World()

        async def slowly(operation: str, _: bytes) -> None:
            await asyncio.sleep(0.1 if operation == "Query" else 0)

        world.source.after = slowly
        ends = await asyncio.gather(
            *(world.lease(name).acquire() for name in ("alice", "bob")), return_exceptions=True
        )
        assert sorted(type(end).__name__ for end in ends) == ["HeldError", "NoneType"]

    run(main)


def test_a_lease_lasts_while_it_is_renewed_and_ends_when_it_is_not() -> None:
    async def main() -> None:
        world = World()
        alice, bob = world.lease("alice"), world.lease("bob")
        await alice.acquire()
        keeping = asyncio.create_task(alice.keep(lambda: "fine"))
        await asyncio.sleep(10 * LEASE_S)
        with pytest.raises(HeldError):
            await bob.acquire()
        held = (await world.checkpoints.load()).lease
        assert held is not None
        assert held["report"] == "fine"
        keeping.cancel()
        await asyncio.sleep(LEASE_S + 1)
        await bob.acquire()

    run(main)


def test_a_holder_that_has_surely_died_is_not_waited_for() -> None:
    async def main() -> None:
        world = World()
        await world.lease("alice").acquire()
        await world.lease("bob", dead=["alice"]).acquire()

    run(main)


def test_a_lease_given_back_is_free_at_once() -> None:
    async def main() -> None:
        world = World()
        alice = world.lease("alice")
        await alice.acquire()
        await alice.release()
        await world.lease("bob").acquire()
        await alice.release()  # bob's is none of hers
        with pytest.raises(HeldError, match="bob"):
            await alice.acquire()

    run(main)


@pytest.mark.parametrize("after", ["held", "given back", "expired"])
def test_who_was_taken_for_dead_does_not_go_on(after: str) -> None:
    """Whatever became of the successor: it has moved the positions."""

    async def main() -> None:
        world = World()
        alice, bob = world.lease("alice"), world.lease("bob")
        await alice.acquire()
        await asyncio.sleep(LEASE_S + 1)
        await bob.acquire()
        if after == "given back":
            await bob.release()
        if after == "expired":
            await asyncio.sleep(LEASE_S + 1)
        with pytest.raises(HeldError, match="another process" if after == "given back" else "bob"):
            await alice.renew("")

    run(main)


def test_a_lease_that_was_renewed_at_the_last_moment_is_not_taken() -> None:
    """The successor has looked; before it writes, the holder has renewed after all."""

    async def main() -> None:
        world = World()
        alice, bob = world.lease("alice"), world.lease("bob")
        await alice.acquire()
        await asyncio.sleep(LEASE_S + 1)

        async def renew_first(operation: str, _: bytes) -> None:
            if operation == "PutItem":
                world.source.before = None
                await alice.renew("")

        world.source.before = renew_first
        with pytest.raises(HeldError, match="alice"):
            await bob.acquire()

    run(main)


def test_nothing_is_sent_that_could_land_after_the_lease_has_ended() -> None:
    """A request has ten seconds to be answered: so long before its end a lease is of no use."""

    async def main() -> None:
        lease = World().lease("alice")
        assert not lease.is_held()
        await lease.acquire()
        assert lease.is_held()
        await asyncio.sleep(LEASE_S - 11)
        assert not lease.is_held()
        await lease.renew("")
        assert lease.is_held()

    run(main)
