"""The files that ``dynamirror template`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dynamirror.config.model import Place, Side
from dynamirror.config.problems import bare
from dynamirror.config.relations import is_elsewhere
from dynamirror.deploy import terraform
from dynamirror.deploy.grants import Json, keep_others_out
from dynamirror.deploy.stacks import Consumer, Site, Stack, partition_of, site_of
from dynamirror.deploy.template import Runtime, template, text
from dynamirror.errors import ConfigError

Format = Literal["cloudformation", "terraform"]


def files(stacks: Sequence[Stack], runtime: Runtime, form: Format) -> dict[str, str]:
    """Return the text of each file by its name."""
    told = {file_of(stack.site): text(template(stack, runtime)) for stack in stacks}
    if form == "terraform":
        told[terraform.FILE] = text(terraform.main(stacks, file_of))
    return told


def file_of(site: Site) -> str:
    """Return what a stack's template is called."""
    return "-".join(part for part in (site.account, site.region) if part) + ".json"


def protections(stacks: Sequence[Stack], operators: Sequence[str]) -> dict[str, str]:
    """Return, for each target of a one-way mirror, the policy by which the mirror alone writes it.

    ``operators`` are ARNs of others that may: whoever backfills and repairs. Raises ConfigError
    where an account isn't known.
    """
    told = {}
    for stack in stacks:
        for one in stack.consumers:
            if isinstance(one.mirror, Side):
                continue
            for target in one.mirror.targets:
                if not is_elsewhere(target.endpoint_url):
                    name, policy = _protection(stack, one, target, operators)
                    told[name] = text(policy)
    return told


def _protection(
    stack: Stack, one: Consumer, target: Place, operators: Sequence[str]
) -> tuple[str, Json]:
    site, table = site_of(target, stack.home), bare(target.table)
    if not site.account or not stack.site.account:
        raise ConfigError(
            f"{site.region}/{table}: a resource policy names accounts; tell yours with"
            " --account 111122223333"
        )
    partition = partition_of(target)
    mine = f"arn:{partition}:iam::{stack.site.account}:role/{one.role}"
    writer = mine if site.account == stack.site.account else target.role_arn or mine
    arn = f"arn:{partition}:dynamodb:{target.region}:{site.account}:table/{table}"
    name = f"protect-{site.account}-{site.region}-{table}.json"
    return name, keep_others_out(arn, [writer, *operators])
