"""``dynamirror init``: make what is missing, after showing it."""

from __future__ import annotations

import click

from dynamirror.cli.arguments import (
    chosen,
    mirror_option,
    open_output,
    reporting,
    wired,
)
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.engine.findings import Severity, bare
from dynamirror.engine.provision import Plan, carry_out, observe, plan
from dynamirror.errors import Exit
from dynamirror.runtimes.process import run
from dynamirror.wiring import Wiring


@click.command("init")
@reporting
@mirror_option
@click.option("--yes", is_flag=True, help="Do it; without this the plan is only shown.")
@click.pass_context
def command(
    ctx: click.Context, config: str, *, as_json: bool, verbose: bool, mirror: str | None, yes: bool
) -> None:
    """Create what is missing: streams, target tables, tables of our own.

    Shows the plan first and changes nothing without --yes. A missing target table is made like
    its source: keys, indexes, billing, time to live. Nothing that exists is replaced, so it is
    safe to run again at any time.

    \b
    Example:
      dynamirror init mirrors.toml          # what would be done
      dynamirror init mirrors.toml --yes    # do it

    Exit status: 0 done or nothing to do, 1 something is left for you to mend, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    mirrors = chosen(wiring.config, mirror)
    ctx.exit(run(_init(wiring, output, mirrors, yes=yes)))


async def _init(wiring: Wiring, output: Output, mirrors: tuple[Mirror, ...], *, yes: bool) -> Exit:
    try:
        world = await observe(mirrors, wiring.api, wiring.backoff)
        made = plan(mirrors, world)
        _show(output, made, yes=yes)
        if yes:
            await carry_out(
                made,
                wiring.api,
                wiring.backoff,
                lambda step: output.marked("done", f"  {step.sentence}"),
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
