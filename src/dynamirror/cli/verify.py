"""``dynamirror verify``: whether the tables are the same."""

from __future__ import annotations

from collections.abc import Mapping

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
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.core.values import Key, key_of
from dynamirror.engine.compared import Compared
from dynamirror.engine.reported import reported, reports
from dynamirror.engine.suspects import Drift
from dynamirror.errors import Exit
from dynamirror.runtimes.process import see_all, verifier_of
from dynamirror.wiring import Wiring

DRIFTS_SHOWN_MAX = 50
"""Lines of drift for people; --json has them all."""


@click.command("verify")
@reporting
@mirror_option
@click.pass_context
def command(
    ctx: click.Context, config: str, *, as_json: bool, verbose: bool, mirror: str | None
) -> None:
    """Compare the tables of every mirror, item by item.

    Safe while both tables are written: what differs is looked at again until it is the same or
    surely isn't. Drift is an item that is missing at the target, extra there, or different. In a
    two-way mirror every pair of replicas is compared once, and each item's rank too. Changes
    nothing.

    \b
    Example:
      dynamirror verify mirrors.toml
      dynamirror verify mirrors.toml --json | jq 'select(.event == "drift")'

    Exit status: 0 equal, 1 drift, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    mirrors = [one for one in chosen(wiring.config, mirror) if one.compared]
    done: dict[str, Compared] = {}
    with output.progress("verify") as progress:

        async def work(mirror: Mirror) -> Exit:
            await see_all(wiring, mirror)
            drifts = _Drifts(output, mirror.title, await _unversioned(wiring, mirror))
            done[mirror.title] = compared = await verifier_of(wiring, mirror).run(
                drifts.tell,
                lambda so_far: progress.update(mirror.title, so_far.items, so_far.expected_items),
            )
            return Exit.DONE if compared.equal else Exit.FINDING

        end = perform(wiring, output, mirrors, work)
    for name, compared in done.items():
        _print(output, name, compared)
    output.line("summary", **summary(done))
    ctx.exit(end)


class _Drifts:
    """Tells drift as it is found."""

    def __init__(self, output: Output, mirror: str, unversioned: Mapping[Key, str]) -> None:
        """``unversioned``: where keys were saved without raising the version."""
        self._output = output
        self._unversioned = unversioned
        self._mirror = mirror
        self._count = 0

    def tell(self, drift: Drift) -> None:
        self._count += 1
        at = self._unversioned.get(key_of(drift.key))
        reason = None if at is None else "unversioned"
        told = msgspec.structs.asdict(drift)
        self._output.line("drift", mirror=self._mirror, reason=reason, **told)
        if self._count <= DRIFTS_SHOWN_MAX:
            key = msgspec.json.encode(drift.key).decode()
            where = f" in {', '.join(drift.attributes)}" if drift.attributes else ""
            if at is not None:
                where += f": saved at {at} without raising the version"
            self._output.say(f"{self._mirror}: {drift.kind} at {drift.target}: {key}{where}", "bad")
        elif self._count == DRIFTS_SHOWN_MAX + 1:
            self._output.say(f"{self._mirror}: and more; --json lists every one", "bad")


async def _unversioned(wiring: Wiring, mirror: Mirror) -> dict[Key, str]:
    sides = [one for one in wiring.config.mirrors if one.name == mirror.name and reports(one)]
    lists = [await reported(one, wiring.checkpoints(one)) for one in sides]
    return {key_of(one.key): one.replica for found in lists for one in found}


def _print(output: Output, name: str, compared: Compared) -> None:
    if compared.equal:
        output.say(f"{name}: equal, {compared.items:,} items compared", "good")
        return
    flight = ""
    if compared.in_flight:
        flight = (
            f"; {compared.in_flight:,} could not be compared: they kept changing, or the mirror"
            " was too far behind"
        )
    drift = "drift" if compared.drift else "no drift found"
    output.say(
        f"{name}: {drift}, {compared.items:,} items compared: {compared.missing:,} missing,"
        f" {compared.extra:,} extra, {compared.different:,} different{flight}",
        "bad",
    )


def summary(done: dict[str, Compared]) -> dict[str, object]:
    """Return the sums over all mirrors, and each mirror's figures."""
    each = [
        {"mirror": name, "equal": compared.equal, **msgspec.structs.asdict(compared)}
        for name, compared in done.items()
    ]
    names = Compared.__struct_fields__
    sums = {name: sum(getattr(compared, name) for compared in done.values()) for name in names}
    equal = all(compared.equal for compared in done.values())
    return {"equal": equal, **sums, "mirrors": each}
