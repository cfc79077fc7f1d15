"""How a mirror stands, told from its tables alone: whoever may read them learns it, wherever the
engine runs.

A state is never better than what is known: an engine that doesn't report is not following, and a
stream that isn't the one we followed is history lost, however quiet everything is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from dynamirror.config.model import Mirror
from dynamirror.core.lineage import Shard
from dynamirror.engine.checkpoints import Checkpoints, Known
from dynamirror.engine.consumer import Report
from dynamirror.engine.findings import label
from dynamirror.engine.history import (
    MS_PER_HOUR,
    RETENTION_MS,
    oldest_ms,
    read_elsewhere,
    shards_of,
    why_lost,
)
from dynamirror.engine.parking import Parking
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import Table, describe
from dynamirror.errors import Exit, HistoryLostError, NotFoundError
from dynamirror.ports import DynamoDB


class State(StrEnum):
    """What a mirror's engine does."""

    FOLLOWING = "following"
    PAUSED = "paused"
    STOPPED = "stopped"
    """Nobody reads the stream, which keeps a change for 24 hours."""
    ELSEWHERE = "applied elsewhere"
    """No process of ours ever read the stream: a function may, which keeps its positions itself."""
    NOT_STARTED = "not started"
    HISTORY_LOST = "history lost"


HINTS = {
    State.STOPPED: "Run `dynamirror run CONFIG` before the stream is trimmed.",
    State.ELSEWHERE: "Run `dynamirror run CONFIG`, unless a Lambda function applies the stream.",
    State.NOT_STARTED: "Run `dynamirror check CONFIG`, then `dynamirror run CONFIG`.",
}
"""The next command to type where nothing else is to be done first."""


class At(msgspec.Struct, frozen=True, kw_only=True):
    """How far one shard was applied."""

    shard: str
    sequence_number: str | None
    """Decimal; null: nothing yet."""
    done: bool
    read_until_ms: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One mirror, as it stands."""

    mirror: str
    source: str
    targets: list[str]
    state: State
    why: str | None = None
    """Of history lost, and of a mirror that stopped at an error: what happened."""
    hint: str | None = None
    """The next command to type, if something is to be done."""
    held_by: str | None = None
    """The process that reads the stream."""
    lag_ms: int | None = None
    """Age of the oldest change that isn't applied everywhere; 0: none is known."""
    lag_at_most: bool = False
    """Whether ``lag_ms`` is only a bound: nobody reads, so nobody knows what has come in."""
    hours_left: float | None = None
    """Until the stream may trim the oldest change that isn't applied."""
    parked_keys: int = 0
    stream: str | None = None
    """The ARN of the source's stream; null where it is off."""
    shards_open: int = 0
    positions: list[At] = []
    report: Report | None = None
    """What the running engine last told of itself."""

    @property
    def exit(self) -> Exit:
        """What ``status`` ends with for this mirror."""
        if self.state is State.HISTORY_LOST:
            return Exit.HISTORY_LOST
        return Exit.FINDING if self.parked_keys or self.why else Exit.DONE


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a mirror's tables and stream."""

    table: Table
    shards: Sequence[Shard]
    known: Known
    parked_keys: int
    now_ms: int


async def status_of(
    mirror: Mirror,
    source: DynamoDB,
    checkpoints: Checkpoints,
    parking: Parking,
    *,
    now_ms: int,
    is_dead: Callable[[str], bool],
    backoff: Backoff,
) -> Status:
    """Look at a mirror; ``is_dead`` tells of a lease's owner whether it has surely ended.

    Raises NotFoundError if its source is not there.
    """
    table = await describe(source, mirror.source.table, backoff)
    if table is None:
        raise NotFoundError(
            "ResourceNotFoundException", f"mirror {mirror.title}: no table {label(mirror.source)}"
        )
    seen = Seen(
        table=table,
        shards=await shards_of(source, table.stream, backoff),
        known=_without_dead(await _known(checkpoints), is_dead),
        parked_keys=await _parked_keys(parking),
        now_ms=now_ms,
    )
    return judged(mirror, seen)


def judged(mirror: Mirror, seen: Seen) -> Status:
    """Return what was seen means."""
    known, now_ms = seen.known, seen.now_ms
    lease = known.lease if known.lease and known.lease["until_ms"] > now_ms else None
    report = _report(lease["report"]) if lease else None
    since_ms = oldest_ms(known, seen.shards)
    why = why_lost(known, seen.table.stream, seen.shards, now_ms)
    if why is not None:
        state = State.HISTORY_LOST
    elif lease is not None:
        state = State.PAUSED if report and report.state == "paused" else State.FOLLOWING
    elif read_elsewhere(known):
        state = State.ELSEWHERE
    else:
        state = State.STOPPED if known.streams else State.NOT_STARTED
        why = known.stopped
    lag_ms = report.lag_ms if report else None
    if report is None and since_ms is not None:
        lag_ms = max(0, now_ms - since_ms)
    return Status(
        mirror=mirror.title,
        source=label(mirror.source),
        targets=[label(target) for target in mirror.targets],
        state=state,
        why=why,
        hint=_hint(mirror, state, seen),
        held_by=lease["owner"] if lease else None,
        lag_ms=lag_ms,
        lag_at_most=report is None and lag_ms is not None,
        hours_left=None
        if lag_ms is None
        else round(max(0, RETENTION_MS - lag_ms) / MS_PER_HOUR, 1),
        parked_keys=seen.parked_keys,
        stream=seen.table.stream,
        shards_open=sum(not shard.closed for shard in seen.shards),
        positions=[
            At(
                shard=shard,
                sequence_number=None
                if position.sequence_number is None
                else str(position.sequence_number),
                done=position.done,
                read_until_ms=position.read_until_ms,
            )
            for shard, position in sorted(known.positions.items())
        ],
        report=report,
    )


def _hint(mirror: Mirror, state: State, seen: Seen) -> str | None:
    if state is State.HISTORY_LOST and seen.table.stream is None:
        return f"Run `dynamirror init CONFIG --mirror {mirror.name} --yes`, then backfill it."
    if state is State.HISTORY_LOST:
        return HistoryLostError.hint.replace("NAME", mirror.name)
    if seen.parked_keys:
        return "Mend the cause, then run `dynamirror redrive CONFIG`."
    return HINTS.get(state)


def _report(text: str) -> Report | None:
    """Return a holder's report; None in its first seconds, and from another version."""
    try:
        return msgspec.json.decode(text, type=Report)
    except msgspec.DecodeError:
        return None


async def _known(checkpoints: Checkpoints) -> Known:
    try:
        return await checkpoints.load()
    except NotFoundError:  # before `init`
        return Known()


def _without_dead(known: Known, is_dead: Callable[[str], bool]) -> Known:
    if known.lease is not None and is_dead(known.lease["owner"]):
        return msgspec.structs.replace(known, lease=None)
    return known


async def _parked_keys(parking: Parking) -> int:
    try:
        return len({row["k"] async for row in parking.rows()})
    except NotFoundError:
        return 0
