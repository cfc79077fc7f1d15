"""What some of a source's items tell of a mirror: names that collide, sizes, the cost to expect."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from dynamirror.config.model import Guard, Mirror, Side, Unversioned
from dynamirror.core.limits import ITEM_BYTES_MAX
from dynamirror.core.marks import STAMP_ATTRIBUTE, is_ours
from dynamirror.core.rank import VERSION_DIGITS_MAX, version_of
from dynamirror.core.reconcile import COUNTERS_BELOW
from dynamirror.core.values import Wire
from dynamirror.engine.findings import Finding, Severity, found
from dynamirror.errors import UnfitError

SAMPLE_ITEMS = 100

MARK_BYTES = 51
"""The mark of guard ``item``: ten digits, a #, forty digits."""

# US dollars per million, on demand, us-east-1, standard class, since November 2024 (DynamoDB
# pricing page): a write request unit of 1 KB, and 1 GB out to another region.
WRITE_USD = 0.625
TRANSFER_USD = 0.019
# Lambda, 100 changes to a batch of 200 ms at 256 MB.
FUNCTION_USD = 0.010


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a million changes cost, all targets together, in US dollars."""

    writes_usd: float
    transfer_usd: float
    lambda_usd: float
    item_kb: float
    """Size of an item, rounded up to what a write is charged by, on average of the sample."""

    @property
    def total_usd(self) -> float:
        """All of it."""
        return round(self.writes_usd + self.transfer_usd + self.lambda_usd, 3)


def cost(mirror: Mirror, items: Sequence[Wire]) -> Cost:
    """Return the estimate for items like those of the sample; of 1 KB if there is none."""
    kilobytes = [max(1, -(-item_bytes(item) // 1_024)) for item in items]
    kb = sum(kilobytes) / len(kilobytes) if kilobytes else 1.0
    # A transaction doubles what it writes: the item, and the ledger's row of less than 1 KB.
    units = 2 * kb + 2 if mirror.guard is Guard.LEDGER else kb
    abroad = sum(target.region != mirror.source.region for target in mirror.targets)
    return Cost(
        writes_usd=round(units * WRITE_USD * len(mirror.targets), 3),
        transfer_usd=round(kb * TRANSFER_USD * abroad, 3),
        lambda_usd=FUNCTION_USD,
        item_kb=round(kb, 1),
    )


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
    if mirror.guard is Guard.ITEM:
        room = ITEM_BYTES_MAX - MARK_BYTES - len(mirror.sequence_attribute.encode())
        largest = max((item_bytes(item) for item in items), default=0)
        if largest > room:
            yield found(
                Severity.FINDING,
                mirror.source,
                f"an item has {largest:,} bytes: with the mark of guard item the limit is {room:,}",
                'make such items smaller, or use guard = "order" or "ledger"',
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
