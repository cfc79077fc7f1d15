"""The plain ways to copy and to compare: scan and batch_writer; scan and batch_get_item, two scans.

``work`` takes ``task`` (``backfill``, ``verify`` or ``scan_both``), ``table``, ``source_url`` and
``target_url``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import boto3
from bench.job import Meter

KEYS_MAX = 100


def work(ask: dict[str, Any]) -> dict[str, Any]:
    os.environ.pop("AWS_ENDPOINT_URL_DYNAMODB", None)
    source, target = (
        boto3.resource("dynamodb", region_name=region, endpoint_url=url)
        for region, url in (("us-east-1", ask["source_url"]), ("eu-west-1", ask["target_url"]))
    )
    task = {"backfill": _copy, "verify": _compare, "scan_both": _scan_both}[ask["task"]]
    with Meter() as meter:
        items = task(source, target, ask["table"])
    return meter.cost(items)


def _pages(table: Any) -> Iterator[list[dict[str, Any]]]:
    options: dict[str, Any] = {"ConsistentRead": True}
    while True:
        page = table.scan(**options)
        yield page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        options["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _copy(source: Any, target: Any, name: str) -> int:
    items = 0
    with target.Table(name).batch_writer() as batch:
        for page in _pages(source.Table(name)):
            for item in page:
                batch.put_item(item)
            items += len(page)
    return items


def _compare(source: Any, target: Any, name: str) -> int:
    """Compare one way: what is extra at the target is not looked for."""
    items = 0
    for page in _pages(source.Table(name)):
        for at in range(0, len(page), KEYS_MAX):
            some = page[at : at + KEYS_MAX]
            left: Any = {
                name: {"Keys": [{"id": item["id"]} for item in some], "ConsistentRead": True}
            }
            theirs: dict[str, Any] = {}
            while left:
                answer = target.batch_get_item(RequestItems=left)
                theirs |= {item["id"]: item for item in answer["Responses"].get(name, [])}
                left = answer.get("UnprocessedKeys")
            if any(theirs.get(item["id"]) != item for item in some):
                raise RuntimeError("the tables differ")
        items += len(page)
    return items


def _scan_both(source: Any, target: Any, name: str) -> int:
    """Compare both ways, with one table in memory: no way for a table of any size."""
    mine = {item["id"]: item for page in _pages(source.Table(name)) for item in page}
    theirs = 0
    for page in _pages(target.Table(name)):
        if any(mine.get(item["id"]) != item for item in page):
            raise RuntimeError("the tables differ")
        theirs += len(page)
    if theirs != len(mine):
        raise RuntimeError("the tables differ")
    return theirs
