"""Rule 0 where unversioned writes are only told of: which keys they left different.

Such a write is mirrored by nobody until its item is saved with a version above the one that it hid.
Its key is listed beside the replica, in a partition of the checkpoint table, until that comes: by a
save or removal there that outranks it, or by a put from elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from dynamirror.core.mesh import Ask, Judgement, Mesh, Skip, Steps, Verdict
from dynamirror.core.rank import Rank, rank_wire
from dynamirror.core.record import StreamRecord
from dynamirror.core.rows import row
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Key, Wire, row_key

LIST = "unversioned"
"""What the partition that lists them is called, after its link's name."""


class Reporting(TwoWay):
    """The rules for a mirror with ``unversioned = "report"``."""

    def __init__(
        self, mesh: Mesh, here: str, table: str, link: str, on_listed: Callable[[Wire], None]
    ) -> None:
        """``table``: of the checkpoints, beside the replica; ``on_listed`` is told of each key."""
        super().__init__(mesh, here)
        self.reported: dict[Key, Rank] = {}
        """The keys that are listed, and the rank that each hides; to be filled at first."""
        self._table = table
        self._link = link
        self._on_listed = on_listed

    def local(self, record: StreamRecord, now_ms: int) -> Judgement:
        """Judge a record as ever; list its key, or take it off the list."""
        verdict = yield from super().local(record, now_ms)
        if verdict is Skip.UNVERSIONED:
            yield from self._list(record)
        elif record.key in self.reported and self._ends(verdict, self.reported[record.key]):
            request = {"TableName": self._table, "Key": self._listed(record)}
            yield Ask(self.here, "DeleteItem", request)
            del self.reported[record.key]
        return verdict

    def _list(self, record: StreamRecord) -> Steps:
        if record.key not in self.reported:
            self._on_listed(record.keys)
        images = [image for image in (record.old_image, record.new_image) if image is not None]
        ranks = [self.marks.view(image, self.here).rank for image in images]
        ranks += [self.reported[record.key]] if record.key in self.reported else []
        self.reported[record.key] = hidden = max(ranks)
        values = {"keys": record.keys, "hides": rank_wire(hidden)}
        item = row(**values, at_ms=int(record.created_at * 1_000))
        request = {"TableName": self._table, "Item": {**item, **self._listed(record)}}
        yield Ask(self.here, "PutItem", request)

    def _ends(self, verdict: Verdict, hidden: Rank) -> bool:
        if isinstance(verdict, Skip):
            return verdict is Skip.ECHO
        return verdict.rank > hidden

    def _listed(self, record: StreamRecord) -> Wire:
        digest = hashlib.sha256(row_key(self.mesh.mirror, record.key).encode()).hexdigest()
        return {"link": {"S": f"{self._link}#{LIST}"}, "shard": {"S": digest}}
