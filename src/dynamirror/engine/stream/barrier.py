"""Wait until everything written before now has been applied everywhere; nothing is written for it.

What can be known of a stream, and how it is used:

- A change appears in the stream some time after its writer was told that it is done. No bound is
  documented ("near real time"); we wait ``settle_s`` and take it that by then it is there.
- A position is saved only once every target has all that came before it in the shard, or it is
  parked. So a shard is *passed* once its position has reached any number that was given out after
  that wait, or once nothing is left to read after its position. The first is learned with an
  iterator at LATEST, and ends on a busy shard; the second ends on a quiet one.
- A closed shard is passed when its end has been applied. Its children count by themselves.

The engine's own writes may have to be mirrored too: in a chain of mirrors, and in a two-way mirror
(a write that it had to raise flows as a new record; a put that meets a tombstone is undone when its
record comes by). So there are as many such rounds as there are hops: see ``rounds_of``.

We are one more reader of each open shard while we wait, and no more than two at once may be
(Developer Guide, 'DynamoDB Streams'). A Lambda event source mapping keeps its positions to itself,
so of a mirror that a function applies nothing can be known here, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from dynamirror.config.model import Mirror, Place, Side
from dynamirror.config.relations import same_table
from dynamirror.core.lineage import Shard
from dynamirror.core.progress import Position
from dynamirror.core.servers import habits_of
from dynamirror.engine.held.parking import Parking
from dynamirror.engine.retry import Backoff
from dynamirror.engine.source import described
from dynamirror.engine.stream.checkpoints import Checkpoints, Known
from dynamirror.engine.stream.history import read_elsewhere, shards_of, why_lost
from dynamirror.engine.stream.passing import Passing
from dynamirror.errors import Exit, HistoryLostError, NotFoundError
from dynamirror.ports import Clock, DynamoDB

SETTLE_S = 5.0
"""How long a change may take from its writer's answer to the stream, beyond the time for which the
server holds changes back. DynamoDB takes milliseconds."""

STARTING_S = 15.0
"""For so long a stream that nobody has read may be one that an engine is about to read."""

LOOK_S = 0.5
"""Time between two looks: two reads of a shard in a second, beside an engine's four."""

PARKED_LOOK_S = 5.0
"""Time between two looks at what is parked, each of which reads all of it."""

ROUNDS_TWO_WAY = 3
"""A record, the raised one that may follow it, and at the other replica the record of the put."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Whether everything written to a mirror's source before the barrier is applied."""

    mirror: str
    drained: bool
    why: str | None = None
    """What is missing; null: nothing."""
    hint: str | None = None
    hopeless: bool = False
    """Whether waiting can't help."""
    shards_behind: int = 0
    parked_keys: int = 0
    exit: Exit = Exit.FINDING


def rounds_of(mirrors: Sequence[Mirror]) -> int:
    """Return how many times what was written must be waited for, hop after hop."""

    def longest(table: Place, passed: frozenset[str]) -> int:
        onward = (
            (ROUNDS_TWO_WAY if isinstance(mirror, Side) else 1)
            + max(longest(target, passed | {mirror.name}) for target in mirror.targets)
            for mirror in mirrors
            if mirror.name not in passed and same_table(mirror.source, table)
        )
        return max(onward, default=0)

    return max(longest(mirror.source, frozenset()) for mirror in mirrors)


class Barrier:
    """Waits for several mirrors together; ``standings`` tells how far that has come."""

    def __init__(self, gates: Sequence[Gate], rounds: int, settle_s: float = SETTLE_S) -> None:
        self.standings: list[Standing] = []
        self._gates = gates
        self._rounds = rounds
        held_back = (habits_of(gate.source.server).visible_after_s for gate in gates)
        self._settle_s = settle_s + max(held_back, default=0.0)

    async def wait(self, on_look: Callable[[Sequence[Standing]], None]) -> None:
        """Return when all are drained, or when one can't be; cancel to give up earlier."""
        now_s = asyncio.get_running_loop().time
        first_s = now_s()
        for number in range(self._rounds):
            began_s = now_s()
            for gate in self._gates:
                gate.begin()
            while True:
                settled = now_s() - began_s >= self._settle_s
                starting = now_s() - first_s < STARTING_S
                looks = (gate.look(settled=settled, starting=starting) for gate in self._gates)
                seen = await asyncio.gather(*looks)
                if number + 1 < self._rounds:
                    seen = [_not_yet(one) for one in seen]
                self.standings = list(seen)
                on_look(self.standings)
                if any(one.hopeless for one in seen):
                    return
                if all(gate.passed for gate in self._gates):
                    break
                await asyncio.sleep(LOOK_S)


class Gate:
    """One mirror: whether what was in its source's stream when a round began is applied."""

    def __init__(
        self,
        mirror: Mirror,
        source: DynamoDB,
        checkpoints: Checkpoints,
        parking: Parking,
        *,
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        self.passed = False
        self._mirror = mirror
        self._source = source
        self._checkpoints = checkpoints
        self._parking = parking
        self._clock = clock
        self._backoff = backoff
        self._shards: dict[str, Passing] = {}
        self._listed: list[str] = []
        self._parked_keys = 0
        self._parked_at_s = 0.0

    @property
    def source(self) -> Place:
        """Where what is waited for is written."""
        return self._mirror.source

    def begin(self) -> None:
        """Begin a round: what has been written by now is waited for."""
        self.passed = False
        self._shards.clear()
        self._listed.clear()

    async def look(self, *, settled: bool, starting: bool) -> Standing:
        """Look once; ``settled``: all that was written before the round is in the stream;
        ``starting``: an engine that was started just before may not have begun yet.
        """
        table = await described(self._source, self._mirror.source.table, self._backoff)
        known = await self._known()
        if (standing := self._hopeless(known, table.stream, starting=starting)) is not None:
            self.passed = False
            return standing
        listed = await shards_of(self._source, table.stream, self._backoff)
        # One that isn't applied to its end counts though a listing leaves it out.
        there = {shard.shard_id for shard in listed}
        listed += [
            Shard(name, position.parent)
            for name, position in known.positions.items()
            if not position.done and name not in there
        ]
        behind = await self._behind(str(table.stream), listed, known, settled=settled)
        # A listing may leave one out that has just been made: two in a row must be alike.
        names = [shard.shard_id for shard in listed]
        alike, self._listed = names == self._listed, names
        if behind or not settled or not alike:
            self.passed = False
            return self._standing(_told(behind, known, self._clock()), shards_behind=behind)
        parked = await self._parked()
        self.passed = not parked
        if parked:
            keys = "1 key is" if parked == 1 else f"{parked:,} keys are"
            hint = (
                "What waits for a target that is away comes by itself; for the rest, mend the"
                " cause, then run `dynamirror redrive CONFIG`."
            )
            return self._standing(f"{keys} parked", hint, parked_keys=parked)
        return Standing(mirror=self._mirror.title, drained=True, exit=Exit.DONE)

    async def _known(self) -> Known:
        try:
            return await self._checkpoints.load()
        except NotFoundError:  # before `init`
            return Known()

    async def _parked(self) -> int:
        """Return how many keys are parked; where some are, that stays true for a while."""
        now_s = asyncio.get_running_loop().time()
        if not self._parked_keys or now_s - self._parked_at_s >= PARKED_LOOK_S:
            self._parked_keys = await self._parking.count()
            self._parked_at_s = now_s
        return self._parked_keys

    async def _behind(
        self, stream: str, listed: Sequence[Shard], known: Known, *, settled: bool
    ) -> int:
        """Return how many shards are not passed."""
        for shard in listed:
            if shard.shard_id not in self._shards:
                one = Passing(self._source, stream, shard.shard_id, self._backoff)
                self._shards[shard.shard_id] = one
        await asyncio.gather(
            *(
                self._shards[shard.shard_id].look(
                    known.positions.get(shard.shard_id, Position()),
                    closed=shard.closed,
                    settled=settled,
                )
                for shard in listed
            )
        )
        return sum(not self._shards[shard.shard_id].passed for shard in listed)

    def _hopeless(self, known: Known, stream: str | None, *, starting: bool) -> Standing | None:
        """Return why no waiting helps, if so, or that nobody has begun yet."""
        why = why_lost(known, stream, None, self._clock())
        if why is not None:
            hint = HistoryLostError.hint.replace("NAME", self._mirror.name)
            lost = self._standing(f"history is lost: {why}", hint, hopeless=True)
            return msgspec.structs.replace(lost, exit=Exit.HISTORY_LOST)
        if known.lease is None and (not known.streams or read_elsewhere(known)):
            if starting:
                return self._standing("waiting for somebody to read the stream")
            return self._standing(
                "no `dynamirror run` has ever read this stream; where a Lambda function applies it,"
                " only AWS knows how far",
                "Run `dynamirror verify CONFIG`, which compares item by item and waits for what is"
                " on its way; or apply the stream with `dynamirror run CONFIG`.",
                hopeless=True,
            )
        return None

    def _standing(
        self, why: str, hint: str | None = None, *, hopeless: bool = False, **counts: int
    ) -> Standing:
        return Standing(
            mirror=self._mirror.title,
            drained=False,
            why=why,
            hint=hint,
            hopeless=hopeless,
            shards_behind=counts.get("shards_behind", 0),
            parked_keys=counts.get("parked_keys", 0),
        )


def _not_yet(standing: Standing) -> Standing:
    """Return what is told of a mirror that has passed, while a later round is to come."""
    if not standing.drained:
        return standing
    why = "waiting for what follows from what was applied"
    return Standing(mirror=standing.mirror, drained=False, why=why)


def _told(behind: int, known: Known, now_ms: int) -> str:
    if not behind:
        return "waiting for the stream to show what was written"
    shards = "1 shard is" if behind == 1 else f"{behind} shards are"
    if known.lease is None or known.lease["until_ms"] <= now_ms:
        return f"{shards} behind, and nobody reads the stream: run `dynamirror run CONFIG`"
    if known.paused_for(now_ms):
        return (
            f"{shards} behind, and the mirror is paused (`dynamirror status CONFIG` says by whom)"
        )
    return f"{shards} behind"
