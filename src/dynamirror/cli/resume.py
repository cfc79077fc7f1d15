"""``dynamirror resume``: the end of a pause."""

from __future__ import annotations

from typing import Any

import click

from dynamirror.cli.arguments import mirror_option, open_output, reporting, wired
from dynamirror.cli.controlling import controlled, link_option, links_of, target_option
from dynamirror.cli.mappings import function_option, holding, switched
from dynamirror.config.model import Mirror
from dynamirror.engine.stream.control import resume, resumed
from dynamirror.runtimes.process import lease_of


@click.command("resume")
@reporting
@mirror_option
@link_option
@target_option
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
    target: str | None,
    deployed: bool,
    function: str | None,
) -> None:
    """Go on after `dynamirror pause`.

    At once, without a question. A running engine reads on within a second, from where it stood; a
    target that was paused by itself is brought up to date from what is parked. With --target only
    such a pause ends. Ends what a person asked for only: a backfill that keeps a link paused goes
    on. With --deployed, the event source mapping of the Lambda function is enabled; with --target
    too, the function brings that target up to date, some of it after each delivery: where nothing
    is written, `dynamirror redrive` does.

    \b
    Example:
      dynamirror resume mirrors.toml
      dynamirror resume mirrors.toml --link stories/us-east-1 --target eu-west-1

    Exit status: 0 nothing is paused by a person any more, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)

    async def work(one: Mirror) -> dict[str, Any]:
        if deployed and not target:
            return await switched(wiring, one, output, function, on=True)
        mapping = await holding(wiring, one, function) if deployed else None
        checkpoints = wiring.checkpoints(one)
        was = await resume(checkpoints, target)
        whose = {"link": one.link, "target": target, "paused": False, "was_paused": was}
        if mapping is not None:
            told = "brings it up to date after its next deliveries" if was else "held nothing back"
            output.say(f"{links_of(one, target)}: {mapping.function} {told}", "good" if was else "")
            return {**whose, "mapping": mapping.id}
        runs = await resumed(checkpoints, lease_of(wiring, one))
        told = "resumed" if was else "was not paused by a person"
        if not runs:
            told += "; no engine runs"
        output.say(f"{links_of(one, target)}: {told}", "good" if was and runs else "")
        return {**whose, "engine": runs}

    ctx.exit(controlled(wiring, output, work, mirror=mirror, link=link, target=target))
