"""``dynamirror status``: how every mirror stands."""

from __future__ import annotations

import click

from dynamirror.cli.arguments import open_output, perform, reporting, wired
from dynamirror.cli.drained import wait_drained
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.engine.barrier import SETTLE_S
from dynamirror.errors import Exit
from dynamirror.observe.status import State, Status
from dynamirror.runtimes.looking import status_of

HEADER = ("MIRROR", "STATE", "LAG", "TIME LEFT", "PARKED", "SOURCE", "TARGETS")


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
) -> None:
    """Tell how every mirror stands: lag, time left, parked keys.

    Read from the tables alone, so it works from any machine. TIME LEFT is how long the stream
    still keeps the oldest change that isn't applied; after that, history is lost.

    With --wait-drained it only tells whether the mirrors are drained, once they are, and writes
    nothing.

    \b
    Example:
      dynamirror status mirrors.toml
      dynamirror status mirrors.toml --wait-drained --timeout 600

    Exit status: 0 fine or drained, 1 something is parked or not drained, 2 error, 3 a mirror's
    history is lost.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    if waiting:
        ended = wait_drained(wired(ctx, config), output, timeout_s=timeout_s, settle_s=settle_s)
        ctx.exit(ended)
    wiring = wired(ctx, config, patient=True)
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
    output.table(HEADER, [_row(status) for status in statuses])
    for status in statuses:
        if status.held_by:
            # What follows in parentheses is for other processes.
            output.say(f"{status.mirror}: read by {status.held_by.partition(' (')[0]}")
        if status.why:
            bad = status.state in (State.LOST, State.STOPPED)
            output.say(
                f"{status.mirror}: {status.state}: {status.why}", "bad" if bad else "finding"
            )
        if status.hint:
            output.say(f"{status.mirror}: {status.hint}")


def _row(status: Status) -> tuple[str, ...]:
    left = "-" if status.hours_left is None else f"{status.hours_left:.1f} h"
    return (
        status.mirror,
        str(status.state),
        _lag(status),
        left,
        f"{status.parked_keys:,}" if status.parked_keys else "-",
        status.source,
        ", ".join(status.targets),
    )


def _lag(status: Status) -> str:
    if status.lag_ms is None:
        return "-"
    most = "at most " if status.lag_at_most else ""
    return most + span(status.lag_ms)


def span(ms: int) -> str:
    """Return a time in the unit that suits it."""
    seconds = ms / 1_000
    for unit, size in (("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
