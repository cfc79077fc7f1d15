"""``dynamirror check``: what is wrong before anything runs."""

from __future__ import annotations

import click

from dynamirror.cli.arguments import open_output, perform, reporting, wired
from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror, Side
from dynamirror.core.prices import AS_OF, REGION
from dynamirror.engine.tables.charges import Cost
from dynamirror.engine.tables.findings import Severity, label
from dynamirror.engine.tables.preflight import Checked, Preflight
from dynamirror.errors import Exit


@click.command("check")
@reporting
@click.pass_context
def command(ctx: click.Context, config: str, *, as_json: bool, verbose: bool) -> None:
    """Look whether every mirror can run, and say what to mend if not.

    Looks at streams, key schemas, time to live, capacity, a sample of items, through the
    targets' views, dynamirror's own tables, and tries every permission the mirror needs. Changes
    nothing: writes are tried on a condition that can never hold. Ends with what a million changes
    would cost.

    \b
    Example:
      dynamirror check mirrors.toml

    Exit status: 0 fine, 1 findings, 2 some mirror can't run like this.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    wiring = wired(ctx, config, patient=True)
    done: dict[str, Checked] = {}

    async def work(mirror: Mirror) -> Exit:
        preflight = Preflight(
            mirror,
            wiring.api,
            wiring.checkpoints(mirror),
            wiring.plane,
            clock=wiring.clock,
            views_of=lambda: wiring.links(mirror).views,
        )
        done[mirror.title] = checked = await preflight.run()
        return _exit(checked)

    end = perform(wiring, output, wiring.config.mirrors, work)
    mirrors = [mirror for mirror in wiring.config.mirrors if mirror.title in done]
    for mirror in mirrors:
        _print(output, mirror, done[mirror.title])
    if as_json:
        output.document({"mirrors": [_shape(done[mirror.title]) for mirror in mirrors]})
    ctx.exit(end)


def _exit(checked: Checked) -> Exit:
    found = {finding.severity for finding in checked.findings}
    if Severity.UNUSABLE in found:
        return Exit.UNUSABLE
    return Exit.FINDING if Severity.FINDING in found else Exit.DONE


def _print(output: Output, mirror: Mirror, checked: Checked) -> None:
    targets = ", ".join(map(label, mirror.targets))
    how = f"-> {targets}, guard {mirror.guard}"
    if isinstance(mirror, Side):
        how = f"<-> {targets}, two-way"
    output.say(f"mirror {mirror.title}: {label(mirror.source)} {how}", "bold")
    for finding in checked.findings:
        where = f"{finding.region}/{finding.table}"
        output.finding(finding.severity, where, finding.what, finding.remedy)
    _print_cost(output, checked.cost)
    match _exit(checked):
        case Exit.DONE:
            output.say("  fine: this mirror can run", "good")
        case Exit.FINDING:
            output.say("  this mirror can run, but look at the findings", "finding")
        case _:
            output.say("  this mirror can't run like this", "bad")


def _print_cost(output: Output, cost: Cost) -> None:
    output.paragraph(
        f"a million changes of {cost.item_kb:g} KB cost about ${cost.total_usd:,.2f}: writes"
        f" ${cost.writes_usd:,.3f}, transfer ${cost.transfer_usd:,.3f}, Lambda"
        f" ${cost.lambda_usd:,.3f} (none with `dynamirror run`); on demand, {REGION}, {AS_OF}",
        2,
    )
    others = ", ".join(f"{how} ${usd:,.2f}" for how, usd in cost.others_usd.items())
    output.paragraph(f"beside it: {others.replace('-', ' ')}", 2)


def _shape(checked: Checked) -> dict[str, object]:
    cost = checked.cost
    return {
        "mirror": checked.mirror,
        "exit": _exit(checked),
        "findings": checked.findings,
        "cost_per_million_changes": {
            "total_usd": cost.total_usd,
            "writes_usd": cost.writes_usd,
            "transfer_usd": cost.transfer_usd,
            "lambda_usd": cost.lambda_usd,
            "item_kb": cost.item_kb,
            "others_usd": cost.others_usd,
        },
    }
