"""``dynamirror status``: how every mirror stands."""

from __future__ import annotations

import click

from dynamirror.cli.arguments import open_output, perform, reporting, wired
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.errors import Exit
from dynamirror.observe.status import State, Status
from dynamirror.runtimes.looking import status_of

HEADER = ("MIRROR", "STATE", "LAG", "TIME LEFT", "PARKED", "SOURCE", "TARGETS")


@click.command("status")
@reporting
@click.pass_context
def command(ctx: click.Context, config: str, *, as_json: bool, verbose: bool) -> None:
    """Tell how every mirror stands: lag, time left, parked keys.

    Read from the tables alone, so it works from any machine. TIME LEFT is how long the stream
    still keeps the oldest change that isn't applied; after that, history is lost.

    \b
    Example:
      dynamirror status mirrors.toml

    Exit status: 0 fine, 1 something is parked, 2 error, 3 a mirror's history is lost.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
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
