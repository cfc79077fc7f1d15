"""``dynamirror resume``: the end of a pause."""

from __future__ import annotations

import click

from dynamirror.cli.arguments import mirror_option, open_output, perform, reporting, wired
from dynamirror.cli.controlling import link_option, links_of, selected
from dynamirror.cli.mappings import function_option, switched
from dynamirror.config.model import Mirror
from dynamirror.engine.stream.control import resume, resumed
from dynamirror.errors import Exit
from dynamirror.runtimes.process import lease_of


@click.command("resume")
@reporting
@mirror_option
@link_option
@function_option
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    link: str | None,
    deployed: bool,
    function: str | None,
) -> None:
    """Go on after `dynamirror pause`.

    A running engine reads on within a second, from where it stood. Ends what a person asked for
    only: a backfill that keeps a link paused goes on. With --deployed, the event source mapping
    of the Lambda function is enabled.

    \b
    Example:
      dynamirror resume mirrors.toml --link stories/us-east-1

    Exit status: 0 nothing is paused by a person any more, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    done: list[dict[str, object]] = []

    async def work(one: Mirror) -> Exit:
        if deployed:
            done.append(await switched(wiring, one, output, function, on=True))
            return Exit.DONE
        checkpoints = wiring.checkpoints(one)
        was = await resume(checkpoints)
        runs = await resumed(checkpoints, lease_of(wiring, one))
        told = "resumed" if was else "was not paused by a person"
        if not runs:
            told += "; no engine runs"
        output.say(f"{links_of(one)}: {told}", "good" if was and runs else "")
        done.append({"link": one.link, "paused": False, "was_paused": was, "engine": runs})
        return Exit.DONE

    end = perform(wiring, output, selected(wiring.config, mirror, link), work)
    if as_json:
        output.document({"links": done})
    ctx.exit(end)
