"""``dynamirror status``: how every mirror stands."""

from __future__ import annotations

import asyncio

import click

from dynamirror.cli.arguments import open_output, perform, reporting, wired
from dynamirror.cli.drained import wait_drained
from dynamirror.cli.output import Output
from dynamirror.cli.standing import HEADER, notes, row
from dynamirror.config.model import Mirror
from dynamirror.engine.stream.barrier import SETTLE_S
from dynamirror.errors import Exit
from dynamirror.observe.status import Status
from dynamirror.runtimes.process import run
from dynamirror.runtimes.watching import Watch, status_of
from dynamirror.wiring import Wiring

WATCH_S = 1.0
"""Time between two looks of --watch on a terminal."""

PLAIN_S = 10.0
"""The same elsewhere: a document or a table each time."""


@click.command("status")
@reporting
@click.option(
    "--wait-drained",
    "waiting",
    is_flag=True,
    help="Wait until all that was written before now is applied everywhere.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    metavar="SECONDS",
    help="Give up --wait-drained after so long; without it, never.",
)
@click.option(
    "--settle",
    "settle_s",
    type=float,
    default=SETTLE_S,
    metavar="SECONDS",
    help="How long a change may take to show in the stream; 5 by default, 15 for Alternator.",
)
@click.option("--watch", "watching", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    waiting: bool,
    timeout_s: float | None,
    settle_s: float,
    watching: bool,
) -> None:
    """Tell how every mirror stands: lag, time left, parked keys.

    Read from the tables alone, so it works from any machine. LAG is the age of the oldest change
    that isn't applied; HEARTBEAT what a change made now would need at the least, which is known
    though nobody writes. TIME LEFT is how long the stream still keeps the oldest change that isn't
    applied; after that, history is lost.

    With --wait-drained it only tells whether the mirrors are drained, once they are, and writes
    nothing.

    \b
    Example:
      dynamirror status mirrors.toml
      dynamirror status mirrors.toml --watch
      dynamirror status mirrors.toml --wait-drained --timeout 600

    Exit status: 0 fine or drained, 1 something is parked, away, stopped at an error or not
    drained, or the tables differed when last compared; 2 error, 3 a mirror's history is lost.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=watching)
    if waiting:
        ended = wait_drained(wired(ctx, config), output, timeout_s=timeout_s, settle_s=settle_s)
        ctx.exit(ended)
    wiring = wired(ctx, config, patient=True)
    if watching:
        ctx.exit(run(_watch(wiring, output)))
    done: dict[str, Status] = {}

    async def work(mirror: Mirror) -> Exit:
        done[mirror.title] = status = await status_of(wiring, mirror)
        return status.exit

    end = perform(wiring, output, wiring.config.mirrors, work)
    statuses = [done[mirror.title] for mirror in wiring.config.mirrors if mirror.title in done]
    if as_json:
        output.document({"mirrors": statuses})
    elif statuses:
        _print(output, statuses)
    ctx.exit(end)


def _print(output: Output, statuses: list[Status]) -> None:
    output.table(HEADER, [row(status) for status in statuses])
    for status in statuses:
        for text, style in notes(status):
            output.say(text, style)


async def _watch(wiring: Wiring, output: Output) -> Exit:
    """Show how the mirrors stand until interrupted."""
    watch = Watch(wiring)
    try:
        if output.live_terminal:
            with output.live(HEADER) as live:
                while True:
                    statuses = await watch.seen()
                    told = [note for status in statuses for note in notes(status)]
                    told += [(f"{one.mirror}: {one.error}", "bad") for one in watch.unseen.values()]
                    live.show([row(status) for status in statuses], told)
                    await asyncio.sleep(WATCH_S)
        while True:
            statuses = await watch.seen()
            if output.as_json:
                output.line("status", mirrors=statuses, errors=list(watch.unseen.values()))
            else:
                _print(output, statuses)
                for one in watch.unseen.values():
                    output.aside(f"error: mirror {one.mirror}: {one.error}")
            await asyncio.sleep(PLAIN_S)
    finally:
        await wiring.close()
