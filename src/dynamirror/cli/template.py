"""``dynamirror template``: what a mirror needs on AWS, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from dynamirror.cli.arguments import open_output, reporting, runtime_options
from dynamirror.cli.sites import shares_option, stack_name_option
from dynamirror.config.load import as_written, load
from dynamirror.deploy import names
from dynamirror.deploy.route_template import route_templates
from dynamirror.deploy.routing import routing_of
from dynamirror.deploy.stacks import stacks_of
from dynamirror.deploy.template import Runtime, text
from dynamirror.deploy.written import files, protections


@click.command("template")
@reporting
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The folder to write to; it is made if it isn't there.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["cloudformation", "terraform"]),
    default="cloudformation",
    help="Templates alone, or with a Terraform module that deploys them.",
)
@stack_name_option
@click.option("--account", metavar="ID", default="", help="Your account, where CONFIG doesn't say.")
@runtime_options
@shares_option
@click.option(
    "--protect-targets",
    is_flag=True,
    help="Also write a resource policy for each target of a one-way mirror: nobody else writes it.",
)
@click.option(
    "--operator",
    "operators",
    metavar="ARN",
    multiple=True,
    help="With --protect-targets: a role or user who may write too, to backfill and repair.",
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    folder: Path,
    form: Literal["cloudformation", "terraform"],
    stack_name: str | None,
    account: str,
    arch: str,
    python: str,
    shares: bool,
    protect_targets: bool,
    operators: tuple[str, ...],
) -> None:
    """Write what a mirror needs on AWS as files.

    One CloudFormation template for each account and region that has work to do: role, function,
    event source mapping, log, alarms, dashboard, the tables of dynamirror's own; for each route
    one with its records and health checks, and one for each region with alarms for them. The same
    configuration gives the same text, so that a diff tells what changes. `dynamirror deploy` does
    the same and all the rest; this is for who deploys in another way, or wants to read it first.

    \b
    Example:
      dynamirror template mirrors.toml --output templates

    Exit status: 0 done, 2 error.
    """  # noqa: D301 - click reads the \b
    del ctx
    output = open_output(as_json=as_json, verbose=verbose)
    loaded = load(config)
    stacks = stacks_of(
        loaded,
        as_written(config)[1],
        name=names.stack_name(config, stack_name),
        home=account,
        shares=shares,
    )
    told = files(stacks, Runtime(python=python, architecture=arch), form)
    if protect_targets:
        told |= protections(stacks, operators)
    for route in loaded.routes:
        templates = route_templates(routing_of(route, loaded, account))
        told |= {name: text(made) for name, made in templates.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in told.items():
        (folder / name).write_text(content, encoding="utf-8")
        output.say(f"{folder / name}")
    if as_json:
        output.document({"files": [str(folder / name) for name in told]})
