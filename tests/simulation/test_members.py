"""Replicas that join a two-way mirror at work, leave it and come back: the real engine, on virtual
time, with writers beside it, and the joining killed at any request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.simulation.test_engine import KEYS, REGIONS, Region, World

from dynamirror.config.load import load
from dynamirror.engine.members.joining import AwayTooLongError, Joining
from dynamirror.engine.members.leaving import Leaving
from dynamirror.engine.members.sites import Site
from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.lease import LEASE_S, Lease
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import plan
from dynamirror.errors import DynamirrorError, HistoryLostError, NewReplicaError, RosterError
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import backfill_of, consumer_of, sites_of
from dynamirror.simulation.replicas import JOURNAL, TABLE, create
from dynamirror.wiring import Wiring

US, EU, AP = REGIONS

DAY_S = 86_400


class Killed(BaseException):
    """``kill -9``: nothing more is sent."""


def configuration(*names: str) -> str:
    first, *others = names
    listed = [f'{{ region = "{first}", table = "{TABLE}" }}']
    listed += [f'{{ region = "{name}" }}' for name in others]
    return f'[mirrors.sessions]\nmode = "two-way"\nreplicas = [{", ".join(listed)}]\n'


class Members(World):
    """Three regions, of which the first two begin as a mirror."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.two, self.three = self.wired(US, EU), self.wired(US, EU, AP)
        self.newest = self.two
        """The file that whoever starts now is given."""

    def wired(self, *names: str) -> Wiring:
        backoff = Backoff(draw=self.chance.random)
        return Wiring(
            load(configuration(*names)), connect=self.connect, clock=now_ms, backoff=backoff
        )

    async def begin(self) -> None:
        create(self.regions[US].db)
        for name in (JOURNAL, f"{TABLE}-dynamirror-ledger"):
            self.regions[US].db.perform("DeleteTable", {"TableName": name})
        await self.make(self.two)
        for one in self.two.config.mirrors:
            await backfill_of(self.two, one).run(lambda _: None)

    async def write(self, count: int) -> None:
        """Write to the first two only, as applications should until the third has joined."""
        for _ in range(count):
            await asyncio.sleep(self.chance.random() * 2)
            key = self.chance.choice(KEYS)
            region = self.regions[self.chance.choice((US, EU))]
            if self.chance.random() < 0.25:
                self.applications[key].delete(region, key)  # type: ignore[arg-type]
            else:
                self.applications[key].save(region, key, "hybrid", now_ms())  # type: ignore[arg-type]

    async def make(self, wiring: Wiring) -> None:
        mirrors = wiring.config.mirrors
        seen = await observe(mirrors, wiring.api, wiring.backoff)
        await carry_out(plan(mirrors, seen), wiring.api, wiring.backoff, lambda _: None)

    def sites(self, who: str = "joiner", life: Life | None = None) -> list[Site]:
        """Return the replicas as another process than the engine's works on them."""
        return [self._site(site, who, life) for site in sites_of(self.three, "sessions")]

    def _site(self, site: Site, who: str, life: Life | None) -> Site:
        side, backoff = site.side, Backoff(draw=self.chance.random)
        api = life.of(site.api) if life else site.api
        checkpoints = Checkpoints(api, side.checkpoints, side.link, backoff)
        lease = Lease(checkpoints, who, clock=now_ms, is_dead=lambda owner: "joiner" in owner)
        return Site(side, api, checkpoints, lease, backoff, site.links)

    def joining(self, who: str = "joiner", life: Life | None = None) -> Joining:
        backoff = Backoff(draw=self.chance.random)
        return Joining(self.sites(who, life), AP, clock=now_ms, backoff=backoff)

    async def join(
        self,
        *,
        rebuild: bool = False,
        who: str = "joiner",
        life: Life | None = None,
        until: str = "nothing",
    ) -> None:
        """Do what ``replica add`` does; killed as the step begins that is named."""

        def step(text: str) -> None:
            if text.startswith(until):
                raise Killed

        self.newest = self.three
        joining = self.joining(who, life)
        looked = await joining.look(rebuild=rebuild)
        await self.make(self.three)
        await joining.run(looked, step, lambda *_: None, lambda _: None)
        await joining.finish(looked)

    async def leave(self) -> None:
        leaving = Leaving(self.sites(), AP, clock=now_ms)
        going = self.three.config.mirrors[-1]
        await leaving.run(consumer_of(self.three, going), await leaving.look(), lambda _: None)

    async def drain(self, wiring: Wiring, times: int = 2) -> None:
        """Mirror all there is; what one consumer mirrors is news to the others."""
        for _ in range(times):
            for one in wiring.config.mirrors:
                await consumer_of(wiring, one).run(once=True)

    def held(self, key: str) -> list[str | None]:
        """Return the item's value at each of the three."""
        items = [region.item(key) for region in self.regions.values()]
        return [item["value"]["S"] if item else None for item in items]


def save(region: Region, key: str, version: int, value: str) -> None:
    item = {"id": {"S": key}, "version": {"N": str(version)}, "value": {"S": value}}
    held = region.item(key)
    if held is not None and "_mirror" in held:
        item["_mirror"] = held["_mirror"]
    region.db.perform("PutItem", {"TableName": TABLE, "Item": item})


def remove(region: Region, key: str) -> None:
    region.db.perform("DeleteItem", {"TableName": TABLE, "Key": {"id": {"S": key}}})


def journaled(region: Region) -> list[tuple[str, str]]:
    return [(row["reason"]["S"], row["images"]["S"]) for row in region.db.table(JOURNAL).contents()]


def on_two(story: Callable[[Members], Coroutine[Any, Any, None]]) -> None:
    """Play a story that begins with a mirror of two."""

    async def main() -> None:
        world = Members()
        await world.begin()
        await story(world)

    run(main)


def test_a_save_still_on_its_way_brings_no_deleted_item_to_a_new_replica() -> None:
    """The tombstones go before the items: what outranked a save outranks it there, too."""

    async def story(world: Members) -> None:
        us, eu = world.regions[US], world.regions[EU]
        save(us, "k", 5, "old")
        await world.drain(world.two)
        save(eu, "k", 6, "late")  # its consumer is behind
        remove(us, "k")
        await consumer_of(world.two, world.two.config.mirrors[0]).run(once=True)
        await world.join()
        await world.drain(world.three)
        assert world.held("k") == [None, None, None]

    on_two(story)


def test_an_engine_with_the_old_file_stops_and_one_with_the_new_goes_on() -> None:
    """Nobody serves two where there are three: not who runs, not who starts, not with either."""

    async def story(world: Members) -> None:
        first, second = world.two.config.mirrors
        with pytest.raises(NewReplicaError, match="lacks what came before") as refused:
            await consumer_of(world.three, world.three.config.mirrors[0]).run(once=True)
        assert f"--replica {AP}" in refused.value.hint
        running = asyncio.create_task(consumer_of(world.two, first).run())
        await asyncio.sleep(30)
        await world.join()
        with pytest.raises(RosterError, match=f"{AP} is a replica of sessions"):
            await asyncio.wait_for(running, 60)
        with pytest.raises(RosterError, match=AP):
            await consumer_of(world.two, second).run(once=True)
        await world.drain(world.three)

    on_two(story)


def test_a_copy_alone_makes_no_replica() -> None:
    """A backfill to a replica that has not joined is refused: it brings no tombstones."""

    async def story(world: Members) -> None:
        await world.make(world.three)
        with pytest.raises(NewReplicaError, match="joined the mirror after it had begun"):
            await backfill_of(world.three, world.three.config.mirrors[0]).run(lambda _: None)

    on_two(story)


def test_another_order_is_refused() -> None:
    """The order decides ties: what was judged by the old one must be done first."""

    async def story(world: Members) -> None:
        await world.drain(world.two)
        turned = world.wired(EU, US)
        with pytest.raises(RosterError, match="another order"):
            await consumer_of(turned, turned.config.mirrors[0]).run(once=True)
        for one in turned.config.mirrors:
            await backfill_of(turned, one).run(lambda _: None)
        await world.drain(turned)

    on_two(story)


def test_its_own_stream_waits_for_the_tombstones() -> None:
    """An insert that a late save made is judged by them: read before, it would stay for ever."""

    async def story(world: Members) -> None:
        us, eu = world.regions[US], world.regions[EU]
        save(us, "k", 5, "old")
        await world.drain(world.two)
        save(eu, "k", 6, "late")
        remove(us, "k")
        await consumer_of(world.two, world.two.config.mirrors[0]).run(once=True)
        with pytest.raises(Killed):
            await world.join(until="carrying tombstones")
        _, second, new = world.three.config.mirrors
        await consumer_of(world.three, second).run(once=True)
        assert world.held("k") == [None, None, "late"]
        with pytest.raises(NewReplicaError, match="is joining sessions"):
            await consumer_of(world.three, new).run(once=True)
        await world.join()
        await world.drain(world.three)
        assert world.held("k") == [None, None, None]

    on_two(story)


@pytest.mark.parametrize("days", [0, 3])
def test_who_comes_back_loses_what_was_deleted_and_gives_what_was_saved(days: int) -> None:
    """Away for less than the tombstones are kept, a replica is merged by rank."""

    async def story(world: Members) -> None:
        us, ap = world.regions[US], world.regions[AP]
        await world.join()
        for key in ("gone", "mine", "theirs"):
            save(us, key, 1, "first")
        await world.drain(world.three)
        await world.leave()
        with pytest.raises(NewReplicaError, match=f"{AP} left the mirror at"):
            await world.drain(world.three)
        remove(us, "gone")
        save(us, "theirs", 2, "new")
        save(ap, "mine", 2, "new")
        await world.drain(world.two)
        if days:
            await asyncio.sleep(days * DAY_S)  # its stream has forgotten what was saved there
            with pytest.raises(HistoryLostError):  # and the others' as well
                await world.join()
            for one in world.two.config.mirrors:
                await backfill_of(world.two, one).run(lambda _: None)
        await world.join()
        await world.drain(world.three)
        assert [world.held(key) for key in ("gone", "mine", "theirs")] == [
            [None] * 3,
            ["new"] * 3,
            ["new"] * 3,
        ]

    on_two(story)


def test_who_was_away_too_long_is_refused_unless_rebuilt() -> None:
    """Without tombstones nobody knows what was deleted: what only it has goes to its journal, and
    that its items go is no delete.
    """

    async def story(world: Members) -> None:
        us, ap = world.regions[US], world.regions[AP]
        await world.join()
        for key in ("gone", "kept", "ours"):
            save(us, key, 1, "first")
        await world.drain(world.three)
        await world.leave()
        remove(us, "gone")
        save(ap, "ours", 9, "away")
        save(ap, "new", 1, "away")
        await world.drain(world.two)
        await asyncio.sleep(8 * DAY_S)
        for one in world.two.config.mirrors:
            await backfill_of(world.two, one).run(lambda _: None)
        with pytest.raises(AwayTooLongError, match=r"away for 8\.0 days"):
            await world.join()
        await world.join(rebuild=True)
        await world.drain(world.three)
        assert [world.held(key) for key in ("gone", "kept", "ours", "new")] == [
            [None] * 3,
            ["first"] * 3,
            ["first"] * 3,
            [None] * 3,
        ]
        lost = [images for reason, images in journaled(ap) if reason == "rebuilt"]
        assert len(lost) == len(journaled(ap)) == 3
        save(ap, "kept", 2, "after")
        remove(ap, "ours")
        await world.drain(world.three)
        assert (world.held("kept"), world.held("ours")) == (["after"] * 3, [None] * 3)

    on_two(story)


def test_a_stranger_with_items_is_refused_unless_rebuilt() -> None:
    """A restored backup holds what was deleted since; nobody knows what."""

    async def story(world: Members) -> None:
        us, ap = world.regions[US], world.regions[AP]
        save(us, "both", 3, "here")
        await world.drain(world.two)
        create(ap.db)
        save(ap, "both", 3, "here")
        save(ap, "deleted", 3, "there")
        with pytest.raises(AwayTooLongError, match="was no replica of sessions"):
            await world.join()
        await world.join(rebuild=True)
        await world.drain(world.three)
        assert (world.held("both"), world.held("deleted")) == (["here"] * 3, [None] * 3)

    on_two(story)


def test_both_commands_have_nothing_to_do_a_second_time() -> None:
    """Who has joined has joined, who has left has left."""

    async def story(world: Members) -> None:
        await world.join()
        assert (await world.joining().look()).joined
        await world.leave()
        assert (await Leaving(world.sites(), AP, clock=now_ms).look()).left
        assert not (await world.joining().look()).joined

    on_two(story)


def test_an_engine_tells_how_many_writes_lost_a_conflict() -> None:
    """Counted where the loser is journaled, so that nobody need read the journal for it."""

    async def story(world: Members) -> None:
        for name in (US, EU):
            save(world.regions[name], "k", 7, f"of {name}")
        engines = [consumer_of(world.two, one) for one in world.two.config.mirrors]
        for engine in engines:
            await engine.run(once=True)
        assert [engine.report().conflicts for engine in engines] == [0, 1]
        assert len(journaled(world.regions[EU])) == 1

    on_two(story)


def test_only_the_last_may_join_and_two_must_remain() -> None:
    """Replicas are appended, and one alone is no mirror."""

    async def story(world: Members) -> None:
        with pytest.raises(RosterError, match="must come last"):
            Joining(world.sites(), EU, clock=now_ms, backoff=Backoff())
        with pytest.raises(RosterError, match="has two replicas"):
            Leaving(world.sites()[:2], EU, clock=now_ms)

    on_two(story)


@pytest.mark.parametrize("seed", range(4))
def test_a_replica_joins_among_writers_although_it_is_killed_again_and_again(seed: int) -> None:
    """Writers in the first two, throttles and lost answers, engines restarted, and a joining that
    is killed every so many requests: all three end equal, and who lost is in a journal.
    """

    async def main() -> tuple[list[str], int]:
        world = Members(seed)
        await world.begin()
        await world.make(world.three)
        world.strike(seed, 0.02)
        over = asyncio.Event()
        engines = [asyncio.create_task(kept_running(world, name, over)) for name in REGIONS]
        writing = asyncio.create_task(world.write(150))
        await asyncio.sleep(30)
        deaths = 0
        while True:
            life = Life(deaths * 3 + world.chance.randrange(5, 30))
            with contextlib.suppress(Killed):
                await world.join(who=f"joiner {deaths}", life=life)
                break
            deaths += 1
        await writing
        world.spare()
        over.set()
        await asyncio.gather(*engines)
        await asyncio.sleep(LEASE_S)  # that of an engine stopped as it took it ends by itself
        await world.drain(world.three, 3)
        return world.complaints(), deaths

    complaints, deaths = run(main)
    assert complaints == []
    assert deaths > 3


class Life:
    """Ends with the n-th request of a process, be it carried out by then or not."""

    def __init__(self, requests: int) -> None:
        self.left = requests

    def of(self, api: DynamoDB) -> DynamoDB:
        return _Mortal(api, self)


class _Mortal:
    def __init__(self, api: DynamoDB, life: Life) -> None:
        self._api = api
        self._life = life

    async def call(self, operation: str, request: bytes) -> bytes:
        self._life.left -= 1
        if self._life.left < 0:
            raise Killed
        answer = await self._api.call(operation, request)
        if self._life.left == 0:
            raise Killed
        return answer

    async def close(self) -> None: ...


async def kept_running(world: Members, name: str, over: asyncio.Event) -> None:
    """Run a replica's engine as a supervisor does: with the file there is when it is started."""
    while not over.is_set():
        joined = world.newest
        found = [one for one in joined.config.mirrors if one.source.name == name]
        if found:
            engine = asyncio.create_task(consumer_of(joined, found[0]).run())
            await asyncio.wait(
                [engine, asyncio.create_task(over.wait())],
                timeout=10 + world.chance.random() * 60,
                return_when=asyncio.FIRST_COMPLETED,
            )
            engine.cancel()
            with contextlib.suppress(asyncio.CancelledError, DynamirrorError):
                await engine
        await asyncio.sleep(1)
