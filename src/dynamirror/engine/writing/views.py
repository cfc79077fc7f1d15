"""Let a target see a view of the source: each change goes through the lens before it is sent.

Order per key, retries and parking go by the source's keys; only what is sent bears the target's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Key, Wire
from dynamirror.core.view.lens import Lens, Transform, View
from dynamirror.engine.writing.targets import Squash, Target
from dynamirror.errors import UnfitError


class TargetView:
    """A view and what it needs; the key attributes are learned from the first item seen."""

    def __init__(
        self, view: View, ours: tuple[str, ...], secret: bytes, transform: Transform | None
    ) -> None:
        self.view = view
        self._ours = ours
        self._secret = secret
        self._transform = transform
        self._lenses: dict[tuple[tuple[str, str], ...], Lens] = {}

    def lens(self, keys: Wire) -> Lens:
        """Return the lens for items with keys like these, in wire form.

        Raises UnfitError, with the remedy, where the view can't be had of such a table.
        """
        schema = tuple((name, next(iter(value))) for name, value in keys.items())
        if schema not in self._lenses:
            if fault := next(self.view.faults(tuple(keys)), None):
                raise UnfitError(f"the view can't be had: {fault}")
            self._lenses[schema] = Lens(
                self.view, dict(schema), self._ours, self._secret, self._transform
            )
        return self._lenses[schema]

    def holds_keys(self, keys: Wire) -> bool:
        """Tell, from its keys, whether an item of a two-way mirror is mirrored at all.

        Raises UnfitError where the view asks for more: an item that left it at one replica would
        have to be deleted at the others, and could never be told from one that was.
        """
        lens = self.lens(keys)
        if not lens.asks_keys_alone:
            raise UnfitError(
                "in a two-way mirror where may ask for key attributes only: an item must be in "
                "view or out of it for good"
            )
        return lens.is_in(keys, keys)


class ViewingTarget:
    """Another target, which gets to see a view of every change."""

    def __init__(self, inner: Target, view: TargetView) -> None:
        self.name = inner.name
        self.records_max = inner.records_max
        self.squash: Squash | None = self._squashed
        self._inner = inner
        self._view = view

    @property
    def stale(self) -> int:
        return self._inner.stale

    async def send(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        changes = [
            (record, change)
            for record in records
            for change in self._view.lens(record.keys).changes(record)
        ]
        # An item that moves leaves its old key first: a reader may miss it, not meet it twice.
        changes.sort(key=lambda pair: pair[1].new_image is not None)
        left: dict[Key, StreamRecord] = {}
        for at in range(0, len(changes), self.records_max):
            some = changes[at : at + self.records_max]
            undone = {id(each) for each in await self._inner.send([change for _, change in some])}
            left.update((record.key, record) for record, change in some if id(change) in undone)
        return list(left.values())

    async def probe(self, keys: Wire) -> None:
        """Ask as the inner target does. Where an item's keys don't tell its keys there, any keys
        of that shape would do, but we can't make some up: then only a write can tell.
        """
        lens = self._view.lens(keys)
        if not lens.moves:
            await self._inner.probe(lens.keys_of(keys, {}))

    def _squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        try:
            return self._view.lens(first.keys).squashed(first, second)
        except UnfitError:
            return None  # each is refused by itself, in its turn


TargetViews = Mapping[str, TargetView]
"""By the targets' names; one that is not there gets whole items."""
