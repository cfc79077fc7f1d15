"""Do what was planned: in an order in which nothing is lost if it ends half-way.

Streams first, for what isn't recorded can't be followed; then every stack, with no stream followed
before all tables are there; then the copies that want the stream at rest; then the streams; then
the copies beside them. A stack that is made new and fails takes all others of this run with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec

from dynamirror.config.model import Mirror
from dynamirror.deploy import names
from dynamirror.deploy.accounts import Accounts
from dynamirror.deploy.code import code_bucket, code_key, discard
from dynamirror.deploy.resources import FAILURES
from dynamirror.deploy.rollout import Options, Part, Plan, is_large, parameters, placed
from dynamirror.deploy.teardown import Remains, Removal, remove
from dynamirror.engine.source import describe
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.needs import spot
from dynamirror.errors import DynamirrorError, TransientError
from dynamirror.wiring import Wiring

Copy = Callable[[Mirror], Awaitable[None]]
Tell = Callable[[str], None]


class Builder:
    """Carries out one plan."""

    def __init__(
        self, plan: Plan, wiring: Wiring, accounts: Accounts, options: Options, tell: Tell
    ) -> None:
        self._plan = plan
        self._wiring = wiring
        self._accounts = accounts
        self._options = options
        self._tell = tell
        self._filled: list[Part] = []

    async def build(self, copy: Copy) -> None:
        """Do it all; ``copy`` backfills one mirror.

        Raises StackError where a stack failed: then what this run made is gone again, but for the
        streams and targets that a mirror needs anyway. What fails later is left as it is, and the
        next run goes on from there.
        """
        await self._make_tables()
        new: list[Part] = []
        try:
            await self._upload()
            # Those that only hold what others write come first.
            for part in sorted(self._plan.parts, key=lambda one: bool(one.stack.consumers)):
                await self._clear(part)
                if part.new:
                    new.append(part)
                await self._update(part, first=True)
        except DynamirrorError as error:
            if not isinstance(error, TransientError):  # else the next run goes on from here
                await self._undo(new)
            raise
        if not self._plan.follow:
            return
        for mirror in self._plan.copied(beside=False):
            await copy(mirror)
        for part in self._plan.parts:
            if part.stack.consumers:
                await self._update(part, first=False)
        for mirror in self._plan.copied(beside=True):
            await copy(mirror)

    async def _make_tables(self) -> None:
        """Make what no stack makes, and learn the streams that are on since."""
        backoff, api_of = self._wiring.backoff, self._wiring.api
        await carry_out(
            self._plan.making, api_of, backoff, lambda step: self._tell(f"done: {step.sentence}")
        )
        world = dict(self._plan.world)
        for mirror in self._wiring.config.mirrors:
            place = spot(mirror.source)
            table = await describe(self._wiring.source(mirror), place.table, backoff)
            world[place] = msgspec.structs.replace(world[place], table=table)
        self._plan = replace(self._plan, world=world)

    async def _upload(self) -> None:
        code = self._plan.code
        for part in self._plan.parts:
            site, stack = part.stack.site, part.stack
            if not stack.consumers and not is_large(part):
                continue
            bucket = code_bucket(self._accounts.at(site), site)
            if not await bucket.exists():
                await bucket.create()
            self._filled.append(part)
            key = code_key(stack.name, code)
            if not await bucket.holds(key):
                self._tell(f"{site}: uploading {len(code):,} bytes to the bucket {bucket.name}")
                await bucket.put(key, code)

    async def _clear(self, part: Part) -> None:
        """Let come to its end what another run began, and take away what it left half-made."""
        site = part.stack.site
        if part.state.busy:
            self._tell(f"{site}: waiting for what is being done to the stack already")
            await part.formation.settled(self._tell)
        state = await part.formation.state()
        if state.status and not state.there and state.status != "REVIEW_IN_PROGRESS":
            self._tell(f"{site}: deleting what is left of a stack that failed")
            await part.formation.delete(self._tell)

    async def _update(self, part: Part, *, first: bool) -> None:
        site, formation = part.stack.site, part.formation
        state = await formation.state()
        now = replace(part, state=state)
        given = parameters(now, self._plan, self._options.topics, first=first)
        url = await placed(part, self._accounts)
        changes = await formation.propose(part.template, given, new=now.new, url=url)
        if not changes:
            return
        what = "making" if now.new else "changing"
        self._tell(f"{site}: {what} the stack {part.stack.name}, {len(changes)} resources")
        await formation.carry_out(self._tell)

    async def _undo(self, new: Sequence[Part]) -> None:
        """Take away the stacks that this run made, with their empty tables, and their code."""
        stacks, tables = [], []
        for part in new:
            state = await part.formation.state()
            if not state.status:
                continue
            owned = await part.formation.resources()
            tables += [
                msgspec.structs.replace(ours, place=self._accounts.reached(ours.place))
                for ours in part.stack.tables
                if names.table_id(ours.place.table) in owned
            ]
            failures = owned.get(FAILURES, "")
            stacks.append(
                Remains(stack=part.stack, formation=part.formation, state=state, failures=failures)
            )
        if stacks:
            self._tell("taking back what was made")
        removal = Removal(stacks=tuple(stacks), tables=tuple(tables))
        await remove(removal, self._wiring, self._accounts, self._tell, data=True)
        for part in self._filled:
            site = part.stack.site
            if part.new:
                await discard(code_bucket(self._accounts.at(site), site), part.stack.name)
