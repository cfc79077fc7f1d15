"""``dynamirror detach``: for those who leave, items as if no mirror had ever been."""

from __future__ import annotations

import click
import msgspec

from dynamirror.cli.arguments import chosen, open_output, reporting, wired
from dynamirror.cli.output import Output
from dynamirror.cli.wording import counted
from dynamirror.config.model import Mirror, Place
from dynamirror.engine.members.detach import Detach, attribute_of, written_by
from dynamirror.engine.tables.findings import bare, label
from dynamirror.engine.tables.needs import tables_of_ours
from dynamirror.errors import ConfigError, Exit
from dynamirror.runtimes.process import lease_of, run
from dynamirror.wiring import Wiring


@click.command("detach")
@reporting
@click.option("--mirror", metavar="NAME", required=True, help="The mirror that is given up.")
@click.option("--strip-stamps", is_flag=True, help="Take dynamirror's attribute from every item.")
@click.option(
    "--max-per-second", type=click.FloatRange(min=0, min_open=True), help="Items a second at most."
)
@click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str,
    strip_stamps: bool,
    max_per_second: float | None,
    yes: bool,
) -> None:
    """Give a mirror up: take dynamirror's attribute from its items.

    The stamp of a two-way mirror from all replicas, the mark of guard item from all targets, and
    nothing else. The mirror must be stopped: an engine that runs is a refusal, Lambda functions
    are yours to take off the streams. Items may be saved meanwhile. Safe to run again.

    Afterwards this mirror does not start again, for its streams have records of the stripping
    that it would take for writes. Which tables of dynamirror's own remain is told.

    \b
    Example:
      dynamirror detach mirrors.toml --mirror sessions --strip-stamps          # what would be done
      dynamirror detach mirrors.toml --mirror sessions --strip-stamps --yes    # do it

    Exit status: 0 done, or shown, 1 some items were saved each time we looked, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    mirrors = chosen(wiring.config, mirror)
    if not strip_stamps:
        raise ConfigError("say --strip-stamps: that is all that detach does")
    ctx.exit(run(_detach(wiring, output, mirrors, max_per_second, yes=yes)))


async def _detach(
    wiring: Wiring,
    output: Output,
    mirrors: tuple[Mirror, ...],
    per_second: float | None,
    *,
    yes: bool,
) -> Exit:
    name, attribute = mirrors[0].name, attribute_of(mirrors[0])
    places = written_by(mirrors) if attribute else []
    steps = [f"remove {attribute!r} from every item of {label(place)}" for place in places]
    output.line("plan", mirror=name, steps=steps)
    try:
        if attribute is None:
            output.say(f"nothing to do: guard {mirrors[0].guard} leaves no attribute on items")
        else:
            output.say(
                "to do, each item on condition that the attribute is as it was read:", "bold"
            )
            for number, step in enumerate(steps, 1):
                output.say(f"  {number}. {step}")
        if attribute is None or not yes:
            if attribute is not None:
                output.say("nothing was changed; --yes does it")
            return Exit.DONE
        detach = Detach(
            mirrors,
            wiring.apis(mirrors[0]),
            [(wiring.checkpoints(one), lease_of(wiring, one)) for one in mirrors],
            backoff=wiring.backoff,
            per_second=per_second,
        )
        with output.progress("detach") as progress:
            told = await detach.run(
                lambda so_far: progress.update(name, so_far.seen, so_far.expected_items)
            )
        output.say(f"{name}: {counted(told.items, 'item')} stripped", "good")
        if told.left:
            output.say(f"{counted(told.left, 'item')} kept changing: run this again", "bad")
        remain = _remain(output, mirrors)
        output.line("summary", mirror=name, remain=remain, **msgspec.structs.asdict(told))
        return Exit.FINDING if told.left else Exit.DONE
    finally:
        await wiring.close()


def _remain(output: Output, mirrors: tuple[Mirror, ...]) -> list[str]:
    """Say which tables of ours are left, and how to delete them."""
    places: dict[Place, None] = {}
    for mirror in mirrors:
        places.update(dict.fromkeys(ours.place for ours in tables_of_ours(mirror)))
    output.say("These tables of dynamirror remain; unless another mirror shares them, delete them:")
    for place in places:
        command_line = f"aws dynamodb delete-table --region {place.region}"
        output.say(f"  {command_line} --table-name {bare(place.table)}")
    return [label(place) for place in places]
