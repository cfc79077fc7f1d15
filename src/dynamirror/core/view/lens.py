"""A view, ready to look through: a change of the source becomes what is written at the target.

An item that leaves the view is deleted at the target, one that enters is put; from the change's
own images, nothing is read. Where a key at the target is composed of attributes that may change,
a change may be two: the item leaves one key and enters another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

import msgspec

from dynamirror.core.marks import stripped
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Image, Wire, decode, differing, encode, key_of, opened
from dynamirror.core.view.shape import Shape
from dynamirror.core.view.template import Template, key_faults
from dynamirror.core.view.where import Where
from dynamirror.errors import UnfitError

Transform = Callable[[Wire], Wire | None]
"""A user's function: an image in wire form in, what the target is to have out, or None."""


class View(msgspec.Struct, frozen=True, dict=True):
    """What a target gets to see, as the configuration says it."""

    where: Where | None = None
    shape: Shape = Shape()
    transform: str | None = None
    """``module:function``."""
    key: Mapping[str, Template] = {}
    """The target's key attributes, if they are not the source's."""

    def faults(self, key_names: tuple[str, ...]) -> Iterator[str]:
        """Yield why it can't be applied to a table with these key attributes."""
        yield from self.shape.faults(key_names)
        if self.key:
            yield from key_faults(self.key, key_names)

    def is_apart(self, other: View) -> bool:
        """Tell whether no item of the one can have the key of one of the other."""
        return any(
            not one.prefix.startswith(two.prefix) and not two.prefix.startswith(one.prefix)
            for name, one in self.key.items()
            if (two := other.key.get(name)) is not None
        )

    @property
    def digest(self) -> str:
        """What tells this view from every other, as far as the configuration says it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def key_names(self, source: tuple[str, ...]) -> tuple[str, ...]:
        """Return the target's key attributes, given the source's, partition key first."""
        return tuple(self.key) or tuple(self.shape.rename.get(name, name) for name in source)


class Seen(msgspec.Struct, frozen=True):
    """An item as the target is to have it."""

    keys: Wire
    image: Image


class Lens(msgspec.Struct, frozen=True, dict=True):
    """A view of a table with known key attributes, its secret and function at hand."""

    view: View
    key_types: Mapping[str, str]
    """The source's key attributes, name to type: ``{"id": "S"}``."""
    ours: tuple[str, ...] = ()
    """Attributes of ours, which no view gets to see."""
    secret: bytes = b""
    transform: Transform | None = None

    @cached_property
    def filters(self) -> bool:
        """Whether there may be items that the target does not get to see."""
        return self.view.where is not None or self.transform is not None

    @cached_property
    def moves(self) -> bool:
        """Whether an item's key at the target may change."""
        composed = {name for template in self.view.key.values() for name in template.names}
        return not composed <= self.key_types.keys()

    def see(self, keys: Wire, image: Image) -> Seen | None:
        """Return an item of the source as the target is to have it; None: it is out of view.

        Raises UnfitError for one that the view can't be applied to.
        """
        if not self.is_in(keys, image):
            return None
        if not self._reshapes:
            return Seen(keys, image)
        item = opened(stripped(image, self.ours))
        shown = self._transformed(self.view.shape.of(item, self._kept, self.secret))
        if shown is None:
            return None
        there = self.keys_of(keys, item)
        return Seen(there, {**shown, **there})

    def keys_of(self, keys: Wire, item: Wire) -> Wire:
        """Return the keys at the target of an item with these keys, where they may differ."""
        if self.view.key:
            whole = {**item, **keys}
            return {name: template.written(whole) for name, template in self.view.key.items()}
        rename = self.view.shape.rename
        return {rename.get(name, name): value for name, value in keys.items()}

    def traced(self, keys: Wire) -> Wire | None:
        """Return the keys at the source of an item of the target, or None if it has none there:
        the view did not make such a key.
        """
        if self.view.key:
            return self._read_back(keys)
        back = {there: here for here, there in self.view.shape.rename.items()}
        return {back.get(name, name): value for name, value in keys.items()}

    def changes(self, record: StreamRecord) -> list[StreamRecord]:
        """Return what a change of the source means for the target: nothing, a put, a delete, or,
        where its key changed, a delete and a put.
        """
        new = self._seen(record, record.new_image)
        if self.moves:
            return self._moved(record, new)
        if new is not None:
            return [_at(record, new.keys, new.image)]
        if self.filters and self._was_out(record):
            return []
        return [_at(record, self.keys_of(record.keys, {}), None)]

    def squashed(self, first: StreamRecord, second: StreamRecord) -> StreamRecord | None:
        """Return one change that stands for two of a key; None: each must be seen to in turn.

        Its old image is one that the target may have, if there was such.
        """
        if self.moves:
            return None
        for image in (first.old_image, first.new_image):
            if self._was_seen(first, image):
                return msgspec.structs.replace(second, old_image=image)
        return second

    def distinct(self, keys: Wire, images: Iterable[Wire]) -> Iterator[Wire]:
        """Yield those of an item's images that have keys of their own at the target."""
        known = set()
        for image in images:
            try:
                seen = self.see(keys, image)
            except UnfitError:
                continue  # it can't be there
            if seen is not None and key_of(seen.keys) not in known:
                known.add(key_of(seen.keys))
                yield image

    @cached_property
    def _reshapes(self) -> bool:
        return bool(self.view.shape != Shape() or self.transform or self.view.key)

    @cached_property
    def asks_keys_alone(self) -> bool:
        """Whether an item's keys tell that it is in view: then it is so for good."""
        where = self.view.where
        return where is not None and where.reads <= self.key_types.keys()

    @cached_property
    def _kept(self) -> frozenset[str]:
        """The attributes that are the target's key, by their names at the source."""
        return frozenset() if self.view.key else frozenset(self.key_types)

    def is_in(self, keys: Wire, image: Image) -> bool:
        """Tell whether the condition holds of an item; a transform may still leave it out."""
        where = self.view.where
        if where is None:
            return True
        return where.holds(keys if self.asks_keys_alone else opened(image))

    def _transformed(self, shown: Wire) -> Wire | None:
        if self.transform is None:
            return shown
        name = f"the transform {self.view.transform}"
        try:
            # A copy of its own: other targets may get to see the same image.
            made = self.transform(decode(encode(shown)))
        except Exception as error:
            raise UnfitError(f"{name} failed: {error!r}") from error
        if made is None:
            return None
        if not isinstance(made, dict):
            raise UnfitError(
                f"{name} returned a {type(made).__name__}: return the image in DynamoDB JSON, or "
                "None to leave the item out"
            )
        kept = [self.view.shape.rename.get(key, key) for key in sorted(self._kept)]
        if any(made.get(key) != shown.get(key) for key in kept):
            raise UnfitError(
                f"{name} changed a key attribute: keep keys, or compose others with the view's key"
            )
        return made

    def _seen(self, record: StreamRecord, image: Image | None) -> Seen | None:
        return None if image is None else self.see(record.keys, image)

    def _was_out(self, record: StreamRecord) -> bool:
        """Tell whether the target can't have the item that a change takes out of view."""
        if record.old_image is not None:
            return not self._was_seen(record, record.old_image)
        # What the source holds now, with nothing said of before, may be there in another shape.
        return record.event_name == "INSERT"

    def _was_seen(self, record: StreamRecord, image: Image | None) -> bool:
        return self._before(record, image) is not None

    def _before(self, record: StreamRecord, image: Image | None) -> Seen | None:
        try:
            return self._seen(record, image)
        except UnfitError:
            return None  # it can't have come to the target either

    def _moved(self, record: StreamRecord, new: Seen | None) -> list[StreamRecord]:
        old = self._before(record, record.old_image)
        changes = []
        if old is not None and (new is None or differing(old.keys, new.keys)):
            changes.append(_at(record, old.keys, None))
        if new is not None:
            changes.append(_at(record, new.keys, new.image))
        return changes

    def _read_back(self, keys: Wire) -> Wire | None:
        found: Wire = {}
        for name, template in self.view.key.items():
            read = template.read(keys[name])
            if read is None:
                return None
            found.update(read)
        back = {}
        for name, kind in self.key_types.items():
            ((_, body),) = found[name].items()
            back[name] = {kind: body}
        # Text that no value of the source is spelled like, 007 for 7, was written by somebody else.
        return back if self._is_spelled(back, keys) else None

    def _is_spelled(self, back: Wire, keys: Wire) -> bool:
        written = {
            name: template
            for name, template in self.view.key.items()
            if set(template.names) <= self.key_types.keys()
        }
        try:
            return all(
                not differing({name: t.written(back)}, {name: keys[name]})
                for name, t in written.items()
            )
        except (UnfitError, ValueError):
            return False


def _at(record: StreamRecord, keys: Wire, image: Image | None) -> StreamRecord:
    """Return a change as one of the target's items."""
    if keys is record.keys and image is record.new_image:
        return record
    return msgspec.structs.replace(
        record, key=key_of(keys), keys=keys, new_image=image, old_image=None
    )
