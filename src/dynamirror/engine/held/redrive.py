"""Bring parked keys up to date: not by their stale images, but by what the source holds now.

The rows of a key hold back its changes, so nothing else is written to it meanwhile. The source's
present item is applied with the mark of the key's newest parked change, and the rows are deleted;
if a change was parked meanwhile, the same again. Afterwards the stream's changes pass.
One process at a time does so, and looks before each write whether it still is the one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from dynamirror.config.model import Deletes, Guard
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Image, Key, Wire, encode, key_of, same
from dynamirror.engine.held.claim import Claim
from dynamirror.engine.held.parked import target_of
from dynamirror.engine.retry import persist
from dynamirror.engine.station import Station
from dynamirror.engine.writing.targets import Target
from dynamirror.errors import DynamirrorError, RefusedError, ServiceError, UnfitError

ROUNDS_MAX = 10
"""How often a key that is parked again meanwhile is tried before it is left for the next time."""

AT_ONCE = 32
"""Keys redriven at the same time; each is about ten requests, most of them beside the source."""

Left = tuple[Wire, DynamirrorError]
"""A key that still can't be applied, and why."""

OnLeft = Callable[[Wire, DynamirrorError], None]


class Interrupted(Exception):  # noqa: N818 - no error: it was asked to stop
    """A redrive was to stop, and did so between two requests."""


class UnsettledError(DynamirrorError):
    """A key was parked anew as often as it was redriven."""


class HeldBackError(DynamirrorError):
    """A key is parked because its link is paused."""

    hint = "Run `dynamirror resume CONFIG`: it brings the target up to date by itself."


class Redriven(msgspec.Struct, frozen=True):
    """How far a redrive has come."""

    keys: int = 0
    """Keys applied and released."""
    changes: int = 0
    """Parked changes that they had."""
    left: int = 0
    """Keys that still can't be applied."""


class Ear:
    """Told how the writes of a redrive fare, and asked whether it may go on."""

    def hear(self, error: ServiceError | None) -> None:
        """Take note of an answer; None: the target took the write."""

    def go_on(self) -> bool:
        """Tell whether the next request may be sent."""
        return True


class Redriver:
    """Redrives one mirror's parked keys."""

    def __init__(self, station: Station, *, held: bool = False) -> None:
        """``held``: whether it is sure that nobody writes parked keys beside us, as in the process
        that reads the stream.
        """
        self._links = links = station.links
        self._source = station.source
        self._claim = Claim(station.checkpoints, station.lease, station.clock)
        self._turn = asyncio.Lock()
        self._checkpoints = station.checkpoints
        self._clock = station.clock
        self._backoff = station.backoff
        self._held = held
        self._parking = links.parking or links.parking_of(epoch=1)
        self._changes = 0
        self._ear = Ear()

    @property
    def busy(self) -> bool:
        """Whether it redrives one target just now, for which another would wait."""
        return self._turn.locked()

    async def run(
        self,
        on_key: Callable[[Redriven], None],
        on_left: OnLeft = lambda _keys, _error: None,
        away: Collection[str] = (),
    ) -> Redriven:
        """Redrive every parked key; ``on_left`` is told of each that still can't be applied.

        Those of targets that are ``away`` are left, too, and those of links that are paused. Raises
        HeldError while another process redrives this mirror.
        """
        known = await self._checkpoints.load(positions=False)
        held_back = known.held_back(self._clock())
        keys: dict[Key, tuple[Wire, set[str]]] = {}
        done = left = 0

        async def one(key: Key, wire: Wire, targets: set[str]) -> None:
            nonlocal done, left
            ends = []
            for name in sorted(targets):
                reached = self._links.reached(name)
                paused = [one for one in reached if one in held_back]
                if paused:
                    on_left(wire, HeldBackError(f"the link to {', '.join(paused)} is paused"))
                left_alone = paused or any(one in away for one in reached)
                ends.append(not left_alone and await self._try(key, wire, name, on_left))
            done, left = done + all(ends), left + (not all(ends))
            on_key(Redriven(done, self._changes, left))

        async with self._claim:
            async for listed in self._parking.listed():
                _, targets = keys.setdefault(key_of(listed.keys), (listed.keys, set()))
                targets.add(listed.target)
            await together(one(key, *what) for key, what in keys.items())
            return Redriven(done, self._changes, left)

    async def resync(self, target: str, ear: Ear) -> list[Left]:
        """Redrive the keys that are shelved for a target, and return those that can't be applied.

        One target after the other: the claim is one, and so is the ear. Raises Interrupted as soon
        as ``ear`` says so, and HeldError while another process redrives this mirror.
        """
        left: list[Left] = []

        async def one(keys: Wire) -> None:
            await self._try(key_of(keys), keys, target, lambda *refused: left.append(refused))

        async with self._turn, self._claim:
            self._ear = ear
            some: list[Wire] = []
            async for listed in self._parking.listed():
                if listed.target == target and listed.shelved:
                    some.append(listed.keys)
                if len(some) == AT_ONCE:
                    await together(map(one, some))
                    some = []
            await together(map(one, some))
        return [(keys, error) for keys, error in left if not isinstance(error, UnsettledError)]

    async def _try(self, key: Key, keys: Wire, name: str, on_left: OnLeft) -> bool:
        """Redrive a key at one target; return whether it is released."""
        try:
            if await self._redrive(key, keys, name):
                return True
            on_left(keys, UnsettledError(f"it was parked again and again for {name}: try later"))
        except (RefusedError, UnfitError, UnsettledError) as error:
            on_left(keys, error)
        return False

    async def _redrive(self, key: Key, keys: Wire, name: str) -> bool:
        with contextlib.ExitStack() as last:
            for number in range(ROUNDS_MAX):
                if number == 1:  # what comes from now on need not be parked: it is soon to pass
                    last.enter_context(self._parking.finishing(name, key))
                pledge = self._parking.pledge(name, key)
                listing = await self._parking.listing(name, key)
                rows = [row async for row in self._parking.rows_of(key) if target_of(row) == name]
                changes = [row for row in rows if "target" in row]
                if changes:
                    await self._apply(key, keys, changes[-1], rows)  # oldest first
                self._claim.require()
                await self._parking.release(name, key, rows, listing)
                self._changes += len(changes)
                if not changes:
                    self._parking.free(name, key, pledge)
                    return True
        return False

    async def _apply(
        self, key: Key, keys: Wire, newest: dict[str, Any], rows: Sequence[dict[str, Any]]
    ) -> None:
        """Apply the source's item with the mark of its newest parked change."""
        target = self._links.target(newest["target"], int(newest["seq"].partition("#")[0]))
        image = await self._image(keys)
        mirror, event = self._links.mirror, newest["event_name"]
        olds: Sequence[Wire | None] = self._links.before(newest["target"], keys, rows) or [None]
        all_deletes = (mirror.deletes, mirror.ttl_deletes) == (Deletes.MIRROR, Deletes.MIRROR)
        if image is None and not all_deletes and event != "REMOVE":
            # Its delete is one that the mirror ignores, or is still to come from the stream.
            return
        event = event if event == "REMOVE" else "MODIFY"
        number, by_ttl = int(newest["sequence_number"]), "by_ttl" in newest
        for _ in range(ROUNDS_MAX):
            for old in olds:
                await self._send(
                    target, StreamRecord(number, event, key, keys, image, old, 0.0, by_ttl)
                )
            if self._held or mirror.guard is not Guard.ORDER or mirror.copies_beside:
                return
            # Nothing at the target tells old from new, and a function may not know that the key
            # is held. But what it wrote before ours was at the source before ours was there.
            before, image = image, await self._image(keys)
            if _same(before, image):
                return
        raise UnsettledError(
            f"its item went on changing while it was brought to {newest['target']}"
        )

    async def _send(self, target: Target, record: StreamRecord) -> None:
        attempt = 0
        while not await self._sent(target, record):
            attempt += 1
            await self._backoff.wait(attempt)

    async def _sent(self, target: Target, record: StreamRecord) -> bool:
        """Send it once; return whether it is there, and nothing is left to be tried again."""
        self._claim.require()
        if not self._ear.go_on():
            raise Interrupted
        try:
            left = await target.send([record])
        except ServiceError as error:
            if not error.retryable:
                raise
            self._ear.hear(error)
            return False
        self._ear.hear(None)
        return not left

    async def _image(self, keys: Wire) -> msgspec.Raw | None:
        body = encode(
            {"TableName": self._links.mirror.source.table, "Key": keys, "ConsistentRead": True}
        )
        answer = await persist(lambda: self._source.call("GetItem", body), self._backoff)
        return _decode(answer).Item or None


class _Answer(msgspec.Struct):
    Item: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Answer).decode


def _same(one: Image | None, other: Image | None) -> bool:
    return one == other or (one is not None and other is not None and same(one, other))


async def together(work: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Do it all, so much at a time. One that is interrupted waits for the others, which are too;
    any other failure ends them.
    """
    rest = iter(work)
    while some := list(islice(rest, AT_ONCE)):
        tasks = [asyncio.ensure_future(one) for one in some]
        try:
            ends = await asyncio.gather(*map(_unless_interrupted, tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not all(ends):
            raise Interrupted


async def _unless_interrupted(task: asyncio.Future[object]) -> bool:
    try:
        await task
    except Interrupted:
        return False
    return True
