"""The command ``dynamirror``: a table of commands, and what becomes of errors.

A command's module is imported when it is called, so that ``--help`` is quick. Adding a command is
a file with a click command named ``command``, and a line in ``COMMANDS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from dynamirror.cli.wording import typed
from dynamirror.errors import DynamirrorError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS: Mapping[str, str] = {
    "check": "Look whether every mirror can run, and say what to mend if not.",
    "init": "Create what is missing: streams, target tables, tables of our own.",
    "backfill": "Copy the items that the source already has.",
    "run": "Mirror: read every source's stream and apply it to the targets.",
    "view": "Show one item before and after: at its source, and as each target is to have it.",
    "verify": "Compare the tables of every mirror, item by item.",
    "status": "Tell how every mirror stands: lag, time left, parked keys.",
    "pause": "Apply nothing more, until `dynamirror resume`.",
    "resume": "Go on after `dynamirror pause`.",
    "limit": "Have a running engine write slower, or as fast as it may.",
    "redrive": "Apply parked keys again, as the source has them now.",
    "conflicts": "List the writes that lost a conflict, or bring one back.",
    "deploy": "Put a mirror on AWS and have it follow its streams.",
    "destroy": "Take a mirror off AWS again.",
    "route": "Lead one name to whatever region is near and well.",
    "template": "Write what a mirror needs on AWS as files.",
    "package": "Write the zip that functions on AWS run.",
    "replica": "Have a replica join a two-way mirror at work, or leave it.",
    "detach": "Give a mirror up: take dynamirror's attribute from its items.",
    "demo": "See a mirror at work: two regions on this machine, no AWS account.",
}
"""Every command and what it does, in the order in which a newcomer needs them."""


class Commands(click.Group):
    """The group that finds commands by the table, and turns our errors into messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"dynamirror.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours ends it with a message, a hint and its exit status."""
        try:
            return super().invoke(ctx)
        except DynamirrorError as error:
            tell(ctx, error)
            ctx.exit(error.exit_status)
        except BaseExceptionGroup as group:
            ours = [each for each in leaves(group) if isinstance(each, DynamirrorError)]
            if len(ours) < len(list(leaves(group))):
                raise
            for each in ours:
                tell(ctx, each)
            ctx.exit(max(each.exit_status for each in ours))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(Exit.INTERRUPTED)


def tell(ctx: click.Context, error: DynamirrorError) -> None:
    """Print an error and the next step, on stderr."""
    click.echo(f"error: {error}", err=True)
    if error.hint:
        click.echo(f"hint: {typed(error.hint, ctx)}", err=True)


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the errors that several tasks ended with."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dynamirror", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep DynamoDB tables the same across regions, accounts and servers.

    One TOML file, CONFIG, declares the mirrors: which table is the source, which are its targets.
    A first mirror, from nothing:

    \b
      dynamirror check mirrors.toml
      dynamirror init mirrors.toml --yes
      dynamirror backfill mirrors.toml
      dynamirror run mirrors.toml
      dynamirror verify mirrors.toml

    Exit status: 0 done, 1 a finding, 2 unusable, 3 history lost, 130 interrupted.
    """  # noqa: D301 - click reads the \b


def main() -> None:
    """Run the command line."""
    cli(prog_name="dynamirror")
