"""What a deployment would do: look at everything, then judge, and change nothing.

A stack's changes are CloudFormation's own, from a change set that is taken back at once; a stack
that isn't there yet has all that its template tells.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dynamirror.config.model import Mirror, Place
from dynamirror.config.problems import bare
from dynamirror.config.relations import is_elsewhere
from dynamirror.deploy import names
from dynamirror.deploy.accounts import Accounts
from dynamirror.deploy.bundle import bundle
from dynamirror.deploy.code import bucket_name, code_bucket, code_key, object_url
from dynamirror.deploy.formation import BODY_BYTES_MAX, Change, Formation, State, body_of
from dynamirror.deploy.grants import Json
from dynamirror.deploy.pending import is_pending, require_unread
from dynamirror.deploy.stacks import Consumer, Stack, site_of
from dynamirror.deploy.template import Runtime, template
from dynamirror.engine.tables import provision
from dynamirror.engine.tables.findings import Finding, Severity
from dynamirror.engine.tables.furniture import World, observe
from dynamirror.errors import ConfigError, ServiceError
from dynamirror.ports import ControlPlane
from dynamirror.wiring import Wiring


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a deployment was asked for, besides the configuration."""

    runtime: Runtime
    topics: tuple[str, ...] = ()
    """ARNs of SNS topics for alarms, one a region."""
    backfill: bool = True
    follow: bool = True
    """Whether to copy, and to follow streams that aren't followed yet."""
    shares: bool = False
    """Whether stacks have what copies in shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One stack: what is there of it, and what becomes of it."""

    stack: Stack
    formation: Formation
    template: Json
    state: State
    exists: Mapping[str, str]
    """Parameters that say what is there already and isn't the stack's."""
    changes: tuple[Change, ...] = ()

    @property
    def new(self) -> bool:
        """Whether the stack is to be made."""
        return not self.state.there

    def enabled(self, consumer: Consumer) -> bool:
        """Tell whether a consumer follows its stream now."""
        return self.state.parameters.get(f"{consumer.id}Enabled") == "true" and self.state.there


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a deployment would do."""

    making: provision.Plan
    """Streams and tables of the user's, outside of all stacks."""
    parts: tuple[Part, ...]
    pending: tuple[Mirror, ...]
    """Those whose tables are to be copied."""
    world: World
    code: bytes
    """The zip that functions run."""
    follow: bool
    """Whether streams that aren't followed yet will be."""

    @property
    def unusable(self) -> list[Finding]:
        """What must be mended first."""
        return [one for one in self.making.findings if one.severity is Severity.UNUSABLE]

    @property
    def waiting(self) -> list[Mirror]:
        """The mirrors that would begin to follow their streams."""
        return [
            one.mirror
            for part in self.parts
            for one in part.stack.consumers
            if self.follow and not part.enabled(one)
        ]

    def copied(self, *, beside: bool) -> list[Mirror]:
        """Return the mirrors to be copied beside their streams, or while these wait."""
        return [mirror for mirror in self.pending if mirror.copies_beside is beside]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        changes = any(part.changes for part in self.parts)
        return not (self.making.steps or changes or self.pending or self.waiting)


async def survey(
    stacks: Sequence[Stack], wiring: Wiring, accounts: Accounts, options: Options
) -> Plan:
    """Return the plan.

    Raises NoSourceError, StackError, a ServiceError, or HeldError where an engine runs a mirror.
    """
    mirrors = wiring.config.mirrors
    world = await observe(mirrors, wiring.api, wiring.backoff)
    made = provision.plan(mirrors, world)
    modules = {name for stack in stacks for one in stack.consumers for name in one.modules}
    code = await asyncio.to_thread(bundle, options.runtime, sorted(modules))
    for mirror in mirrors:
        await require_unread(wiring, mirror, world)
    parts = [await _part(stack, accounts, world, options) for stack in stacks]
    following = {
        one.mirror.link for part in parts for one in part.stack.consumers if part.enabled(one)
    }
    pending = [
        one
        for one in mirrors
        if options.backfill
        and options.follow
        and await is_pending(wiring, one, world, enabled=one.link in following)
    ]
    steps = [step for step in made.steps if not _of_stacks(step, parts)]
    plan = Plan(
        making=provision.Plan(tuple(steps), made.findings),
        parts=tuple(parts),
        pending=tuple(pending),
        world=world,
        code=code,
        follow=options.follow,
    )
    if plan.unusable:
        return plan
    shown = [
        replace(part, changes=tuple(await _changes(part, plan, accounts, options)))
        for part in parts
    ]
    return replace(plan, parts=tuple(shown))


async def _part(stack: Stack, accounts: Accounts, world: World, options: Options) -> Part:
    control = accounts.at(stack.site)
    formation = Formation(control, stack.name, str(stack.site))
    state = await formation.state()
    owned = await formation.resources() if state.there else {}
    there = {
        (site_of(place, stack.home), bare(place.table))
        for place, seen in world.items()
        if seen.table is not None and not is_elsewhere(place.endpoint_url)
    }
    exists = {}
    for ours in stack.tables:
        name = names.table_id(ours.place.table)
        found = (stack.site, bare(ours.place.table)) in there
        exists[f"{name}Exists"] = _spelled(found and name not in owned)
    for writer in stack.writers:
        name = names.logical(writer.name)
        found = name not in owned and await _has_role(control, writer.name)
        exists[f"{name}Exists"] = _spelled(found)
    return Part(
        stack=stack,
        formation=formation,
        template=template(stack, options.runtime),
        state=state,
        exists=exists,
    )


async def _has_role(control: ControlPlane, name: str) -> bool:
    try:
        await control.call("iam", "GetRole", RoleName=name)
    except ServiceError as error:
        if error.code != "NoSuchEntity":
            raise
        return False
    return True


async def _changes(part: Part, plan: Plan, accounts: Accounts, options: Options) -> list[Change]:
    """Return what the stack would become."""
    if part.new or part.state.busy:
        return list(_additions(part))
    given = parameters(part, plan, options.topics, first=not plan.follow)
    url = await placed(part, accounts)
    changes = await part.formation.propose(part.template, given, new=False, url=url)
    if changes:
        await part.formation.withdraw(new=False)
    return changes


def parameters(part: Part, plan: Plan, topics: Sequence[str], *, first: bool) -> dict[str, str]:
    """Return a stack's parameters.

    ``first``: not all stacks are there yet, or a table is still to be copied that must not be
    written meanwhile, so that nobody begins to follow a stream and some stop.
    """
    stack, told = part.stack, dict(part.exists)
    if stack.consumers:
        key = code_key(stack.name, plan.code)
        told |= {"CodeBucket": bucket_name(stack.site), "CodeKey": key}
        mine = [each for each in topics if each.split(":")[3] == stack.site.region]
        told["AlarmTopic"] = mine[0] if mine else ""
        told["KeyArns"] = ",".join(_keys(stack, plan.world))
    for name in (name for one in stack.consumers for name in one.secrets):
        told[names.secret_id(name)] = secret(name)
    for one in stack.consumers:
        found = _stream(one.mirror.source, stack, plan.world)
        told[f"{one.id}StreamArn"] = found or part.state.parameters.get(f"{one.id}StreamArn", "")
        pauses = one.mirror.link in {mirror.link for mirror in plan.copied(beside=False)}
        told[f"{one.id}Enabled"] = _spelled(not first or (part.enabled(one) and not pauses))
    return told


def secret(name: str) -> str:
    """Return a secret of the environment, for functions too. Raises ConfigError without it."""
    if not (value := os.environ.get(name)):
        raise ConfigError(
            f"a view masks attributes with a keyed hash, and its secret is not there: set the"
            f" environment variable {name}"
        )
    return value


async def placed(part: Part, accounts: Accounts) -> str | None:
    """Put a template that is too large for a request into our bucket, and return where it is."""
    if not is_large(part):
        return None
    site, body = part.stack.site, body_of(part.template)
    bucket, key = code_bucket(accounts.at(site), site), f"{part.stack.name}/template.json"
    await bucket.put(key, body.encode())
    return object_url(site, bucket.name, key)


def is_large(part: Part) -> bool:
    """Tell whether a template is too large for a request."""
    return len(body_of(part.template).encode()) > BODY_BYTES_MAX


def _additions(part: Part) -> Iterator[Change]:
    for name, resource in part.template["Resources"].items():
        if part.exists.get(f"{name}Exists") != "true":
            yield Change(action="Add", resource=name, type=resource["Type"])


def _spelled(value: bool) -> str:  # noqa: FBT001 - a value to be spelled
    return "true" if value else "false"


def _stream(source: Place, stack: Stack, world: World) -> str | None:
    for place, seen in world.items():
        same = site_of(place, stack.home) == stack.site and bare(place.table) == bare(source.table)
        if same and seen.table is not None and not is_elsewhere(place.endpoint_url):
            return seen.table.stream
    return None


def _keys(stack: Stack, world: World) -> list[str]:
    """Return the KMS keys of an account's tables, of any region."""
    found = set()
    for place, seen in world.items():
        if seen.table is not None and site_of(place, stack.home).account == stack.site.account:
            found.add(seen.table.description.get("SSEDescription", {}).get("KMSMasterKeyArn"))
    return sorted(key for key in found if key)


def _of_stacks(step: provision.Step, parts: Sequence[Part]) -> bool:
    """Tell whether a step is about a table that a stack makes, or made."""
    if is_elsewhere(step.place.endpoint_url):
        return False
    for part in parts:
        for ours in part.stack.tables:
            same = site_of(step.place, part.stack.home) == part.stack.site
            if same and bare(ours.place.table) == bare(step.place.table):
                return part.exists[f"{names.table_id(ours.place.table)}Exists"] == "false"
    return False
