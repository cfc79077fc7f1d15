"""What some of a source's items tell of a mirror: names that collide, versions, sizes."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from dynamirror.config.model import Guard, Mirror, Side, Unversioned
from dynamirror.core.limits import ITEM_BYTES_MAX
from dynamirror.core.marks import STAMP_ATTRIBUTE, is_ours
from dynamirror.core.rank import VERSION_DIGITS_MAX, version_of
from dynamirror.core.reconcile import COUNTERS_BELOW
from dynamirror.core.values import Wire
from dynamirror.engine.tables.findings import Finding, Severity, found
from dynamirror.errors import UnfitError

SAMPLE_ITEMS = 100

MARK_BYTES = 51
"""The mark of guard ``item``: ten digits, a #, forty digits."""

STAMP_BYTES = 100
"""About what a two-way mirror's stamp takes: its versions and the replicas' names."""

NEAR_BYTES = ITEM_BYTES_MAX * 9 // 10
"""From here on an item counts as near the limit."""


def findings(mirror: Mirror, items: Sequence[Wire]) -> Iterator[Finding]:
    """Yield what stands out in a sample of the source's items."""
    stamp = mirror.stamp_attribute if isinstance(mirror, Side) else STAMP_ATTRIBUTE
    reserved = [
        stamp,
        *([mirror.sequence_attribute] if mirror.guard is Guard.ITEM else []),
    ]
    for name in reserved:
        count = sum(name in item and not is_ours(item[name]) for item in items)
        if count:
            marks = name == mirror.sequence_attribute
            yield found(
                Severity.UNUSABLE if marks else Severity.FINDING,
                mirror.source,
                f"{count} of {len(items)} sampled items have an attribute {name!r}"
                " that is not dynamirror's",
                'set sequence_attribute = "..." to a name that no item has'
                if marks
                else f"rename the attribute: {name!r} is where dynamirror leaves its stamp",
            )
    if isinstance(mirror, Side):
        yield from _of_versions(mirror, items)
    yield from _of_sizes(mirror, items)


def _of_sizes(mirror: Mirror, items: Sequence[Wire]) -> Iterator[Finding]:
    """Yield that an item is too large with our attribute, or nearly."""
    ours = 0
    if isinstance(mirror, Side):
        ours = STAMP_BYTES + len(mirror.stamp_attribute.encode())
    elif mirror.guard is Guard.ITEM:
        ours = MARK_BYTES + len(mirror.sequence_attribute.encode())
    sizes = [item_bytes(item) for item in items]
    largest, room = max(sizes, default=0), ITEM_BYTES_MAX - ours
    what = "stamp" if isinstance(mirror, Side) else "mark of guard item"
    remedy = "make such items smaller"
    if not isinstance(mirror, Side):
        remedy += ', or use guard = "order" or "ledger"'
    if ours and largest > room:
        yield found(
            Severity.FINDING,
            mirror.source,
            f"an item has {largest:,} bytes: with the {what} the limit is {room:,}",
            remedy,
        )
    elif ours and largest > NEAR_BYTES:
        near = sum(size > NEAR_BYTES for size in sizes)
        yield found(
            Severity.NOTE,
            mirror.source,
            f"{near} of {len(items)} sampled items have over {NEAR_BYTES:,} bytes: with the {what}"
            f" the limit is {room:,}, larger ones are parked or stop the mirror",
        )


def _of_versions(side: Side, items: Sequence[Wire]) -> Iterator[Finding]:
    """Yield where the items' versions, or the want of them, don't fit a two-way mirror."""
    name, unfit, counters, absent = side.version_attribute, 0, 0, 0
    for item in items:
        try:
            version = version_of(item.get(name))
        except UnfitError:
            unfit += 1
        else:
            absent += version is None
            counters += version is not None and version < COUNTERS_BELOW
    of = f"of {len(items)} sampled items"
    if unfit:
        yield found(
            Severity.FINDING,
            side.source,
            f"{unfit} {of} have a {name!r} that is not a whole number from 0 to below"
            f" 10^{VERSION_DIGITS_MAX}: they can't be mirrored",
            'set version_attribute = "..." to a name that no item has, or mend those items',
        )
    if absent and side.unversioned is Unversioned.REPORT:
        yield found(
            Severity.FINDING,
            side.source,
            f'{absent} {of} have no {name!r}: with unversioned = "report" they are not mirrored'
            " until they are saved with one",
            'set unversioned = "bump", or raise the version with every save (dynamirror.versioned)',
        )
    elif absent:
        yield found(
            Severity.FINDING,
            side.source,
            f"{absent} {of} have no {name!r}: the mirror gives them one, for one write more per"
            " change, and of two such writes at once the one it meets first counts as the older",
            "raise the version with every save: dynamirror.versioned(client), or the expression"
            " in docs/two-way.md; or leave it like that",
        )
    if counters:
        yield found(
            Severity.NOTE,
            side.source,
            f"{counters} {of} have a {name!r} below 10^11, a plain counter: it starts again where"
            " an item is deleted and made again, which may then lose to an older save still under"
            " way; the loser is in the journal (versions in milliseconds never start again)",
        )


def item_bytes(item: Wire) -> int:
    """Return the size DynamoDB counts for an item, to within a few bytes (Developer Guide,
    'DynamoDB item sizes and formats').
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Wire) -> int:
    ((kind, body),) = value.items()
    sizes: dict[str, Any] = {
        "S": _text_bytes,
        "N": _number_bytes,
        "B": _binary_bytes,
        "SS": lambda members: sum(map(_text_bytes, members)),
        "NS": lambda members: sum(map(_number_bytes, members)),
        "BS": lambda members: sum(map(_binary_bytes, members)),
        "L": lambda members: 3 + sum(1 + _value_bytes(member) for member in members),
        "M": lambda members: 3 + len(members) + item_bytes(members),
    }
    return int(sizes[kind](body)) if kind in sizes else 1


def _text_bytes(text: str) -> int:
    return len(text.encode())


def _number_bytes(text: str) -> int:
    digits = text.lstrip("-").replace(".", "").strip("0")
    return len(digits) // 2 + 2


def _binary_bytes(text: str) -> int:
    return len(base64.b64decode(text))
