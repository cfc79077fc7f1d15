"""``dynamirror backfill``: copy what the stream doesn't tell any more."""

from __future__ import annotations

import re
from typing import Any

import click
import msgspec

from dynamirror.cli.arguments import (
    chosen,
    mirror_option,
    open_output,
    perform,
    reporting,
    wired,
)
from dynamirror.config.model import Mirror
from dynamirror.engine.backfill import Copied, Left
from dynamirror.engine.findings import label
from dynamirror.errors import Exit
from dynamirror.runtimes.process import backfill_of, see_all


class Segment(click.ParamType[tuple[int, int]]):
    """I/N, counted from 1."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", str(value))
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            self.fail(f"{value!r}: write I/N, such as 1/4 for the first of four", param, ctx)
        return number, count


@click.command("backfill")
@reporting
@mirror_option
@click.option(
    "--segment",
    type=Segment(),
    help="Copy only the I-th of N shares, 1/N to N/N: for several machines at once.",
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    segment: tuple[int, int] | None,
) -> None:
    """Copy the items that the source already has.

    Safe beside `dynamirror run` and while the source is written: no copied item replaces a newer
    one, and none that was deleted meanwhile comes back. With guard "order" or "item" the mirror
    is paused while a part is copied, and catches up afterwards. Also what to do after lost
    history; verify afterwards.

    \b
    Example:
      dynamirror backfill mirrors.toml --mirror stories

    Exit status: 0 done, 1 an item could not be copied, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    mirrors = chosen(wiring.config, mirror)
    done: dict[str, Copied] = {}
    with output.progress("backfill") as progress:

        async def work(mirror: Mirror) -> Exit:
            await see_all(wiring, mirror)
            how = "" if mirror.copies_beside else ", the mirror is paused meanwhile"
            targets = ", ".join(map(label, mirror.targets))
            if not as_json:
                output.aside(f"{mirror.title}: copying {label(mirror.source)} to {targets}{how}")

            def left(one: Left) -> None:
                output.line("left", mirror=mirror.title, **msgspec.structs.asdict(one))
                shown = msgspec.json.encode(one.key).decode()
                output.say(
                    f"{mirror.title}: {shown} can't be copied to {one.target}: {one.error}", "bad"
                )

            copied = await backfill_of(wiring, mirror).run(
                lambda so_far: progress.update(mirror.title, so_far.items, so_far.expected_items),
                segment,
                left,
            )
            done[mirror.title] = copied
            return Exit.FINDING if copied.left else Exit.DONE

        end = perform(wiring, output, mirrors, work)
    for name, copied in done.items():
        left = f", and {copied.left:,} that can't be there" if copied.left else ""
        output.say(
            f"{name}: {copied.items:,} items read and copied, but for {copied.skipped:,} that were"
            f" there already or newer{left}",
            "bad" if copied.left else "good",
        )
    output.line("summary", **summary(done))
    ctx.exit(end)


def summary(done: dict[str, Copied]) -> dict[str, object]:
    """Return the sums over all mirrors, and each mirror's figures."""
    each = [{"mirror": name, **msgspec.structs.asdict(copied)} for name, copied in done.items()]
    names = Copied.__struct_fields__
    sums = {name: sum(getattr(copied, name) for copied in done.values()) for name in names}
    return {**sums, "mirrors": each}
