"""The reads: GetItem, BatchGetItem, Query and Scan.

Every read here is strongly consistent; eventual consistency would have to come from the caller's
hooks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

from dynamirror.core.condition import Condition
from dynamirror.core.expressions import Names, Path, Value
from dynamirror.core.predicates import BeginsWith, Between, Comparison, Node
from dynamirror.core.projection import Projection, Tree, parse_projection, projected
from dynamirror.core.values import Wire
from dynamirror.memory.lineage import HASHES
from dynamirror.memory.refusals import invalid
from dynamirror.memory.requests import (
    check_used,
    names_of,
    parsed,
    parsed_condition,
    sound,
    values_of,
)
from dynamirror.memory.tables import Key, Region, Table, place_of

PAGE_BYTES_MAX = 1024 * 1024
BATCH_KEYS_MAX = 100
BATCH_BYTES_MAX = 16 * 1024 * 1024
SEGMENTS_MAX = 1_000_000


def get_item(region: Region, request: Wire) -> Wire:
    table = region.table(request["TableName"])
    _, key = table.exact_key(request["Key"])
    wanted = _projection(request)
    item = table.items.get(key)
    if item is None:
        return {}
    return {"Item": item if wanted is None else projected(item, wanted)}


def batch_get_item(region: Region, request: Wire) -> Wire:
    found: dict[str, list[Wire]] = {}
    left: dict[str, Wire] = {}
    total = 0
    if (
        not 1
        <= sum(len(part["Keys"]) for part in request["RequestItems"].values())
        <= (BATCH_KEYS_MAX)
    ):
        raise invalid(f"A BatchGetItem has 1 to {BATCH_KEYS_MAX} keys")
    for name, part in request["RequestItems"].items():
        table = region.table(name)
        wanted = _projection(part)
        exact = [(wire, *table.exact_key(wire)) for wire in part["Keys"]]
        if len({key for _, _, key in exact}) < len(exact):
            raise invalid("Provided list of item keys contains duplicates")
        items = found.setdefault(name, [])
        for wire, stored, key in exact:
            size = table.sizes.get(key, 0)
            refused = region.unprocessed is not None and region.unprocessed(table.name, stored)
            if refused or total + size > BATCH_BYTES_MAX:
                left.setdefault(name, part | {"Keys": []})["Keys"].append(wire)
            elif (item := table.items.get(key)) is not None:
                total += size
                items.append(item if wanted is None else projected(item, wanted))
    return {"Responses": found, "UnprocessedKeys": left}


def scan(region: Region, request: Wire) -> Wire:
    table = region.table(request["TableName"])
    order = table.ordered()
    segment, segments = request.get("Segment"), request.get("TotalSegments")
    if (segment is None) != (segments is None):
        raise invalid("Segment and TotalSegments go together")
    low, high = 0, len(order)
    if segment is not None and segments is not None:
        if not 0 <= segment < segments <= SEGMENTS_MAX:
            raise invalid("Segment is less than TotalSegments, which is 1 to 1000000")
        low = bisect_left(order, (-(-segment * HASHES // segments),))
        high = bisect_left(order, (-(-(segment + 1) * HASHES // segments),))
    start = _start(table, request)
    if start is not None:
        low = max(low, bisect_right(order, place_of(table, start)))
    names, values = names_of(request), values_of(request)
    page = _Page(table, request, names)
    filter_ = parsed_condition(request, "FilterExpression", names, values)
    check_used(names, values, filter_, page.projection)
    return page.filled((order[place][-1] for place in range(low, high)), filter_, values)


def query(region: Region, request: Wire) -> Wire:
    table = region.table(request["TableName"])
    names, values = names_of(request), values_of(request)
    condition = parsed_condition(request, "KeyConditionExpression", names, values)
    if condition is None:
        raise invalid("A query needs a KeyConditionExpression")
    text = _partition(table, condition, names, values)
    order = table.ordered()
    hashed = place_of(table, (text,))[:2]
    low, high = bisect_left(order, hashed), bisect_left(order, (hashed[0], hashed[1] + "\0"))
    start = _start(table, request)
    forward = request.get("ScanIndexForward", True)
    if start is not None:
        after = bisect_right(order, place_of(table, start))
        before = bisect_left(order, place_of(table, start))
        low, high = (max(low, after), high) if forward else (low, min(high, before))
    page = _Page(table, request, names)
    filter_ = parsed_condition(request, "FilterExpression", names, values)
    check_used(names, values, condition, filter_, page.projection)
    keys = (order[place][-1] for place in range(low, high))
    matching = [key for key in keys if condition.holds(table.items[key], names, values)]
    return page.filled(matching if forward else matching[::-1], filter_, values)


class _Page:
    """One page of a Query or Scan, and how it is to be shown."""

    def __init__(self, table: Table, request: Wire, names: Names) -> None:
        self.table = table
        self.names = names
        self.limit = request.get("Limit")
        if self.limit is not None and self.limit < 1:
            raise invalid("Limit is at least 1")
        self.projection = parsed(parse_projection, request, "ProjectionExpression")
        self.wanted = (
            None
            if self.projection is None
            else sound("ProjectionExpression", self.projection.bound, names)
        )
        self.counts = request.get("Select") == "COUNT"

    def filled(self, keys: Iterable[Key], filter_: Condition | None, values: Any) -> Wire:
        table, limit = self.table, self.limit
        items: list[Wire] = []
        scanned = total = count = 0
        last: Key | None = None
        for key in keys:
            if (limit is not None and scanned >= limit) or (
                total + table.sizes[key] > PAGE_BYTES_MAX and scanned
            ):
                break
            last = key
            item = table.items[key]
            scanned += 1
            total += table.sizes[key]
            if filter_ is None or filter_.holds(item, self.names, values):
                count += 1
                if not self.counts:
                    items.append(item if self.wanted is None else projected(item, self.wanted))
        else:
            if limit is None or scanned < limit:
                last = None
        answer: Wire = {"Count": count, "ScannedCount": scanned}
        if not self.counts:
            answer["Items"] = items
        if last is not None:
            answer["LastEvaluatedKey"] = table.key_attributes(table.items[last])
        return answer


def _start(table: Table, request: Wire) -> Key | None:
    start = request.get("ExclusiveStartKey")
    return None if start is None else table.exact_key(start)[1]


def _projection(request: Wire) -> Tree | None:
    names = names_of(request)
    projection: Projection | None = parsed(parse_projection, request, "ProjectionExpression")
    check_used(names, {}, projection)
    if projection is None:
        return None
    return sound("ProjectionExpression", projection.bound, names)


def _partition(table: Table, condition: Condition, names: Names, values: Any) -> str:
    """Return the partition that a key condition names. Raises RefusedError where it names none."""
    text = None
    for term in condition.terms:
        name = _key_name(term, names)
        if name == table.hash_name and text is None:
            if not isinstance(term, Comparison) or term.sign != "=":
                raise invalid("Query key condition not supported")
            value = term.right.given(values) if isinstance(term.right, Value) else {}
            if table.kinds[name] not in value:
                raise invalid("The partition key is equal to one value of its type")
            text = value[table.kinds[name]]
        elif name != table.sort_name:
            raise invalid("Query key condition not supported: not a key of the table")
    if text is None:
        raise invalid(f"Query condition missed key schema element: {table.hash_name}")
    return str(text)


def _key_name(term: Node, names: Names) -> Any:
    if isinstance(term, Comparison) and term.sign != "<>":
        operand: Any = term.left
    elif isinstance(term, Between | BeginsWith):
        operand = term.operand
    else:
        return None
    steps = operand.resolved(names) if isinstance(operand, Path) else ()
    return steps[0] if len(steps) == 1 else None
