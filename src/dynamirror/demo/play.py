"""The demonstration, act by act: what a user would do, on two regions of this machine.

It shows nothing itself: ``Stage`` is told what happens.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from dynamirror.config.model import Mirror, Place, Side
from dynamirror.core.facts import Report
from dynamirror.core.values import encode
from dynamirror.demo import sessions, stories
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.journal import Conflict
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import plan
from dynamirror.errors import DynamirrorError
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import backfill_of, consumer_of, journal_of, verifier_of
from dynamirror.wiring import Wiring

REGIONS = ("us-east-1", "eu-west-1")

TICK_S = 0.25

LEISURE = 8
"""While somebody tries it by hand, applications write this many times slower."""

QUIET_TICKS = 4
"""Looks in a row that must find nothing left: what one side applies is another's to read."""

DRAIN_S_MAX = 60.0
"""How long the engine may need, after the last write, until nothing is left."""


def configuration(url: str) -> str:
    """Return the configuration of both mirrors between two regions of the server at a URL."""
    first, second = (f'{{ region = "{region}", endpoint_url = "{url}"' for region in REGIONS)
    return f"""\
[mirrors.stories]
mode = "one-way"
source  = {first}, table = "{stories.TABLE}" }}
targets = [{second} }}]

[mirrors.sessions]
mode = "two-way"
replicas = [
  {first}, table = "{sessions.TABLE}" }},
  {second} }},
]
"""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How large the demonstration is.

    The embedded server takes about 440 single writes a second, the mirrors' included.
    """

    stories: int = 2_000
    """Items that are there before the mirror is."""
    sessions: int = 400
    seconds: float = 20.0
    """How long the applications go on writing."""
    story_writes_per_second: float = 80.0
    session_writes_per_second: float = 30.0
    """In each region."""
    seed: int = 2016


class Row(msgspec.Struct, frozen=True):
    """How far one side of a mirror is."""

    title: str
    written: int
    """Writes that applications have made there."""
    report: Report


class Ended(msgspec.Struct, frozen=True):
    """What came of it."""

    compared: dict[str, Compared]
    """By mirror."""
    conflicts: dict[str, int]
    """Writes that lost and are in the journal, by reason."""
    example: Conflict | None
    """One of them, if there is any."""


class Stage(Protocol):
    """Where the demonstration is shown."""

    def act(self, sentence: str) -> None:
        """Say what comes next."""

    def note(self, sentence: str) -> None:
        """Say what came of it."""

    def running(self, consumers: Sequence[Consumer]) -> None:
        """Take what runs the mirrors from now on."""

    def copied(self, title: str, copied: Copied) -> None:
        """Show how far a backfill is."""

    def mirrored(self, rows: Sequence[Row]) -> None:
        """Show how far the engine is, side by side."""

    def compared(self, title: str, compared: Compared) -> None:
        """Show how far a comparison is."""

    def drift(self, title: str, drift: Drift) -> None:
        """Tell of an item that differs."""


class Application(Protocol):
    """An application at work."""

    writes: Counter[str]

    async def run(self, seconds: float, per_second: float) -> None:
        """Write for so long at that rate."""


async def play(wiring: Wiring, script: Script, stage: Stage) -> Ended:
    """Play the demonstration on the servers that the configuration's places name."""
    mirrors = wiring.config.mirrors
    first = _api(wiring, mirrors[0], mirrors[0].source)
    stage.act(f"Applications have two tables in {REGIONS[0]}: {stories.TABLE}, {sessions.TABLE}.")
    for table in (stories.TABLE, sessions.TABLE):
        await first.call("CreateTable", encode(stories.schema(table)))
    await stories.populate(first, script.stories, script.seed)
    await sessions.populate(first, script.sessions, script.seed)
    stage.note(f"{script.stories:,} stories and {script.sessions:,} sessions are in them")

    stage.act(
        f"dynamirror init: {stories.TABLE} one-way, {sessions.TABLE} two-way: what is missing?"
    )
    made = plan(mirrors, await observe(mirrors, wiring.api, wiring.backoff))
    await carry_out(made, wiring.api, wiring.backoff, lambda _: None)
    for step in made.steps:
        if step.operation != "UpdateTimeToLive":
            stage.note(step.sentence)
    stage.note("let the rows of dynamirror's own tables expire")

    stage.act("dynamirror backfill: copy what is there")
    copied = await asyncio.gather(*(_copy(wiring, mirror, stage) for mirror in mirrors))
    for mirror, items in zip(mirrors, copied, strict=True):
        stage.note(f"{mirror.title}: {items:,} items copied")

    stage.act(f"dynamirror run: follow, while {sessions.TABLE} is written in both regions at once")
    consumers = [consumer_of(wiring, mirror) for mirror in mirrors]
    stage.running(consumers)
    running = [asyncio.create_task(consumer.run()) for consumer in consumers]
    engine = asyncio.gather(*running)
    try:
        await _write(engine, consumers, _applications(wiring, script), script, stage)
        stage.act("dynamirror verify: compare all tables, item by item")
        compared = await asyncio.gather(
            *(_compare(wiring, mirror, stage) for mirror in mirrors if mirror.compared)
        )
        lost = await _lost(wiring)
    finally:
        engine.cancel()
        await asyncio.gather(engine, *running, return_exceptions=True)
    names = [mirror.name for mirror in mirrors if mirror.compared]
    reasons = Counter(conflict.reason for conflict in lost)
    example = lost[0] if lost else None
    return Ended(dict(zip(names, compared, strict=True)), dict(reasons.most_common()), example)


async def keep_running(wiring: Wiring, script: Script, stage: Stage) -> None:
    """Go on mirroring until cancelled, for somebody who wants to try it by hand.

    The applications go on too, at their leisure: there is something to see.
    """
    consumers = [consumer_of(wiring, mirror) for mirror in wiring.config.mirrors]
    stage.running(consumers)
    later = msgspec.structs.replace(script, seed=script.seed + len(consumers))
    async with asyncio.TaskGroup() as tasks:
        for consumer in consumers:
            tasks.create_task(consumer.run())
        for one, per_second in _applications(wiring, later):
            tasks.create_task(one.run(float("inf"), per_second / LEISURE))


def _api(wiring: Wiring, mirror: Mirror, place: Place) -> DynamoDB:
    return wiring.api(place, mirror.transport)


async def _copy(wiring: Wiring, mirror: Mirror, stage: Stage) -> int:
    title = mirror.title
    copied = await backfill_of(wiring, mirror).run(lambda so_far: stage.copied(title, so_far))
    return copied.items


async def _compare(wiring: Wiring, mirror: Mirror, stage: Stage) -> Compared:
    return await verifier_of(wiring, mirror).run(
        lambda drift: stage.drift(mirror.name, drift),
        lambda so_far: stage.compared(mirror.name, so_far),
    )


async def _lost(wiring: Wiring) -> list[Conflict]:
    (side, *_) = [mirror for mirror in wiring.config.mirrors if isinstance(mirror, Side)]
    journal = journal_of(wiring, side)
    found = [conflict async for conflict in journal.conflicts()]
    return sorted(found, key=lambda conflict: (conflict.at_ms, conflict.id))


def _applications(wiring: Wiring, script: Script) -> list[tuple[Application, float]]:
    """Return what writes at each mirror's source, and how often a second."""
    made: list[tuple[Application, float]] = []
    for mirror in wiring.config.mirrors:
        api, seed = wiring.source(mirror), script.seed + 1 + len(made)
        if isinstance(mirror, Side):
            region = REGIONS.index(mirror.source.region)
            there = sessions.Writer(api, region, script.sessions, seed)
            made.append((there, script.session_writes_per_second))
        else:
            made.append((stories.Writer(api, script.stories, seed), script.story_writes_per_second))
    return made


async def _write(
    engine: asyncio.Future[list[None]],
    consumers: Sequence[Consumer],
    applications: Sequence[tuple[Application, float]],
    script: Script,
    stage: Stage,
) -> None:
    """Write, and show what the engine does of it, until it has caught up."""
    seconds, loop = script.seconds, asyncio.get_running_loop()
    while not (engine.done() or all(consumer.drained for consumer in consumers)):
        await asyncio.wait({engine}, timeout=TICK_S)
    writing = asyncio.gather(*(one.run(seconds, rate) for one, rate in applications))
    give_up, quiet = loop.time() + seconds + DRAIN_S_MAX, 0
    try:
        while quiet < QUIET_TICKS:
            # Not one of the two that are done already: the other's end must still be waited for.
            waiting = {engine} if writing.done() else {engine, writing}
            await asyncio.wait(waiting, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if engine.done():
                engine.result()
            still = writing.done() and all(consumer.drained for consumer in consumers)
            quiet = quiet + 1 if still else 0
            stage.mirrored(
                [
                    Row(consumer.links.mirror.title, one.writes.total(), consumer.report())
                    for consumer, (one, _) in zip(consumers, applications, strict=True)
                ]
            )
            if loop.time() > give_up:
                raise DynamirrorError(f"the engine had not caught up {DRAIN_S_MAX:.0f} s after")
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    writing.result()
    for consumer, (one, _) in zip(consumers, applications, strict=True):
        counts = ", ".join(f"{number:,} {kind}" for kind, number in one.writes.most_common())
        mirror = consumer.links.mirror
        told = f"{mirror.source.table} in {mirror.source.region}"
        stage.note(f"{told}: {one.writes.total():,} writes: {counts}")
