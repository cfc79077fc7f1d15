"""``dynamirror limit``: write no faster than this."""

from __future__ import annotations

from typing import Any

import click

from dynamirror.cli.arguments import mirror_option, open_output, reporting, wired
from dynamirror.cli.controlling import controlled, link_option, links_of
from dynamirror.config.model import Mirror
from dynamirror.engine.stream.control import limit


class PerSecond(click.ParamType[float]):
    """Items a second; 0: no limit but what is configured."""

    name = "N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if value == "none":
            return 0.0
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r}: write a number above 0, or none", param, ctx)
        return number


@click.command("limit")
@reporting
@mirror_option
@link_option
@click.option(
    "--max-writes-per-second",
    "per_second",
    type=PerSecond(),
    required=True,
    help="Items a second and target; none: as the configuration has it.",
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    link: str | None,
    per_second: float,
) -> None:
    """Have a running engine write slower, or as fast as it may.

    At once, without a question. In force within a second, and kept for engines that start later,
    until it is set to none. The Lambda function keeps to max_writes_per_second of its
    configuration.

    \b
    Example:
      dynamirror limit mirrors.toml --mirror stories --max-writes-per-second 200
      dynamirror limit mirrors.toml --max-writes-per-second none

    Exit status: 0 done, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)

    async def work(one: Mirror) -> dict[str, Any]:
        await limit(wiring.checkpoints(one), per_second or None)
        now = per_second or one.max_writes_per_second
        told = "no limit" if now is None else f"at most {now:g} items a second to each target"
        output.say(f"{links_of(one)}: {told}", "good")
        return {"link": one.link, "max_writes_per_second": now}

    ctx.exit(controlled(wiring, output, work, mirror=mirror, link=link))
