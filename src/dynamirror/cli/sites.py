"""What the commands about AWS have in common: options, and what they stand for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from dynamirror.aws.control import BotocoreControlPlane
from dynamirror.cli.output import Output
from dynamirror.config.load import as_written, load
from dynamirror.deploy import names
from dynamirror.deploy.accounts import Accounts
from dynamirror.deploy.formation import Change
from dynamirror.deploy.stacks import Stack, stacks_of
from dynamirror.wiring import Wiring

F = TypeVar("F", bound=Callable[..., Any])

SIGNS: Mapping[str, str] = {"Add": "+", "Remove": "-"}
"""Before a resource that comes or goes; all others change."""

REPLACED: Mapping[str, str] = {"yes": "replaced", "maybe": "maybe replaced"}

stack_name_option = click.option(
    "--stack-name", metavar="NAME", help="Instead of one made from CONFIG's name."
)


shares_option = click.option(
    "--shares",
    is_flag=True,
    help="With a state machine for each table, which copies and compares it in shares on AWS.",
)


class Profile(click.ParamType[tuple[str, str]]):
    """ACCOUNT=NAME."""

    name = "ACCOUNT=NAME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        account, equals, name = str(value).partition("=")
        if not (equals and name and account.isdigit() and len(account) == ACCOUNT_DIGITS):
            self.fail(f"{value!r}: write 111122223333=NAME, a profile of that account", param, ctx)
        return account, name


ACCOUNT_DIGITS = 12

profile_option = click.option(
    "--profile",
    "profiles",
    type=Profile(),
    multiple=True,
    help="The profile to use in another account; also what CONFIG names.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """A configuration, as whoever deploys it has it."""

    stacks: tuple[Stack, ...]
    accounts: Accounts
    wiring: Wiring


@asynccontextmanager
async def entered(
    config: str,
    stack_name: str | None,
    profiles: Sequence[tuple[str, str]],
    *,
    shares: bool = False,
) -> AsyncIterator[Sites]:
    """Learn whose account this is, and open connections; they end with the context."""
    loaded, raw = load(config), as_written(config)[1]
    name = names.stack_name(config, stack_name)
    accounts = Accounts(BotocoreControlPlane, dict(profiles))
    try:
        loaded = await accounts.told(loaded)
        stacks = stacks_of(loaded, raw, name=name, home=accounts.home, shares=shares)
        for stack in stacks:
            await accounts.enter(stack)
        wiring = Wiring(accounts.operated(loaded))
        try:
            yield Sites(stacks=stacks, accounts=accounts, wiring=wiring)
        finally:
            await wiring.close()
    finally:
        await accounts.close()


def tell_changes(output: Output, changes: Sequence[Change]) -> None:
    """Show a stack's changes, a line each."""
    for line in _lines(changes):
        output.say(f"  {line}")


def _lines(changes: Sequence[Change]) -> Iterator[str]:
    for change in changes:
        parts = [", ".join(change.properties), REPLACED.get(change.replaced, "")]
        more = "; ".join(part for part in parts if part)
        if change.kept:
            more = "kept, but no longer the stack's"
        told = f" ({more})" if more else ""
        yield f"{SIGNS.get(change.action, '~')} {change.resource}: {change.type}{told}"
