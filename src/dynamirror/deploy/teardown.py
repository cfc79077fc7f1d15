"""Take away what a deployment made, and nothing else.

A user's table is never touched. What dynamirror has written down (ledgers, journals, parked
changes, checkpoints, batches that failed) stays unless it is asked for: a mirror that is deployed
again must find its ledger and its checkpoints, or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynamirror.config.problems import bare
from dynamirror.core.values import encode
from dynamirror.deploy.accounts import Accounts
from dynamirror.deploy.code import Bucket, code_bucket, discard
from dynamirror.deploy.formation import Formation, State
from dynamirror.deploy.resources import FAILURES
from dynamirror.deploy.stacks import Stack
from dynamirror.engine.retry import persist
from dynamirror.engine.source import describe
from dynamirror.engine.tables.needs import Ours, tables_of_ours
from dynamirror.errors import NotFoundError
from dynamirror.wiring import Wiring

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """One stack that is there, and what would outlive it."""

    stack: Stack
    formation: Formation
    state: State
    failures: str = ""
    """The bucket of batches that failed; empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """All that is to be taken away."""

    stacks: tuple[Remains, ...]
    tables: tuple[Ours, ...]
    """Tables of ours that are there."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing."""
        return not self.stacks and not self.tables


async def survey(stacks: Sequence[Stack], wiring: Wiring, accounts: Accounts) -> Removal:
    """Return what there is to be taken away."""
    found = []
    for stack in stacks:
        formation = Formation(await accounts.enter(stack), stack.name, str(stack.site))
        state = await formation.state()
        if state.status:
            owned = await formation.resources()
            failures = owned.get(FAILURES, "")
            found.append(Remains(stack=stack, formation=formation, state=state, failures=failures))
    tables: dict[object, Ours] = {}
    for mirror in wiring.config.mirrors:
        for ours in tables_of_ours(mirror):
            api = wiring.api(ours.place, mirror.transport)
            if await describe(api, ours.place.table, wiring.backoff) is not None:
                tables[ours.place] = ours
    return Removal(stacks=tuple(found), tables=tuple(tables.values()))


async def remove(
    removal: Removal, wiring: Wiring, accounts: Accounts, tell: Tell, *, data: bool
) -> list[str]:
    """Take it away, with ``data`` the tables and buckets too; return what was kept.

    Raises StackError where a stack can't be deleted.
    """
    kept = []
    # Who writes goes before who is written.
    for one in sorted(removal.stacks, key=lambda each: not each.stack.consumers):
        site = one.stack.site
        tell(f"{site}: deleting the stack {one.stack.name}")
        await one.formation.settled(lambda _: None)
        await one.formation.delete(tell)
        control = accounts.at(site)
        await discard(code_bucket(control, site), one.stack.name)
        if one.failures:
            bucket = Bucket(control, site, one.failures)
            if not await _drop_bucket(bucket, data=data):
                kept.append(f"{site}: the bucket {one.failures}, with batches that failed")
    if data:
        await drop_tables(removal.tables, wiring, tell)
    else:
        kept += [
            f"{each.place.region}/{bare(each.place.table)}: {each.purpose}"
            for each in removal.tables
        ]
    return kept


async def drop_tables(tables: Sequence[Ours], wiring: Wiring, tell: Tell) -> None:
    """Delete tables of ours, whatever is in them."""
    for ours in tables:
        transport = wiring.config.mirrors[0].transport
        api = wiring.api(ours.place, transport)
        body = encode({"TableName": ours.place.table})
        try:
            await persist(lambda: api.call("DeleteTable", body), wiring.backoff)  # noqa: B023
        except NotFoundError:
            continue
        tell(f"deleted the table {ours.place.region}/{bare(ours.place.table)}")


async def _drop_bucket(bucket: Bucket, *, data: bool) -> bool:
    """Delete a bucket that is empty, or is to be emptied; return whether it is gone."""
    if not await bucket.exists():
        return True
    if data:
        await bucket.empty()
    if not await bucket.is_empty():
        return False
    await bucket.delete()
    return True
