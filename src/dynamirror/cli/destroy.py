"""``dynamirror destroy``: take a mirror off AWS again."""

from __future__ import annotations

import click

from dynamirror.cli.arguments import open_output, reporting
from dynamirror.cli.output import Output
from dynamirror.cli.sites import entered, profile_option, stack_name_option
from dynamirror.deploy.teardown import Removal, remove, survey
from dynamirror.engine.tables.findings import bare
from dynamirror.errors import Exit
from dynamirror.runtimes.process import run


@click.command("destroy")
@reporting
@click.option("--yes", is_flag=True, help="Do it; without this the plan is only shown.")
@click.option(
    "--delete-data",
    is_flag=True,
    help="Delete ledgers, journals, parked changes, checkpoints and failed batches too.",
)
@stack_name_option
@profile_option
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    yes: bool,
    delete_data: bool,
    stack_name: str | None,
    profiles: tuple[tuple[str, str], ...],
) -> None:
    """Take a mirror off AWS again.

    Shows what would go first and changes nothing without --yes. Deletes the stacks and the code;
    never one of your tables. What dynamirror has written down stays, for a mirror that is deployed
    again goes on from it, unless you say --delete-data.

    \b
    Example:
      dynamirror destroy mirrors.toml          # what would go
      dynamirror destroy mirrors.toml --yes    # do it

    Exit status: 0 done or nothing to do, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    ctx.exit(run(_destroy(output, config, stack_name, profiles, data=delete_data, yes=yes)))


async def _destroy(
    output: Output,
    config: str,
    stack_name: str | None,
    profiles: tuple[tuple[str, str], ...],
    *,
    data: bool,
    yes: bool,
) -> Exit:
    async with entered(config, stack_name, profiles) as sites:
        removal = await survey(sites.stacks, sites.wiring, sites.accounts)
        _show(output, removal, data=data)
        kept: list[str] = []
        if yes:
            kept = await remove(removal, sites.wiring, sites.accounts, output.aside, data=data)
            for one in kept:
                output.say(f"kept: {one}")
        if output.as_json:
            output.document({**_shape(removal, data=data), "kept": kept, "done": yes})
        elif not removal.idle:
            output.say("all done" if yes else "nothing was changed; --yes does it")
    return Exit.DONE


def _show(output: Output, removal: Removal, *, data: bool) -> None:
    if removal.idle:
        output.say("nothing to do: nothing of this mirror is there", "good")
    for one in removal.stacks:
        output.say(f"{one.stack.site}: delete the stack {one.stack.name}, and its code")
    for ours in removal.tables:
        what = "delete" if data else "keep"
        where = f"{ours.place.region}/{bare(ours.place.table)}"
        output.say(f"{what} the table {where}: {ours.purpose}")


def _shape(removal: Removal, *, data: bool) -> dict[str, object]:
    return {
        "stacks": [
            {
                "account": one.stack.site.account,
                "region": one.stack.site.region,
                "name": one.stack.name,
            }
            for one in removal.stacks
        ],
        "tables": [
            {
                "region": ours.place.region,
                "table": bare(ours.place.table),
                "deleted": data,
            }
            for ours in removal.tables
        ],
    }
