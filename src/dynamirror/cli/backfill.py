"""``dynamirror backfill``: copy what the stream doesn't tell any more."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
from dynamirror.cli.mappings import require_paused
from dynamirror.cli.output import Output
from dynamirror.cli.wording import counted, sized
from dynamirror.config.model import Mirror, Place
from dynamirror.core.prices import AS_OF, REGION, Use
from dynamirror.engine.copying.copier import Copied, Left
from dynamirror.engine.copying.estimate import Estimate, estimated
from dynamirror.engine.tables.findings import label
from dynamirror.errors import Exit
from dynamirror.runtimes.exports import exports_of
from dynamirror.runtimes.presence import see_all
from dynamirror.runtimes.process import backfill_of
from dynamirror.wiring import Wiring

SHARES_MAX = 1_000_000
"""The most segments that a scan takes (API: Scan)."""


class Segment(click.ParamType[tuple[int, int]]):
    """I/N, counted from 1."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", str(value))
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count <= SHARES_MAX:
            self.fail(f"{value!r}: write I/N, such as 1/4 for the first of four", param, ctx)
        return number, count


def array_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the share of a child of an AWS Batch array job, which counts from 0."""
    index = environment.get("AWS_BATCH_JOB_ARRAY_INDEX", "")
    size = environment.get("AWS_BATCH_JOB_ARRAY_SIZE", "")
    return f"{int(index) + 1}/{size}" if index.isdigit() and size.isdigit() else None


class How(NamedTuple):
    """What the options say of copying."""

    segment: tuple[int, int] | None
    restart: bool
    exports: tuple[str, ...]
    others: tuple[str, ...]
    read_units_max: float | None
    write_units_max: float | None


@click.command("backfill")
@reporting
@mirror_option
@click.option("--yes", is_flag=True, help="Don't ask whether to go on, given what it will cost.")
@click.option(
    "--segment",
    type=Segment(),
    default=array_job,
    help="Copy only the I-th of N shares, 1/N to N/N: for several machines at once. A child of an "
    "AWS Batch array job takes its own.",
)
@click.option(
    "--restart", is_flag=True, help="Begin anew, rather than go on where one was interrupted."
)
@click.option(
    "--other-function",
    "others",
    metavar="NAME",
    multiple=True,
    help="A Lambda function that reads the stream, and doesn't apply this mirror.",
)
@click.option(
    "--from-export",
    metavar="PLACE",
    multiple=True,
    help="From an export to S3: the folder or s3://bucket/prefix of its manifest-summary.json; "
    "name the incremental ones that follow on it too.",
)
@click.option(
    "--max-read-units",
    metavar="N",
    type=click.FloatRange(min=1),
    help="Read units per second that scanning the source may take.",
)
@click.option(
    "--max-write-units",
    metavar="N",
    type=click.FloatRange(min=1),
    help="Write units per second that each target may be given.",
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    yes: bool,
    segment: tuple[int, int] | None,
    restart: bool,
    others: tuple[str, ...],
    from_export: tuple[str, ...],
    max_read_units: float | None,
    max_write_units: float | None,
) -> None:
    """Copy the items that the source already has.

    Says what it will cost, and asks. Safe beside `dynamirror run` and while the source is written:
    no copied item replaces a newer one, and none that was deleted meanwhile comes back. With guard
    "order" or "item" the mirror is paused while a part is copied, and catches up afterwards. One
    that was killed goes on where it stood. Also what to do after lost history; verify afterwards.

    \b
    Example:
      dynamirror backfill mirrors.toml --mirror stories
      dynamirror backfill mirrors.toml --yes --segment 2/8 --max-write-units 4000

    Exit status: 0 done, 1 an item could not be copied, 2 error or not agreed to.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config, patient=True)
    mirrors = chosen(wiring.config, mirror)
    how = How(segment, restart, from_export, others, max_read_units, max_write_units)
    end = _estimate(wiring, output, mirrors, how)
    if end is not Exit.DONE:
        ctx.exit(end)
    if not yes:
        _agree(output)
    ctx.exit(_copy(wired(ctx, config), output, mirrors, how))


def _copy(wiring: Wiring, output: Output, mirrors: Sequence[Mirror], how: How) -> Exit:
    """Copy, and say what came of it."""
    done: dict[str, Copied] = {}
    with output.progress("backfill") as progress:

        async def work(mirror: Mirror) -> Exit:
            def left(one: Left) -> None:
                output.line("left", mirror=mirror.title, **msgspec.structs.asdict(one))
                shown = msgspec.json.encode(one.key).decode()
                output.say(
                    f"{mirror.title}: {shown} can't be copied to {one.target}: {one.error}", "bad"
                )

            def show(copied: Copied) -> None:
                much = {"before": copied.resumed, "size": copied.bytes}
                progress.update(mirror.title, copied.items, copied.expected_items, **much)

            await see_all(wiring, mirror)
            copying = backfill_of(
                wiring,
                mirror,
                read_units_max=how.read_units_max,
                write_units_max=how.write_units_max,
            )
            exports = await exports_of(wiring, mirror, how.exports) if how.exports else None
            copied = await copying.run(
                show, how.segment, left, restart=how.restart, exports=exports
            )
            done[mirror.title] = copied
            return Exit.FINDING if copied.left else Exit.DONE

        end = perform(wiring, output, mirrors, work)
    for name, copied in done.items():
        output.paragraph(f"{name}: {told(copied)}", style="bad" if copied.left else "good")
    output.line("summary", **summary(done))
    return end


def _estimate(wiring: Wiring, output: Output, mirrors: Sequence[Mirror], how: How) -> Exit:
    """Say what will be done, and what it will take."""
    found: dict[str, Estimate] = {}

    async def work(mirror: Mirror) -> Exit:
        if not mirror.copies_beside and on_aws(mirror.source):
            await require_paused(wiring, mirror, output, how.others)
        apis, shares = wiring.apis(mirror), how.segment[1] if how.segment else 1
        exports = await exports_of(wiring, mirror, how.exports) if how.exports else None
        found[mirror.title] = await estimated(
            mirror, apis, wiring.backoff, shares=shares, exports=exports
        )
        return Exit.DONE

    end = perform(wiring, output, mirrors, work)
    for mirror in mirrors:
        if (estimate := found.get(mirror.title)) is None:
            continue
        output.line("estimate", mirror=mirror.title, **msgspec.structs.asdict(estimate))
        if not output.as_json:
            targets = ", ".join(map(label, mirror.targets))
            pause = "" if mirror.copies_beside else "; the mirror is paused meanwhile"
            what = "share {} of {} of ".format(*how.segment) if how.segment else ""
            what += "an export of " if how.exports else ""
            output.aside(
                f"{mirror.title}: copying {what}{label(mirror.source)} to {targets}{pause}"
            )
            output.aside(f"  {forecast(estimate)}")
    if found and not output.as_json:
        usd = sum(estimate.usd for estimate in found.values())
        output.aside(f"about ${usd:,.2f} at {REGION}'s on-demand prices of {AS_OF}")
    return end


def _agree(output: Output) -> None:
    """Ask whether to go on; raises what ends the command if nobody says yes."""
    if output.as_json or not at_a_terminal():
        raise click.UsageError("nobody is there to agree to this: say --yes")
    if not click.confirm("go on?", default=True, err=True):
        raise click.UsageError("nothing was copied")


def on_aws(place: Place) -> bool:
    """Tell whether a place may have Lambda functions beside it."""
    given = click.get_current_context().obj is not None
    return not given and (place.endpoint_url is None or ".amazonaws." in place.endpoint_url)


def at_a_terminal() -> bool:
    """Tell whether somebody can answer."""
    return sys.stdin.isatty()


def forecast(estimate: Estimate) -> str:
    """Say what is expected."""
    if not estimate.items:
        return "the service has not counted its items yet, or there are none"
    return (
        f"about {counted(estimate.items, 'item')}, {sized(estimate.bytes)}: "
        f"{estimate.read_units:,} read units, {estimate.write_units:,} write units, "
        f"${estimate.usd:,.2f}"
    )


def told(copied: Copied) -> str:
    """Say what came of it."""
    parts = [f"{copied.items:,} items read and copied"]
    if copied.resumed:
        parts.append(f"{copied.resumed:,} of them by earlier attempts")
    if copied.skipped:
        parts.append(f"{copied.skipped:,} of them were there already or newer")
    if copied.raised:
        parts.append(f"{copied.raised:,} of them were given a version, and follow by the stream")
    if copied.deletes:
        parts.append(f"{counted(copied.deletes, 'delete')} carried")
    if copied.left:
        parts.append(f"{copied.left:,} that can't be there")
    use = Use(copied.read_units, copied.write_units)
    return (
        f"{', '.join(parts)}; consumed {copied.read_units:,.0f} read units and "
        f"{copied.write_units:,.0f} write units, about ${use.usd:,.2f}"
    )


def summary(done: dict[str, Copied]) -> dict[str, object]:
    """Return the sums over all mirrors, and each mirror's figures."""
    each = [{"mirror": name, **msgspec.structs.asdict(copied)} for name, copied in done.items()]
    names = Copied.__struct_fields__
    sums = {name: sum(getattr(copied, name) for copied in done.values()) for name in names}
    return {**sums, "mirrors": each}
