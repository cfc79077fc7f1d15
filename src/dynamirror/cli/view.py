"""``dynamirror view``: an item as its source has it, and as each target is to have it."""

from __future__ import annotations

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
from dynamirror.cli.keys import ItemKey, key_in
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.core.values import Wire, differing
from dynamirror.engine.comparing.shown import Shown, shown_of
from dynamirror.errors import Exit


@click.command("view")
@reporting
@mirror_option
@click.option(
    "--key",
    type=ItemKey(),
    required=True,
    help='The item\'s key at the source, as in \'{"id": "a"}\'.',
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str | None,
    key: dict[str, Any],
) -> None:
    """Show one item before and after: at its source, and as each target is to have it.

    Nothing is written, and no target is read: what is shown is what the views make of the item.

    \b
    Example:
      dynamirror view mirrors.toml --key '{"id": "a"}'

    Exit status: 0 shown, 1 no source has the item or a view can't be applied to it, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    told: list[dict[str, Any]] = []

    async def work(one: Mirror) -> Exit:
        links = wiring.links(one)
        keys = await key_in(wiring, one, key)
        shown = await shown_of(links, wiring.source(one), keys, wiring.backoff)
        told.append(_told(one, shown))
        _say(output, one, shown)
        fine = shown.image is not None and not any(each.error for each in shown.targets)
        return Exit.DONE if fine else Exit.FINDING

    end = perform(wiring, output, chosen(wiring.config, mirror), work)
    if as_json:
        output.document({"mirrors": told})
    ctx.exit(end)


def _told(mirror: Mirror, shown: Shown) -> dict[str, Any]:
    return {"mirror": mirror.title, "source": mirror.source.name, **msgspec.to_builtins(shown)}


def _say(output: Output, mirror: Mirror, shown: Shown) -> None:
    if shown.image is None:
        output.say(f"{mirror.title}: {mirror.source.name} has no such item", "bad")
        return
    output.say(f"{mirror.title}, at {mirror.source.name}:")
    _say_item(output, shown.image, [])
    for target in shown.targets:
        if target.error is not None:
            output.say(f"at {target.name}: it can't be there: {target.error}", "bad")
        elif target.image is None:
            output.say(f"at {target.name}: out of view")
        else:
            same = not differing(shown.image, target.image)
            output.say(f"at {target.name}:{' the same' if same else ''}")
            if not same:
                _say_item(output, target.image, differing(shown.image, target.image))


def _say_item(output: Output, item: Wire, changed: list[str]) -> None:
    for name in sorted(item):
        mark = "*" if name in changed else " "
        value = msgspec.json.encode(item[name]).decode()
        output.say(f"  {mark} {name} = {value}", "new" if name in changed else "")
