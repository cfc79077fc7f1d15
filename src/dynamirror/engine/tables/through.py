"""What some of a source's items become through its targets' views: how many are seen at all, and
which could not be at the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from dynamirror.config.model import Guard, Mirror, OnPoison, Place, Side
from dynamirror.core.limits import ITEM_BYTES_MAX
from dynamirror.core.prices import read_units
from dynamirror.core.values import Wire, opened
from dynamirror.engine.tables.findings import Finding, Severity, found
from dynamirror.engine.tables.sample import MARK_BYTES, item_bytes
from dynamirror.errors import ConfigError, UnfitError

if TYPE_CHECKING:
    from dynamirror.core.view.lens import Lens
    from dynamirror.engine.writing.views import TargetView, TargetViews


def findings(
    mirror: Mirror,
    views_of: Callable[[], TargetViews],
    items: Sequence[Wire],
    key_names: Sequence[str],
) -> Iterator[Finding]:
    """Yield what a sample of the source's items, in wire form, looks like through each view."""
    if not mirror.views or not items:
        return
    try:
        views = views_of()
    except ConfigError as error:
        yield found(Severity.FINDING, mirror.source, f"no view was tried: {error}", error.hint)
        return
    units = read_units(sum(map(item_bytes, items)), consistent=False)
    for place in mirror.targets:
        if (view := views.get(place.name)) is None:
            continue
        sampled = [({key: item[key] for key in key_names}, item) for item in items]
        try:
            seen, unfit = _through(mirror, view, sampled)
        except UnfitError as error:
            yield found(Severity.UNUSABLE, place, "its view can't be had", str(error))
            continue
        of = f"of {len(items)} sampled items"
        told = f"{seen} {of} are in its view; reading them took about {units:g} read units"
        yield found(Severity.NOTE, place, told)
        yield from _unfit(mirror, place, unfit, of)


def _unfit(mirror: Mirror, place: Place, unfit: Sequence[str], of: str) -> Iterator[Finding]:
    """Yield how many items can't be at a target, and why, each reason once."""
    becomes = "are parked" if mirror.on_poison is OnPoison.PARK else "stop the mirror"
    for why in dict.fromkeys(unfit):
        yield found(
            Severity.FINDING,
            place,
            f"{unfit.count(why)} {of} can't be there: {why}",
            f"mend those items, or the view; until then their changes {becomes}",
        )


def _through(
    mirror: Mirror, view: TargetView, sampled: Sequence[tuple[Wire, Wire]]
) -> tuple[int, list[str]]:
    """Return how many items are in view, and why some of them can't be at the target."""
    if isinstance(mirror, Side):
        return sum(view.holds_keys(keys) for keys, _ in sampled), []
    seen, unfit = 0, list[str]()
    more = len(mirror.sequence_attribute.encode()) + MARK_BYTES
    room = ITEM_BYTES_MAX - (more if mirror.guard is Guard.ITEM else 0)
    for keys, item in sampled:
        lens = view.lens(keys)
        try:
            shown = lens.see(keys, item)
        except UnfitError as error:
            seen += 1
            unfit.append(_told(lens, keys, item, error))
            continue
        if shown is None:
            continue
        seen += 1
        if item_bytes(opened(shown.image)) > room:
            unfit.append(f"in its shape there it has more than {room:,} bytes")
    return seen, unfit


def _told(lens: Lens, keys: Wire, item: Wire, error: UnfitError) -> str:
    """Say whether it is the key that an item can't have there, or its attributes."""
    try:
        lens.keys_of(keys, item)
    except UnfitError:
        return f"another item might have its key there: {error}"
    return str(error)
