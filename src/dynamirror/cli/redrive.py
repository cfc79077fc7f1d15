"""``dynamirror redrive``: parked keys again."""

from __future__ import annotations

import click
import msgspec

from dynamirror.cli.arguments import open_output, perform, reporting, wired
from dynamirror.cli.wording import counted
from dynamirror.config.model import Mirror
from dynamirror.core.values import Wire
from dynamirror.engine.redrive import Redriven
from dynamirror.errors import DynamirrorError, Exit
from dynamirror.runtimes.process import redriver_of, see_all


@click.command("redrive")
@reporting
@click.pass_context
def command(ctx: click.Context, config: str, *, as_json: bool, verbose: bool) -> None:
    """Apply parked keys again, as the source has them now.

    A change that can't be applied is parked (on_poison = "park"), and later changes of its key
    behind it. Mend the cause first, then run this: each parked key gets the source's present
    item, and its changes pass again. Safe beside `dynamirror run`.

    \b
    Example:
      dynamirror redrive mirrors.toml

    Exit status: 0 nothing is parked any more, 1 some keys still can't be applied, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    done: dict[str, Redriven] = {}
    with output.progress("redrive") as progress:

        async def work(mirror: Mirror) -> Exit:
            await see_all(wiring, mirror)

            def left(key: Wire, error: DynamirrorError) -> None:
                output.line("left", mirror=mirror.title, key=key, error=str(error))
                shown = msgspec.json.encode(key).decode()
                output.say(f"{mirror.title}: {shown} still can't be applied: {error}", "bad")

            done[mirror.title] = redriven = await redriver_of(wiring, mirror).run(
                lambda so_far: progress.update(mirror.title, so_far.keys + so_far.left, 0),
                left,
            )
            return Exit.FINDING if redriven.left else Exit.DONE

        end = perform(wiring, output, wiring.config.mirrors, work)
    for name, redriven in done.items():
        told = f"{counted(redriven.keys, 'key')} redriven"
        told += f" ({counted(redriven.changes, 'parked change')})"
        if redriven == Redriven():
            told = "nothing is parked"
        if redriven.left:
            told += f", {counted(redriven.left, 'key')} left"
        output.say(f"{name}: {told}", "bad" if redriven.left else "good")
    output.line("summary", **summary(done))
    ctx.exit(end)


def summary(done: dict[str, Redriven]) -> dict[str, object]:
    """Return the sums over all mirrors, and each mirror's figures."""
    each = [{"mirror": name, **msgspec.structs.asdict(one)} for name, one in done.items()]
    names = Redriven.__struct_fields__
    sums = {name: sum(getattr(one, name) for one in done.values()) for name in names}
    return {**sums, "mirrors": each}
