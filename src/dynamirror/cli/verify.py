"""``dynamirror verify``: whether the tables are the same, and what to do if not."""

from __future__ import annotations

from collections.abc import Sequence
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
from dynamirror.cli.backfill import Segment
from dynamirror.cli.found import Found, summary
from dynamirror.cli.keys import ItemKey
from dynamirror.cli.one_item import show_item
from dynamirror.cli.output import Output
from dynamirror.cli.wording import sized
from dynamirror.config.model import Mirror
from dynamirror.core.prices import Use
from dynamirror.core.values import Key, key_of
from dynamirror.engine.comparing.compared import SETTLE_S, Method, Scope
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.comparing.verify import Verifier
from dynamirror.engine.reported import reported, reports
from dynamirror.errors import AccessDeniedError, Exit, NotFoundError
from dynamirror.runtimes.presence import see_all
from dynamirror.runtimes.process import repairer_of, verifier_of
from dynamirror.wiring import Wiring


class Repairing(NamedTuple):
    """What the options say of repair."""

    wanted: bool
    sure: bool


@click.command("verify")
@reporting
@mirror_option
@click.option("--key", type=ItemKey(), help='Show all that is known of one item: \'{"id": "a"}\'.')
@click.option("--repair", is_flag=True, help="Say what would mend each difference.")
@click.option("--yes", is_flag=True, help="With --repair: mend them.")
@click.option("--keys-only", is_flag=True, help="Compare keys only: no differing items are found.")
@click.option(
    "--sample",
    metavar="RATE",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Compare this part of the items, the same ones each time: 0.01 for a hundredth.",
)
@click.option("--segment", type=Segment(), default="1/1", help="Compare only the I-th of N shares.")
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.SCAN.value,
    help="Scan both tables and join them by key, or look up each one's items in the other.",
)
@click.option(
    "--consistent",
    is_flag=True,
    help="Scan with strong consistency, at twice the cost.",
)
@click.option(
    "--settle",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=SETTLE_S,
    help=f"How long a change may take beyond the lag that a running engine reports "
    f"[{SETTLE_S:.0f}]. Raise it where something else mirrors the tables.",
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
    repair: bool,
    yes: bool,
    keys_only: bool,
    sample: float,
    segment: tuple[int, int],
    method: str,
    consistent: bool,
    settle: float,
) -> None:
    """Compare the tables of every mirror, item by item.

    Safe while both tables are written: what differs is looked at again until it is the same or
    surely isn't. Drift is an item that is missing at the target, extra there, or different. In a
    two-way mirror every pair of replicas is compared once, and each item's rank too. Changes
    nothing without --repair --yes; what that writes is refused wherever an item has changed since
    it was read. docs/verify.md says what each finding means.

    \b
    Example:
      dynamirror verify mirrors.toml
      dynamirror verify mirrors.toml --repair --yes
      dynamirror verify mirrors.toml --key '{"id": "a"}'
      dynamirror verify mirrors.toml --json | jq 'select(.event == "drift")'

    Exit status: 0 equal, or all drift repaired, 1 drift, 2 error.
    """  # noqa: D301 - click reads the \b
    if yes and not repair:
        raise click.UsageError("--yes goes with --repair")
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    mirrors = chosen(wiring.config, mirror)
    if key is not None:
        ctx.exit(show_item(wiring, output, mirrors, key))
    scope = Scope(
        segment=segment,
        sample=sample,
        keys_only=keys_only,
        method=Method(method),
        consistent=consistent,
        settle_s=settle,
    )
    ctx.exit(_verify(wiring, output, mirrors, scope, Repairing(repair, yes)))


def _verify(
    wiring: Wiring, output: Output, mirrors: Sequence[Mirror], scope: Scope, repairing: Repairing
) -> Exit:
    compared = [one for one in mirrors if one.compared]
    done: dict[str, Found] = {}
    with output.progress("verify") as progress:

        async def work(mirror: Mirror) -> Exit:
            await see_all(wiring, mirror)
            verifier = verifier_of(wiring, mirror)
            if not output.as_json or output.as_lines:
                await _announce(output, mirror, verifier, scope)
            repairer = repairer_of(wiring, mirror) if repairing.wanted else None
            found = Found(output, mirror.title, await _unversioned(wiring, mirror))

            async def mend(drifts: Sequence[Drift]) -> None:
                if repairer is not None:
                    await repairer.run(drifts, found.mended, dry=not repairing.sure)

            found.compared = await verifier.run(
                found.drift,
                lambda so_far: progress.update(mirror.title, so_far.items, so_far.expected_items),
                scope,
                on_drifts=mend,
            )
            done[mirror.title] = found
            if scope.whole:
                await _note(output, wiring, mirror, verifier, found)
            return Exit.DONE if found.equal else Exit.FINDING

        end = perform(wiring, output, compared, work)
    for found in done.values():
        found.conclude(repairing=repairing.wanted, sure=repairing.sure)
    output.line("summary", **summary(done))
    return end


async def _announce(output: Output, mirror: Mirror, verifier: Verifier, scope: Scope) -> None:
    """Say what is going to be read, before it is."""
    estimate = await verifier.estimate(scope)
    how = "strongly" if scope.consistent else "eventually"
    values = {"method": scope.method, "consistent": scope.consistent}
    usd = Use(read_units=estimate.read_units).usd
    output.line(
        "estimate", mirror=mirror.title, **msgspec.structs.asdict(estimate), usd=usd, **values
    )
    if not output.as_json:
        output.aside(
            f"{mirror.title}: to read about {sized(estimate.bytes)}, {estimate.read_units:,.0f} "
            f"read units, ${usd:,.2f} on demand ({scope.method}, {how} consistent)"
        )


async def _note(
    output: Output, wiring: Wiring, mirror: Mirror, verifier: Verifier, found: Found
) -> None:
    """Leave a note for ``status``, of what is left of the drift."""
    try:
        await verifier.note(wiring.checkpoints(mirror), found.left())
    except (NotFoundError, AccessDeniedError) as error:
        output.aside(f"{mirror.title}: status won't tell of this comparison: {error}")


async def _unversioned(wiring: Wiring, mirror: Mirror) -> dict[Key, str]:
    sides = [one for one in wiring.config.mirrors if one.name == mirror.name and reports(one)]
    lists = [await reported(one, wiring.checkpoints(one)) for one in sides]
    return {key_of(one.key): one.replica for found in lists for one in found}
