"""Make a replica hold nothing that the others do not: what it alone has would be a resurrection.

Items that differ go to the replica's journal and are removed; joining brings the others' images
afterwards. Nobody else may write to the replica meanwhile. The records that this leaves in its
stream are passed over, or they would be taken for deletes that an application made.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from dynamirror.core.conflict import Loss, Reason, journal_rows
from dynamirror.core.rank import Rank
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Marks
from dynamirror.core.two_way import TwoWay
from dynamirror.core.unchanged import unchanged
from dynamirror.core.values import decode
from dynamirror.engine.members.sites import Site, each
from dynamirror.engine.reads import Item
from dynamirror.engine.source import stream_of
from dynamirror.engine.stream.follow import Follower
from dynamirror.engine.stream.history import shards_of, why_lost
from dynamirror.engine.stream.shard import Reading, reading_of
from dynamirror.engine.writing.mesh import mesh_of
from dynamirror.errors import ConditionFailedError, UnfitError
from dynamirror.ports import Clock


class Rebuild:
    """Takes from one replica what no other has."""

    def __init__(
        self, site: Site, others: Sequence[Site], *, clock: Clock, reading: Reading | None = None
    ) -> None:
        self._site = site
        self._others = others
        self._clock = clock
        self._reading = reading or reading_of(site.side.source.server)
        mesh = mesh_of(site.side)
        self._mesh = mesh
        self._marks: Marks = TwoWay(mesh, site.name).marks
        self._taken = 0
        self._deleted = 0
        """Items that are gone, and whose records must be seen in the stream to be passed over."""

    async def run(self, on_progress: Callable[[int], None]) -> int:
        """Take it all; ``on_progress`` is told how many so far. Returns how many.

        Raises HeldError while somebody reads the replica's stream.
        """
        lease = self._site.lease
        await lease.acquire()
        keeping = asyncio.create_task(lease.keep(lambda: ""))
        try:
            await self._pass_over()
            while True:
                before = self._taken
                await self._sweep(on_progress)
                if keeping.done():
                    keeping.result()
                await self._pass_over()
                if self._taken == before:  # and so nobody has written since the last look
                    return self._taken
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await asyncio.shield(lease.release())

    async def _sweep(self, on_progress: Callable[[int], None]) -> None:
        theirs = [(site.name, await site.reads()) for site in self._others]
        async for page in (await self._site.reads()).scan(0, 1):
            keys = [item.keys for item in page]
            found = [(name, await reads.get(keys)) for name, reads in theirs]
            strange: list[tuple[Item, Item | None, Rank]] = []
            for item in page:
                held = [(name, items[item.key]) for name, items in found if item.key in items]
                if not any(self._same(item, other, name) for name, other in held):
                    name, other = held[0] if held else (self._site.name, None)
                    strange.append((item, other, self._rank(other or item, name)))
            await each(strange, self._take)
            on_progress(self._taken)

    def _same(self, item: Item, other: Item, at: str) -> bool:
        """Tell whether two replicas hold the same, of the same rank."""
        try:
            mine = self._marks.view(item.image, self._site.name)
            same = mine.rank == self._marks.view(other.image, at).rank
        except UnfitError:
            return False
        return same and not self._marks.differing(item.image, other.image)

    def _rank(self, item: Item, at: str) -> Rank:
        try:
            return self._marks.view(item.image, at).rank
        except UnfitError:
            return self._marks.peers.rank(0, at)

    async def _take(self, one: tuple[Item, Item | None, Rank]) -> None:
        item, other, rank = one
        now_s = self._clock() / 1_000
        record = StreamRecord(
            0, "REMOVE", item.key, item.keys, None, item.image, now_s, by_ttl=False
        )
        loss = Loss(
            record,
            item.image,
            self._rank(item, self._site.name),
            other.image if other else None,
            rank,
            Reason.REBUILT,
        )
        journal = self._site.side.journal_of(self._site.side.source)
        for row in journal_rows(self._mesh.mirror, self._mesh.journal_days, loss):
            await self._site.call("PutItem", {"TableName": journal, "Item": row})
        request = {
            "TableName": self._site.table,
            "Key": item.keys,
            **unchanged(decode(bytes(item.image)), item.keys),
        }
        self._taken += 1  # also one that changed meanwhile: then we look once more
        with contextlib.suppress(ConditionFailedError):
            await self._site.call("DeleteItem", request)
            self._deleted += 1

    async def _pass_over(self) -> None:
        """Have the replica's stream begin after all that is in it now."""
        site, backoff = self._site, self._site.backoff
        stream = await stream_of(site.api, site.table, backoff)
        known = await site.checkpoints.met(stream, self._clock())
        shards = await shards_of(site.api, stream, backoff)
        why = why_lost(known, stream, shards, self._clock())
        if why is not None:  # whatever is missing in it: all of the replica is being made up for
            if known.lost is None:
                await site.checkpoints.lose(known, why)
                known = await site.checkpoints.load()
            known = await site.checkpoints.enroll(known, stream, self._clock())

        def passed(records: Sequence[StreamRecord], on_done: Callable[[], None]) -> None:
            self._deleted -= sum(record.new_image is None for record in records)
            on_done()

        while True:
            follower = Follower(
                site.api,
                stream,
                known,
                site.checkpoints,
                passed,
                clock=self._clock,
                reading=self._reading,
                backoff=backoff,
            )
            await follower.run(once=True)
            await follower.finish(0)
            if self._deleted <= 0:  # below: deletes from before
                self._deleted = 0
                return
            known = await site.checkpoints.load()
