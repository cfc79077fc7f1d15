"""A mirror begun from an export to S3, read from a bucket or a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engine.exported import Made
from tests.storm.world import SOURCE, World, client

from dynamirror.core.exports import CLOCK_MS

Make = Callable[..., World]

ITEMS = 120
BUCKET = "exports-of-tables"


def exported(world: World) -> Made:
    """Export the table as it is now; as late as an export's clock may be slow, since the stream was
    turned on but a moment ago.
    """
    pages = world.source.get_paginator("scan").paginate(TableName=world.table)
    lines = [{"Item": item} for page in pages for item in page["Items"]]
    arn = world.source.describe_table(TableName=world.table)["Table"]["TableArn"]
    at_ms = int(time.time() * 1_000) + CLOCK_MS
    return Made("0123-abcd", lines, at_ms, tableArn=arn, exportArn=f"{arn}/export/0123-abcd")


def put_into_bucket(world: World, made: Made, tmp_path: Path) -> str:
    del tmp_path
    s3 = client(world.url, SOURCE, "s3")
    s3.create_bucket(Bucket=BUCKET)
    for name, body in made.files.items():
        s3.put_object(Bucket=BUCKET, Key=f"some/prefix/AWSDynamoDB/0123-abcd/{name}", Body=body)
    s3.close()
    return f"s3://{BUCKET}/some/prefix/AWSDynamoDB/0123-abcd"


def put_into_folder(world: World, made: Made, tmp_path: Path) -> str:
    del world
    for name, body in made.files.items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return str(tmp_path / "export")


@pytest.mark.parametrize("put", [put_into_bucket, put_into_folder])
def test_a_mirror_is_begun_from_an_export(
    put: Callable[[World, Made, Path], str], make_world: Make, tmp_path: Path
) -> None:
    """What is written after it comes by the stream; once that has begun, it is refused."""
    world: Any = make_world("order")
    for number in range(ITEMS):
        item = {"id": {"S": f"k{number}"}, "n": {"N": str(number)}, "b": {"S": "x"}}
        world.source.put_item(TableName=world.table, Item=item)
    place = put(world, exported(world), tmp_path)
    world.source.put_item(TableName=world.table, Item={"id": {"S": "k0"}, "n": {"N": "-1"}})
    world.source.delete_item(TableName=world.table, Key={"id": {"S": "k1"}})

    status, said = world.command("backfill", "--yes", "--from-export", place)

    assert status == 0, said
    assert f"{ITEMS} items" in said
    assert world.command("run", "--once")[0] == 0
    assert world.differences() == []
    assert world.command("verify")[0] == 0
    status, said = world.command("backfill", "--yes", "--from-export", f"{place}/none")
    assert status == 2
    assert "manifest-summary.json" in said
