"""Carry out a plan: send what it says, in an order that works, and wait until tables are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dynamirror.config.model import Place
from dynamirror.core.values import encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.source import describe
from dynamirror.engine.tables.findings import label
from dynamirror.engine.tables.furniture import ApiOf
from dynamirror.engine.tables.provision import PHASES, Plan, Step
from dynamirror.errors import DynamirrorError, InUseError, ServiceError
from dynamirror.ports import DynamoDB

POLL_S = 2.0
TABLE_S_MAX = 600.0
"""A table with many indexes takes a few minutes."""

INDEX_S_MAX = 86_400.0
"""An index that is added is filled from the table: hours for a large one."""

UNAVAILABLE = "ContinuousBackupsUnavailableException"
"""Answered for a short while after a table was made (API reference, UpdateContinuousBackups)."""


class UnreadyError(DynamirrorError):
    """A table did not become ACTIVE in time."""

    hint = "Look at the table in the AWS console, then run `dynamirror init CONFIG` again."


async def carry_out(
    made: Plan,
    api_of: ApiOf,
    backoff: Backoff,
    on_step: Callable[[Step], None],
    *,
    poll_s: float = POLL_S,
    on_wait: Callable[[Step, str], None] = lambda _, __: None,
) -> None:
    """Do what was planned; ``on_step`` is told of each step that is done, ``on_wait`` of what a
    step still waits for.

    Safe to repeat after any failure: what is there by then is left alone.
    """

    async def do(steps: Sequence[Step]) -> None:
        for step in steps:
            api = api_of(step.place, step.transport)
            await _send(api, step, backoff, poll_s)
            await _wait(api, step, backoff, poll_s, on_wait)
            on_step(step)

    for phase in PHASES:
        steps = [step for step in made.steps if step.operation == phase]
        # One change of a table at a time; so is an index (API reference, UpdateTable).
        tables: dict[Place, list[Step]] = {}
        for step in steps:
            if not _indexed(step):
                tables.setdefault(step.place, []).append(step)
        await asyncio.gather(*map(do, tables.values()))
        # The service makes one table with indexes at a time (API reference, CreateTable).
        await do([step for step in steps if _indexed(step)])


async def _send(api: DynamoDB, step: Step, backoff: Backoff, poll_s: float) -> None:
    body, attempts_left = encode(step.request), int(TABLE_S_MAX / POLL_S)
    while True:
        try:
            await persist(lambda: api.call(step.operation, body), backoff)
        except InUseError:
            if step.operation != "CreateTable":  # made meanwhile by somebody else
                raise
        except ServiceError as error:
            attempts_left -= 1
            if error.code != UNAVAILABLE or not attempts_left:
                raise
            await asyncio.sleep(poll_s)
            continue
        return


async def _wait(
    api: DynamoDB,
    step: Step,
    backoff: Backoff,
    poll_s: float,
    on_wait: Callable[[Step, str], None],
) -> None:
    """Wait until a step's table and its indexes are ACTIVE. Raises UnreadyError."""
    limit_s = INDEX_S_MAX if _adds_index(step) else TABLE_S_MAX
    for _ in range(int(limit_s / POLL_S)):
        unready = await _unready(api, step.place, backoff)
        if unready is None:
            return
        on_wait(step, unready)
        await asyncio.sleep(poll_s)
    raise UnreadyError(f"{label(step.place)}: {unready} after {limit_s:.0f} s")


def _indexed(step: Step) -> bool:
    return "GlobalSecondaryIndexes" in step.request or "LocalSecondaryIndexes" in step.request


def _adds_index(step: Step) -> bool:
    return "GlobalSecondaryIndexUpdates" in step.request


async def _unready(api: DynamoDB, place: Place, backoff: Backoff) -> str | None:
    """Return what of a table isn't ready to be used; None: all is."""
    table = await describe(api, place.table, backoff)
    if table is None:
        return "not there yet"
    if not table.active:
        return f"the table is {table.description.get('TableStatus')}, not ACTIVE"
    for index in table.description.get("GlobalSecondaryIndexes") or ():
        status = index.get("IndexStatus", "ACTIVE")
        if status != "ACTIVE":
            return f"index {index['IndexName']} is {status}"
    return None
