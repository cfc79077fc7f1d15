"""``dynamirror conflicts``: the writes that lost in two-way mirrors, and how to have one back."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from dynamirror.cli.arguments import (
    chosen,
    config_argument,
    json_option,
    mirror_option,
    open_output,
    perform,
    reporting,
    verbose_option,
    wired,
)
from dynamirror.cli.keys import ItemKey, key_in
from dynamirror.cli.output import Output
from dynamirror.cli.wording import counted
from dynamirror.config.model import Config, Mirror, Side
from dynamirror.core.values import Wire, differing, encode
from dynamirror.engine.journal import Conflict, Restoring, UnknownConflictError
from dynamirror.errors import ConfigError, Exit
from dynamirror.runtimes.process import journal_of, run
from dynamirror.wiring import Wiring

HEADER = ("ID", "TIME", "KEY", "REASON", "LOSER", "WINNER")

VALUE_SHOWN_MAX = 60


class Since(click.ParamType[int]):
    """A time, in milliseconds since the epoch."""

    name = "ISO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r}: write a date, or 2026-07-07T12:00:00Z", param, ctx)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return int(at.timestamp() * 1_000)


class Conflicts(click.Command):
    """The command that lists, unless the word ``restore`` follows."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **more: Any,
    ) -> click.Context:
        if args[:1] == ["restore"]:
            return restore.make_context(f"{info_name} restore", args[1:], parent, **more)
        return super().make_context(info_name, args, parent, **more)


@click.command("conflicts", cls=Conflicts)
@reporting
@mirror_option
@click.option("--key", type=ItemKey(), help='Only of this item, as in \'{"id": "a"}\'.')
@click.option(
    "--since",
    type=Since(),
    default=0,
    show_default=False,
    help="Only from then on; UTC unless told.",
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    key: dict[str, Any] | None,
    since: int,
) -> None:
    """List the writes that lost a conflict, or bring one back.

    Two writes to one item of a two-way mirror, of which neither knew the other: the one of the
    higher rank stays, the other is kept in the journal beside the replica where it was made,
    for journal_days. With --json both images are told too.

    \b
    Example:
      dynamirror conflicts mirrors.toml
      dynamirror conflicts mirrors.toml --key '{"id": "a"}' --json
      dynamirror conflicts restore mirrors.toml ID          # what would be written
      dynamirror conflicts restore mirrors.toml ID --yes    # do it

    Exit status: 0 done, however many there are, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    sides = two_way(wiring.config, mirror)
    listed: list[Conflict] = []

    async def work(side: Mirror) -> Exit:
        if isinstance(side, Side):
            journal = journal_of(wiring, side)
            keys = None if key is None else await key_in(wiring, side, key)
            found = journal.conflicts(key=keys, since_ms=since, images=as_json)
            listed.extend([conflict async for conflict in found])
        return Exit.DONE

    end = perform(wiring, output, sides, work)
    listed.sort(key=lambda conflict: (conflict.at_ms, conflict.id))
    if as_json:
        output.document({"conflicts": listed})
    elif end is Exit.DONE:
        _print(output, listed)
    ctx.exit(end)


@click.command("restore")
@config_argument
@click.argument("identity", metavar="ID")
@json_option
@click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")
@verbose_option
@click.pass_context
def restore(
    ctx: click.Context, config: str, identity: str, *, as_json: bool, verbose: bool, yes: bool
) -> None:
    """Write a loser back, as a new version of its item.

    Made at the replica where it was lost, on condition that the item is still as it was read,
    and mirrored from there as any save is. What is there now is gone then, without another entry
    in the journal: --json shows it in full.

    \b
    Example:
      dynamirror conflicts restore mirrors.toml eu-west-1:0123456789abcdef
      dynamirror conflicts restore mirrors.toml eu-west-1:0123456789abcdef --yes

    Exit status: 0 done, or shown, 2 no such conflict, or the item was changed meanwhile.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    run(_restore(wiring, output, identity, yes=yes))


async def _restore(wiring: Wiring, output: Output, identity: str, *, yes: bool) -> None:
    try:
        for side in two_way(wiring.config, None):
            journal = journal_of(wiring, side)
            with contextlib.suppress(UnknownConflictError):
                restoring = await journal.restoring(identity)
                _show(output, restoring)
                if yes:
                    await journal.restore(restoring)
                output.say("done" if yes else "nothing was changed; --yes does it")
                if output.as_json:
                    shape = {name: getattr(restoring, name) for name in ("conflict", "now", "item")}
                    output.document({**shape, "done": yes})
                return
        raise UnknownConflictError(f"no journal of {wiring.config.path} has a conflict {identity}")
    finally:
        await wiring.close()


def two_way(config: Config, name: str | None) -> Sequence[Side]:
    """Return one side of each two-way mirror. Raises ConfigError if there is none."""
    sides = {one.name: one for one in chosen(config, name) if isinstance(one, Side)}
    if not sides:
        what = f"mirror {name!r} is one-way" if name else f"{config.path} has no two-way mirror"
        raise ConfigError(f"{what}: only two-way mirrors have conflicts")
    return list(sides.values())


def _print(output: Output, listed: Sequence[Conflict]) -> None:
    if not listed:
        output.say("no conflicts", "good")
        return
    output.table(HEADER, [_row(conflict) for conflict in listed])
    output.say("")
    output.say(f"{counted(len(listed), 'write')} lost; --json shows both images of each")


def _row(conflict: Conflict) -> tuple[str, ...]:
    at = datetime.fromtimestamp(conflict.at_ms / 1_000, UTC)
    return (
        conflict.id,
        f"{at:%Y-%m-%dT%H:%M:%SZ}",
        encode(conflict.key).decode(),
        conflict.reason,
        f"{conflict.loser.version} of {conflict.loser.origin}",
        f"{conflict.winner.version} of {conflict.winner.origin}",
    )


def _show(output: Output, restoring: Restoring) -> None:
    conflict, now = restoring.conflict, restoring.now
    key = encode(conflict.key).decode()
    output.say(f"{conflict.mirror}, {conflict.replica}: {key}", "bold")
    if now is None:
        output.say("  is not there now; it would be made again:")
    for name in differing(now or {}, restoring.item):
        before, after = (_value(item, name) for item in (now or {}, restoring.item))
        output.say(f"  {name}: {before} -> {after}")


def _value(item: Wire, name: str) -> str:
    if name not in item:
        return "(none)"
    text = encode(item[name]).decode()
    return text if len(text) <= VALUE_SHOWN_MAX else f"{text[:VALUE_SHOWN_MAX]}..."
