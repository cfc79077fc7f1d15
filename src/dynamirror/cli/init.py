"""``dynamirror init``: make what is missing, after showing it."""

from __future__ import annotations

import time

import click

from dynamirror.cli.arguments import (
    chosen,
    mirror_option,
    open_output,
    reporting,
    wired,
)
from dynamirror.cli.output import PLAIN_S, Output
from dynamirror.config.model import Mirror
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.findings import Severity, bare
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import Plan, Step, plan
from dynamirror.errors import Exit
from dynamirror.runtimes.process import run
from dynamirror.wiring import Wiring


@click.command("init")
@reporting
@mirror_option
@click.option(
    "--mend",
    is_flag=True,
    help="Also make targets like their sources where they have drifted apart.",
)
@click.option("--yes", is_flag=True, help="Do it; without this the plan is only shown.")
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    mend: bool,
    yes: bool,
) -> None:
    """Create what is missing: streams, target tables, tables of our own.

    Shows the plan first and changes nothing without --yes. A missing target table is made like
    its source: keys, indexes, billing, time to live, point-in-time recovery, tags. Nothing that
    exists is replaced, and no index or table is ever deleted, so it is safe to run again at any
    time. With --mend, tables that are there are made like their sources again.

    \b
    Example:
      dynamirror init mirrors.toml                 # what would be done
      dynamirror init mirrors.toml --yes           # do it
      dynamirror init mirrors.toml --mend --yes    # and mend what has drifted apart

    Exit status: 0 done or nothing to do, 1 something is left for you to mend, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    mirrors = chosen(wiring.config, mirror)
    ctx.exit(run(_init(wiring, output, mirrors, mend=mend, yes=yes)))


async def _init(
    wiring: Wiring, output: Output, mirrors: tuple[Mirror, ...], *, mend: bool, yes: bool
) -> Exit:
    try:
        world = await observe(mirrors, wiring.api, wiring.backoff)
        made = plan(mirrors, world, mend=mend)
        _show(output, made, yes=yes)
        if yes:
            await carry_out(
                made,
                wiring.api,
                wiring.backoff,
                lambda step: output.marked("done", f"  {step.sentence}"),
                on_wait=_Waiting(output),
            )
        if output.as_json:
            output.document(_shape(made, done=yes))
        elif made.steps:
            output.say("all done" if yes else "nothing was changed; --yes does it")
    finally:
        await wiring.close()
    to_mend = any(finding.severity is not Severity.NOTE for finding in made.findings)
    return Exit.FINDING if to_mend else Exit.DONE


def _show(output: Output, made: Plan, *, yes: bool) -> None:
    if not made.steps:
        output.say("nothing to do: everything is there", "good")
    else:
        output.say("to do:" if not yes else "doing:", "bold")
        for number, step in enumerate(made.steps, 1):
            output.paragraph(f"{number}. {step.sentence}", 2)
    for finding in made.findings:
        where = f"{finding.region}/{finding.table}"
        output.finding(finding.severity, where, finding.what, finding.remedy)


class _Waiting:
    """Tells what a step waits for, when that changes and every few seconds."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._began_s = time.monotonic()
        self._told: dict[str, tuple[str, float]] = {}

    def __call__(self, step: Step, what: str) -> None:
        now_s = time.monotonic()
        before, at_s = self._told.get(step.sentence, ("", 0.0))
        if what != before or now_s - at_s >= PLAIN_S:
            self._told[step.sentence] = what, now_s
            where = f"{step.place.region}/{bare(step.place.table)}"
            self._output.aside(f"waiting, {now_s - self._began_s:.0f} s: {where}: {what}")


def _shape(made: Plan, *, done: bool) -> dict[str, object]:
    return {
        "steps": [
            {
                "sentence": step.sentence,
                "region": step.place.region,
                "table": bare(step.place.table),
                "operation": step.operation,
                "request": step.request,
            }
            for step in made.steps
        ],
        "findings": made.findings,
        "done": done,
    }
