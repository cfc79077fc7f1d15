"""How a mirror's items are compared at one of its targets.

Every item of either table passes through ``Showing`` before it is compared, which alone knows what
a target gets to see: the items in its view, in their shape there, under their keys there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from dynamirror.config.model import Deletes, Place, Side
from dynamirror.core.drift import End, Sight
from dynamirror.core.marks import stripped
from dynamirror.core.rank import Peers
from dynamirror.core.stamp import Marks
from dynamirror.core.values import Wire, key_of, opened, raw
from dynamirror.engine.reads import Item
from dynamirror.engine.source import Table
from dynamirror.engine.writing.links import Links
from dynamirror.errors import UnfitError

if TYPE_CHECKING:
    from dynamirror.core.view.lens import Lens

UNPLACED = "unplaced"
"""Makes a source's key one that no item of a target has."""

NOTHING = msgspec.Raw(b"{}")
"""The image of what the target can't have; no item is without a key."""


class Showing:
    """What of both tables is compared for one target, and as what."""

    def __init__(self, links: Links, place: Place, source: Table) -> None:
        self._view = links.views.get(place.name)
        self._two_way = isinstance(links.mirror, Side)
        self._source_keys: Wire = {
            name: {kind: ""} for name, kind in zip(source.key_names, source.key_types, strict=True)
        }
        names = source.key_names
        self.key_names = self._view.view.key_names(names) if self._view else names
        """The target's key attributes."""

    @property
    def reshapes(self) -> bool:
        """Whether the source's whole items are needed to tell what the target is to have."""
        return self._view is not None and not self._two_way

    @property
    def selects(self) -> bool:
        """Whether ``shown`` may return anything but the item it is given."""
        return self._view is not None

    def shown(self, end: End, item: Item) -> Item | None:
        """Return an item as the target is to have it; None: it is none of the mirror's business.

        One that the view can't be applied to is returned as unfit, without its attributes: nothing
        that the target may hold is the same, and nothing of it may be written there.
        """
        if self._view is None:
            return item
        if self._two_way:
            return item if self._view.holds_keys(item.keys) else None
        if end is End.TARGET:
            return item if self.at_source(item) is not None else None
        lens = self._view.lens(item.keys)
        try:
            seen = lens.see(item.keys, item.image)
        except UnfitError as error:
            return _unfit(lens, item, str(error))
        if seen is None:
            return None
        return Item(key_of(seen.keys), seen.keys, msgspec.Raw(raw(seen.image)), item.keys)

    def at_source(self, item: Item) -> Wire | None:
        """Return the keys at the source of an item under the target's; None: the view did not make
        such a key, somebody else did.
        """
        if self._view is None or self._two_way:
            return item.keys
        if item.origin is not None:
            return item.origin
        return self._view.lens(self._source_keys).traced(item.keys)

    def placed(self, item: Item) -> Item:
        """Return where the target has an item of the source of which only the keys are known.

        Raises UnfitError where they don't tell.
        """
        if self._view is None or self._two_way:
            return item
        there = self._view.lens(item.keys).keys_of(item.keys, {})
        return Item(key_of(there), there, item.image, item.keys)

    def all_at_source(self, items: Iterable[Item]) -> list[Wire]:
        """Return these items' keys at the source, each once, of those that have any there."""
        traced = (keys for item in items if (keys := self.at_source(item)) is not None)
        return list({key_of(keys): keys for keys in traced}.values())


def _unfit(lens: Lens, item: Item, why: str) -> Item:
    try:
        there = lens.keys_of(item.keys, opened(stripped(item.image, lens.ours)))
    except UnfitError:
        return Item((UNPLACED, *item.key), {}, NOTHING, item.keys, why)
    return Item(key_of(there), there, NOTHING, item.keys, why)


def sight_of(links: Links, place: Place, *, keys_only: bool = False) -> Sight:
    """Return how the source's items and those at one place are compared."""
    mirror = links.mirror
    return Sight(
        mirror.source.name,
        place.name,
        (*links.ours, mirror.sequence_attribute),
        marks_of(mirror) if isinstance(mirror, Side) else None,
        extras_of(links),
        keys_only,
    )


def extras_of(links: Links) -> bool:
    """Tell whether what only a target has is drift; else the source may have deleted it."""
    return {links.mirror.deletes, links.mirror.ttl_deletes} == {Deletes.MIRROR}


def marks_of(side: Side) -> Marks:
    """Return how the items of a mirror's replicas tell their ranks."""
    peers = Peers([replica.name for replica in side.replicas])
    return Marks(peers, side.version_attribute, side.stamp_attribute)
