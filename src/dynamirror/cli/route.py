"""``dynamirror route``: one name that leads to whatever region is near and well."""

from __future__ import annotations

import secrets
from dataclasses import asdict

import click

from dynamirror.aws.control import BotocoreControlPlane
from dynamirror.cli.arguments import open_output, reporting
from dynamirror.cli.output import Output
from dynamirror.cli.sites import SIGNS
from dynamirror.config.load import load
from dynamirror.config.model import Config
from dynamirror.config.routes import Route
from dynamirror.deploy.accounts import Accounts
from dynamirror.deploy.routed import HOME_OF_ROUTE_53
from dynamirror.deploy.routes import Router, Step
from dynamirror.deploy.routing import routing_of
from dynamirror.deploy.stacks import Site
from dynamirror.errors import ConfigError, Exit
from dynamirror.ports import ControlPlane
from dynamirror.runtimes.process import run


@click.command("route")
@reporting
@click.option("--yes", is_flag=True, help="Do it; without this the plan is only shown.")
@click.option("--remove", is_flag=True, help="Take away what this command made.")
@click.option("--route", "name", metavar="NAME", help="Only this route; without it, every one.")
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    yes: bool,
    remove: bool,
    name: str | None,
) -> None:
    """Lead one name to whatever region is near and well.

    For each route of CONFIG, Route 53 records by latency or by geolocation, and for each region
    health checks: that its endpoint answers, and that no mirror which writes to it is too far
    behind. Shows what would change first, and changes nothing without --yes. Run again, it changes
    what has changed. Records and health checks that it has not made are never touched.

    \b
    Example:
      dynamirror route mirrors.toml          # what would be done
      dynamirror route mirrors.toml --yes    # do it

    Exit status: 0 done or nothing to do, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose)
    loaded = load(config)
    routes = [one for one in loaded.routes if name in (None, one.name)]
    if not routes:
        known = ", ".join(one.name for one in loaded.routes) or "none: add a table [routes.NAME]"
        asked = f"no route {name!r}; it has" if name else "no route; it has"
        raise ConfigError(f"{config} has {asked} {known} (docs/configuration.md, 'A route')")
    run(_route(output, loaded, routes, yes=yes, remove=remove))
    ctx.exit(Exit.DONE)


async def _route(
    output: Output,
    config: Config,
    routes: list[Route],
    *,
    yes: bool,
    remove: bool,
) -> None:
    accounts = Accounts(BotocoreControlPlane, {})
    told, idle = [], True
    try:

        def control(region: str) -> ControlPlane:
            return accounts.at(Site("", region))  # one's own credentials: those of the zone

        config = await accounts.told(config)
        caller = await control(HOME_OF_ROUTE_53).call("sts", "GetCallerIdentity")
        home = caller["Account"]

        # All are looked at before anything is changed: one that can't be made shows first.
        planned = []
        for route in routes:
            routing = routing_of(route, config, home)
            router = Router(routing, control, lambda: secrets.token_hex(8), gone=remove)
            planned.append((route, router, await router.survey()))
        for route, router, steps in planned:
            _show(output, route, steps)
            told.append({"name": route.name, "steps": [asdict(step) for step in steps]})
            idle = idle and not steps
            if yes and steps:
                await router.carry_out(output.aside)
    finally:
        await accounts.close()
    if output.as_json:
        output.document({"routes": told, "done": yes})
    elif not idle:
        output.say("all done" if yes else "nothing was changed; --yes does it", "good" * yes)


def _show(output: Output, route: Route, steps: list[Step]) -> None:
    if not steps:
        output.say(f"{route.name}: nothing to do, {route.domain} is as it should be", "good")
        return
    output.say(f"{route.name}: {route.domain}, by {route.kind}", "bold")
    for step in steps:
        output.say(f"  {SIGNS.get(step.action, '~')} {step.what} {step.name}: {step.told}")
