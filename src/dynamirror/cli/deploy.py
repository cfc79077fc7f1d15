"""``dynamirror deploy``: a mirror on AWS, from nothing to following its streams."""

from __future__ import annotations

from dataclasses import asdict

import click
import msgspec

from dynamirror.cli.arguments import open_output, reporting, runtime_options
from dynamirror.cli.output import Output
from dynamirror.cli.sites import (
    Sites,
    entered,
    profile_option,
    shares_option,
    stack_name_option,
    tell_changes,
)
from dynamirror.config.model import Mirror
from dynamirror.deploy.apply import Builder
from dynamirror.deploy.rollout import Options, Plan, survey
from dynamirror.deploy.template import Runtime
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.tables.findings import label
from dynamirror.errors import Exit
from dynamirror.runtimes.process import backfill_of, run


@click.command("deploy")
@reporting
@click.option("--yes", is_flag=True, help="Do it; without this the plan is only shown.")
@stack_name_option
@profile_option
@runtime_options
@click.option(
    "--alarm-topic",
    "topics",
    metavar="ARN",
    multiple=True,
    help="An SNS topic that alarms of its region go to.",
)
@click.option(
    "--no-backfill", is_flag=True, help="Follow the streams without copying what is there."
)
@click.option(
    "--no-follow",
    is_flag=True,
    help="Make all, but copy nothing and follow no stream that isn't followed yet.",
)
@shares_option
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    yes: bool,
    stack_name: str | None,
    profiles: tuple[tuple[str, str], ...],
    arch: str,
    python: str,
    topics: tuple[str, ...],
    no_backfill: bool,
    no_follow: bool,
    shares: bool,
) -> None:
    """Put a mirror on AWS and have it follow its streams.

    Shows the plan first and changes nothing without --yes: what each stack of each account and
    region would get, from CloudFormation itself. Turns on streams and makes missing targets, as
    init does; packs and uploads the code; makes or changes the stacks; copies what the tables
    have; and lets the functions follow. Run again, it changes what has changed, and goes on where
    it was interrupted. A stack that fails is taken back, with all that this run made for it.

    \b
    Example:
      dynamirror deploy mirrors.toml          # what would be done
      dynamirror deploy mirrors.toml --yes    # do it

    Exit status: 0 done or nothing to do, 1 an item could not be copied, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    options = Options(
        runtime=Runtime(python=python, architecture=arch),
        topics=topics,
        backfill=not no_backfill,
        follow=not no_follow,
        shares=shares,
    )
    ctx.exit(run(_deploy(output, config, stack_name, profiles, options, yes=yes)))


async def _deploy(
    output: Output,
    config: str,
    stack_name: str | None,
    profiles: tuple[tuple[str, str], ...],
    options: Options,
    *,
    yes: bool,
) -> Exit:
    async with entered(config, stack_name, profiles, shares=options.shares) as sites:
        plan = await survey(sites.stacks, sites.wiring, sites.accounts, options)
        _show(output, plan)
        copied: dict[str, Copied] = {}
        able = not plan.unusable
        if yes and able and not plan.idle:
            copied = await _build(output, sites, plan, options)
        if output.as_json:
            output.document(_shape(plan, copied, done=yes and able))
        elif not able:
            output.say("nothing was changed: mend what is above first", "bad")
        elif not plan.idle:
            verify = f"dynamirror verify {config}"
            output.say(
                f"all done; next: {verify}" if yes else "nothing was changed; --yes does it",
                "good" if yes else "",
            )
    if not able:
        return Exit.UNUSABLE
    return Exit.FINDING if any(one.left for one in copied.values()) else Exit.DONE


async def _build(output: Output, sites: Sites, plan: Plan, options: Options) -> dict[str, Copied]:
    copied: dict[str, Copied] = {}
    with output.progress("backfill") as progress:

        async def copy(mirror: Mirror) -> None:
            def show(far: Copied) -> None:
                much = {"before": far.resumed, "size": far.bytes}
                progress.update(mirror.title, far.items, far.expected_items, **much)

            output.aside(f"{mirror.title}: copying {label(mirror.source)}")
            copied[mirror.title] = await backfill_of(sites.wiring, mirror).run(show)

        builder = Builder(plan, sites.wiring, sites.accounts, options, output.aside)
        await builder.build(copy)
    return copied


def _show(output: Output, plan: Plan) -> None:
    if plan.idle:
        output.say("nothing to do: everything is there, and every stream is followed", "good")
    for part in plan.parts:
        if part.changes:
            what = "a new stack" if part.new else "changes of the stack"
            output.say(f"{part.stack.site}: {what}, {part.stack.name}", "bold")
            tell_changes(output, part.changes)
    steps = [step.sentence for step in plan.making.steps]
    if any(part.changes for part in plan.parts):
        steps.append("upload the code, and make or change the stacks")
    steps += [
        f"copy {label(mirror.source)} while its stream waits"
        for mirror in plan.copied(beside=False)
    ]
    steps += [f"follow the stream of {label(mirror.source)}" for mirror in plan.waiting]
    steps += [
        f"copy {label(mirror.source)} while its stream is followed"
        for mirror in plan.copied(beside=True)
    ]
    if steps:
        output.say("to do:", "bold")
    for number, step in enumerate(steps, 1):
        output.paragraph(f"{number}. {step}", 2)
    for finding in plan.making.findings:
        where = f"{finding.region}/{finding.table}"
        output.finding(finding.severity, where, finding.what, finding.remedy)


def _shape(plan: Plan, copied: dict[str, Copied], *, done: bool) -> dict[str, object]:
    return {
        "stacks": [
            {
                "account": part.stack.site.account,
                "region": part.stack.site.region,
                "name": part.stack.name,
                "new": part.new,
                "changes": [asdict(change) for change in part.changes],
            }
            for part in plan.parts
        ],
        "steps": [step.sentence for step in plan.making.steps],
        "findings": plan.making.findings,
        "backfills": {name: msgspec.structs.asdict(one) for name, one in copied.items()},
        "done": done,
    }
