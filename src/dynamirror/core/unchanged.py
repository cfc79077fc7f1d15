"""The condition that an item still is as it was read."""

from __future__ import annotations

from collections.abc import Sequence

from dynamirror.core.values import Image, Wire, opened

NAMES_MAX = 100
"""Attributes named in a condition: it has at most 300 operators and 4 KB (Amazon DynamoDB Developer
Guide, 'Quotas and constraints')."""


def unchanged(item: Image | None, key: Wire, watched: Sequence[str] = ()) -> Wire:
    """Return the members of a request that make it conditional on an item's being like this.

    ``item`` None: on its not being there. ``watched`` are the attributes that matter most, be they
    there or not: of an item with more than a hundred, these and the first others are compared.
    """
    if item is None:
        names = {"#k": min(key)}
        text = "attribute_not_exists(#k)"
        return {"ConditionExpression": text, "ExpressionAttributeNames": names}
    held = opened(item)
    listed = list(dict.fromkeys([*watched, *sorted(held)]))[:NAMES_MAX]
    names = {f"#a{at}": name for at, name in enumerate(listed)}
    terms = [
        f"#a{at} = :a{at}" if name in held else f"attribute_not_exists(#a{at})"
        for at, name in enumerate(listed)
    ]
    if not any(name in held for name in listed):
        names["#k"] = min(key)
        terms.append("attribute_exists(#k)")
    values = {f":a{at}": held[name] for at, name in enumerate(listed) if name in held}
    condition = {"ConditionExpression": " AND ".join(terms), "ExpressionAttributeNames": names}
    return {**condition, "ExpressionAttributeValues": values} if values else condition
