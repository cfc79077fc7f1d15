"""``dynamirror pause``: apply nothing until somebody says so."""

from __future__ import annotations

import re
from typing import Any

import click

from dynamirror.cli.arguments import mirror_option, open_output, reporting, wired
from dynamirror.cli.controlling import controlled, link_option, links_of, person, target_option
from dynamirror.cli.mappings import function_option, holding, switched
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.core.limits import STREAM_RETENTION_S
from dynamirror.engine.stream.control import obeyed, pause
from dynamirror.engine.stream.deployed import Mapping
from dynamirror.runtimes.process import lease_of
from dynamirror.wiring import Wiring

HOURS_MAX = STREAM_RETENTION_S / 3_600

SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h)")

SECONDS = {"s": 1, "min": 60, "h": 3_600}


class Span(click.ParamType[int]):
    """A time, in milliseconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = SPAN.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r}: write 90s, 30min or 2h", param, ctx)
        return int(float(found[1]) * SECONDS[found[2]] * 1_000)


@click.command("pause")
@reporting
@mirror_option
@link_option
@target_option
@click.option("--why", default="", metavar="TEXT", help="What `status` tells everybody else.")
@click.option("--for", "span_ms", type=Span(), help="End by itself after 90s, 30min or 2h.")
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
    why: str,
    span_ms: int | None,
    deployed: bool,
    function: str | None,
) -> None:
    """Apply nothing more, until `dynamirror resume`.

    At once, without a question: `dynamirror resume` undoes it. A running engine finishes what it
    has read, saves how far it is, and reads no further; an engine that starts meanwhile waits. The
    stream keeps changes for 24 hours: resume before, or history is lost.

    With --target only the links to that place pause: what is for it is parked, everything else goes
    on, and it is brought up to date when it is resumed, however late. (Where backlog_seconds is 0
    nothing can be parked so, and all that is read from the source waits.)

    With --deployed it is a Lambda function that pauses: its event source mapping is disabled; with
    --target too, the function parks what is for that target, from its next deliveries on.

    \b
    Example:
      dynamirror pause mirrors.toml --target eu-west-1 --why "index build"
      dynamirror pause mirrors.toml --link stories/us-east-1
      dynamirror pause mirrors.toml --mirror stories --for 2h

    Exit status: 0 nothing is applied any more, 2 error, or the engine didn't answer.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    until: set[str] = set()

    async def work(one: Mirror) -> dict[str, Any]:
        if deployed and not target:
            return await switched(wiring, one, output, function, on=False)
        until_ms = None if span_ms is None else wiring.clock() + span_ms
        mapping = await holding(wiring, one, function) if deployed else None
        told = await _pause(wiring, output, one, target, mapping, why=why, until_ms=until_ms)
        if target and one.backlog_seconds:
            until.add(f"What is for {target} is parked until it is resumed: ")
        elif span_ms is None:
            until.add(f"Resume within {HOURS_MAX:.0f} hours, or history is lost: ")
        return {"link": one.link, "target": target, "paused": True, **told, "until_ms": until_ms}

    end = controlled(wiring, output, work, mirror=mirror, link=link, target=target)
    for told in sorted(until):
        output.say(f"{told}`dynamirror resume CONFIG`.")
    ctx.exit(end)


async def _pause(
    wiring: Wiring,
    output: Output,
    one: Mirror,
    target: str | None,
    mapping: Mapping | None,
    *,
    why: str,
    until_ms: int | None,
) -> dict[str, Any]:
    """Pause, wait for an engine to obey, and tell whether one runs; of a function, which it is."""
    checkpoints, now_ms = wiring.checkpoints(one), wiring.clock()
    await pause(checkpoints, by=person(), why=why, now_ms=now_ms, until_ms=until_ms, target=target)
    if mapping is not None:
        told = f"{mapping.function} parks it, in deliveries that begin 5 s from now or later"
        output.say(f"{links_of(one, target)}: {told}", "good")
        return {"mapping": mapping.id}
    answered = await obeyed(checkpoints, lease_of(wiring, one), target)
    told = "paused" if answered else "will be paused once an engine runs; none does"
    output.say(f"{links_of(one, target)}: {told}", "good" if answered else "finding")
    return {"engine": answered}
