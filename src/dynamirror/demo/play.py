"""The demonstration, act by act: what a user would do, on two regions of this machine.

It shows nothing itself: ``Stage`` is told what happens.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from dynamirror.core.values import encode
from dynamirror.demo.stories import TABLE, Writer, populate, schema
from dynamirror.engine.backfill import Copied
from dynamirror.engine.consumer import Consumer, Report
from dynamirror.engine.provision import carry_out, observe, plan
from dynamirror.engine.verify import Compared, Drift
from dynamirror.errors import DynamirrorError
from dynamirror.runtimes.process import backfill_of, consumer_of, verifier_of
from dynamirror.wiring import Wiring

REGIONS = ("us-east-1", "eu-west-1")

TICK_S = 0.25

DRAIN_S_MAX = 60.0
"""How long the engine may need, after the last write, until nothing is left."""


def configuration(url: str) -> str:
    """Return the configuration of the mirror between two regions of the server at a URL."""
    source, target = (f'{{ region = "{region}", endpoint_url = "{url}"' for region in REGIONS)
    return f"""\
[mirrors.stories]
mode = "one-way"
source  = {source}, table = "{TABLE}" }}
targets = [{target} }}]
"""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How large the demonstration is."""

    stories: int = 3_000
    """Items that are there before the mirror is."""
    seconds: float = 20.0
    """How long the application goes on writing."""
    writes_per_second: float = 250.0
    """The embedded server takes about 440 single writes a second, the mirror's included."""
    seed: int = 2016


class Stage(Protocol):
    """Where the demonstration is shown."""

    def act(self, sentence: str) -> None:
        """Say what comes next."""

    def note(self, sentence: str) -> None:
        """Say what came of it."""

    def copied(self, copied: Copied) -> None:
        """Show how far the backfill is."""

    def mirrored(self, report: Report, written: int) -> None:
        """Show how far the engine is, and how many writes the application has made."""

    def compared(self, compared: Compared) -> None:
        """Show how far the comparison is."""

    def drift(self, drift: Drift) -> None:
        """Tell of an item that differs."""


async def play(wiring: Wiring, script: Script, stage: Stage) -> Compared:
    """Play the demonstration on the servers that the configuration's places name.

    Returns what the comparison found.
    """
    (mirror,) = wiring.config.mirrors
    source = wiring.source(mirror)
    stage.act(f"An application has a table, {TABLE}, in {REGIONS[0]}.")
    await source.call("CreateTable", encode(schema(TABLE)))
    await populate(source, script.stories, script.seed)
    stage.note(f"{script.stories:,} items are in it")

    stage.act(f"dynamirror init: what does a mirror to {REGIONS[1]} need?")
    made = plan([mirror], await observe([mirror], wiring.api, wiring.backoff))
    await carry_out(made, wiring.api, wiring.backoff, lambda step: stage.note(step.sentence))

    stage.act("dynamirror backfill: copy what is there")
    copied = await backfill_of(wiring, mirror).run(stage.copied)
    stage.note(f"{copied.items:,} items copied")

    stage.act("dynamirror run: follow the changes while the application goes on writing")
    consumer = consumer_of(wiring, mirror)
    engine = asyncio.create_task(consumer.run())
    try:
        writer = Writer(source, script.stories, script.seed + 1)
        await _write(engine, consumer, writer, script, stage)
        stage.act("dynamirror verify: compare both tables, item by item")
        return await verifier_of(wiring, mirror).run(stage.drift, stage.compared)
    finally:
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)


async def keep_running(wiring: Wiring) -> None:
    """Go on mirroring until cancelled, for somebody who wants to try it by hand."""
    (mirror,) = wiring.config.mirrors
    await consumer_of(wiring, mirror).run()


async def _write(
    engine: asyncio.Task[None], consumer: Consumer, writer: Writer, script: Script, stage: Stage
) -> None:
    """Write, and show what the engine does of it, until it has caught up."""
    writing = asyncio.create_task(writer.run(script.seconds, script.writes_per_second))
    loop = asyncio.get_running_loop()
    give_up = loop.time() + script.seconds + DRAIN_S_MAX
    try:
        while not (writing.done() and consumer.drained):
            waiting = {engine, writing}
            await asyncio.wait(waiting, timeout=TICK_S, return_when=asyncio.FIRST_EXCEPTION)
            if engine.done():
                engine.result()
            stage.mirrored(consumer.report(), writer.writes.total())
            if loop.time() > give_up:
                raise DynamirrorError(f"the engine had not caught up {DRAIN_S_MAX:.0f} s after")
    finally:
        writing.cancel()
    writing.result()
    counts = ", ".join(f"{number:,} {kind}" for kind, number in sorted(writer.writes.items()))
    stage.note(f"the application made {writer.writes.total():,} writes: {counts}")
