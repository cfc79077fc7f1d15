"""``dynamirror redrive``: parked keys again."""

from __future__ import annotations

import re
from typing import Any

import click
import msgspec

from dynamirror.aws.objects import Bucket
from dynamirror.cli.arguments import open_output, performed, reporting, wired
from dynamirror.cli.output import Output
from dynamirror.cli.wording import counted
from dynamirror.config.model import Mirror
from dynamirror.core.values import Wire
from dynamirror.engine.held.redrive import Redriven
from dynamirror.errors import DynamirrorError, Exit
from dynamirror.runtimes.failures import Taken, take_all_in
from dynamirror.runtimes.presence import see_source
from dynamirror.runtimes.process import redriver_of, run
from dynamirror.wiring import Wiring

TELL_EVERY = 100
"""Objects between two lines about how far it is."""


class Url(click.ParamType[str]):
    """An address of S3."""

    name = "s3://BUCKET[/PREFIX]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"s3://[a-z0-9.-]{3,63}(/.*)?", value):
            self.fail(f"{value!r}: write s3://BUCKET, or s3://BUCKET/PREFIX", param, ctx)
        return str(value)


@click.command("redrive")
@reporting
@click.option(
    "--from-s3",
    "place",
    metavar="s3://BUCKET[/PREFIX]",
    type=Url(),
    help="First park what is in there: batches that a Lambda function could not apply.",
)
@click.pass_context
def command(
    ctx: click.Context, config: str, *, as_json: bool, verbose: bool, place: str | None
) -> None:
    """Apply parked keys again, as the source has them now.

    A change that can't be applied is parked (on_poison = "park"), and later changes of its key
    behind it. Mend the cause first, then run this: each parked key gets the source's present
    item, and its changes pass again. Safe beside `dynamirror run`. The keys of a target that
    doesn't answer are left.

    Lambda puts batches that it gave up into the bucket that `dynamirror deploy` made. --from-s3
    parks their changes before, and moves each object below redriven/ of its bucket when they are.

    \b
    Example:
      dynamirror redrive mirrors.toml
      dynamirror redrive mirrors.toml --from-s3 s3://BUCKET

    Exit status: 0 nothing is parked any more, 1 some keys still can't be applied or some objects
    can't be used, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    done: dict[str, Redriven] = {}
    end, taken = run(_redrive(wiring, output, place, done))
    if taken is not None:
        told = f"{counted(taken.objects, 'object')} taken in ({counted(taken.keys, 'key')})"
        if taken.unfit:
            told += f", {counted(taken.unfit, 'object')} can't be used"
            end = max(end, Exit.FINDING)
        output.say(f"{place}: {told}", "bad" if taken.unfit else "good")
    for name, redriven in done.items():
        told = f"{counted(redriven.keys, 'key')} redriven"
        told += f" ({counted(redriven.changes, 'parked change')})"
        if redriven == Redriven():
            told = "nothing is parked"
        if redriven.left:
            told += f", {counted(redriven.left, 'key')} left"
        output.say(f"{name}: {told}", "bad" if redriven.left else "good")
    told_of = {} if taken is None else {"from_s3": msgspec.structs.asdict(taken)}
    output.line("summary", **summary(done), **told_of)
    ctx.exit(end)


async def _redrive(
    wiring: Wiring, output: Output, place: str | None, done: dict[str, Redriven]
) -> tuple[Exit, Taken | None]:
    """Redrive every mirror, having taken in what is in a bucket if one is named."""
    with output.progress("redrive") as progress:

        async def work(mirror: Mirror) -> Exit:
            away = await see_source(wiring, mirror)
            for target, error in away.items():
                output.line("away", mirror=mirror.title, target=target, error=str(error))
                told = f"{mirror.title}: {target} is away, and its keys are left: {error}"
                output.say(told, "bad")

            def left(key: Wire, error: DynamirrorError) -> None:
                output.line("left", mirror=mirror.title, key=key, error=str(error))
                shown = msgspec.json.encode(key).decode()
                output.say(f"{mirror.title}: {shown} still can't be applied: {error}", "bad")

            done[mirror.title] = redriven = await redriver_of(wiring, mirror).run(
                lambda so_far: progress.update(mirror.title, so_far.keys + so_far.left, 0),
                left,
                away,
            )
            return Exit.FINDING if redriven.left else Exit.DONE

        try:
            taken = None if place is None else await _take_in(wiring, output, place)
        except BaseException:
            await wiring.close()
            raise
        return await performed(wiring, output, wiring.config.mirrors, work), taken


async def _take_in(wiring: Wiring, output: Output, place: str) -> Taken:
    """Park what the objects hold, telling of those that are of no use."""

    def unfit(key: str, error: DynamirrorError) -> None:
        output.line("unfit", object=key, error=str(error), hint=error.hint)
        output.say(f"{key} stays where it is: {error}. {error.hint}", "bad")

    def so_far(taken: Taken) -> None:
        if taken.objects % TELL_EVERY == 0:
            output.aside(f"{counted(taken.objects, 'object')} taken in")

    bucket = Bucket(place, wiring.config.mirrors[0].source)
    return await take_all_in(wiring, bucket, so_far, unfit)


def summary(done: dict[str, Redriven]) -> dict[str, object]:
    """Return the sums over all mirrors, and each mirror's figures."""
    each = [{"mirror": name, **msgspec.structs.asdict(one)} for name, one in done.items()]
    names = Redriven.__struct_fields__
    sums = {name: sum(getattr(one, name) for one in done.values()) for name in names}
    return {**sums, "mirrors": each}
