"""Which items time to live has expired: the service may delete them at any moment, or days later.

Source: DynamoDB Developer Guide, 'Using time to live (TTL) in DynamoDB': the attribute is a Number
of seconds since the epoch; other types are overlooked, and so are times more than five years ago.
"""

from __future__ import annotations

from decimal import Decimal

from dynamirror.core.values import Image, opened

PAST_S_MAX = 5 * 365 * 86_400
"""What expired longer ago is never deleted."""


def is_expired(image: Image, attribute: str | None, now_s: float) -> bool:
    """Tell whether an item may be deleted by the service; ``attribute``: by which items expire."""
    if not attribute:
        return False
    number = opened(image).get(attribute, {}).get("N")
    if number is None:
        return False
    past_s = Decimal(now_s) - Decimal(number)
    return 0 < past_s <= PAST_S_MAX
