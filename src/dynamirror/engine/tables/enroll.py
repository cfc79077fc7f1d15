"""Find the tables that a mirror declared for a pattern of names has as its sources."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from dynamirror.config.patterns import Pattern
from dynamirror.core.values import Wire, encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.ports import DynamoDB


async def sources_of(
    pattern: Pattern, api: DynamoDB, taken: Sequence[str], backoff: Backoff
) -> list[str]:
    """Return the names of a pattern's sources, sorted.

    ``taken``: tables of its region that mirrors of their own name; those are left to them.
    """
    names: list[str] = []
    request: Wire = {}
    while True:
        page = _decode(await persist(partial(api.call, "ListTables", encode(request)), backoff))
        names += page.TableNames
        if page.LastEvaluatedTableName is None:
            break
        request = {"ExclusiveStartTableName": page.LastEvaluatedTableName}
    return sorted(name for name in names if pattern.matches(name) and name not in taken)


class _Page(msgspec.Struct):
    TableNames: list[str] = []
    LastEvaluatedTableName: str | None = None


_decode = msgspec.json.Decoder(_Page).decode
