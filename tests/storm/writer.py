"""A process that changes items at the source, seeded: puts, updates, deletes, re-inserts.

``python -m tests.storm.writer --help``. It ends by printing how many changes it made; each of them
makes one stream record.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3

BATCH = 25
"""Writes of distinct keys in one request."""

HOT_SHARE = 0.5
HOT_KEYS = 0.05
"""Half of all changes touch a twentieth of the keys."""

DELETES = 0.2
SINGLES = 0.03
"""Share of UpdateItem, which the server takes one at a time."""

Wire = dict[str, Any]


class Story:
    """What happens to the source's items, one seed after the other."""

    def __init__(self, seed: int, keys: int, changes: int) -> None:
        self._dice = random.Random(f"{seed}/writer")
        self._keys = keys
        self._left = changes
        self._present: set[int] = set()
        self._number = 0

    def __iter__(self) -> Iterator[list[Wire] | Wire]:
        """Yield a batch's entries, or an UpdateItem's request but for its table."""
        while self._left:
            if self._present and self._dice.random() < SINGLES * BATCH / (1 + SINGLES * BATCH):
                self._left -= 1
                yield self._update(self._dice.choice(sorted(self._present)))
                continue
            picked: set[int] = set()
            while len(picked) < min(BATCH, self._left, self._keys):
                picked.add(self._key())
            self._left -= len(picked)
            yield [self._entry(key) for key in sorted(picked)]

    def _key(self) -> int:
        hot = self._dice.random() < HOT_SHARE
        return self._dice.randrange(max(1, int(self._keys * HOT_KEYS)) if hot else self._keys)

    def _entry(self, key: int) -> Wire:
        if key in self._present and self._dice.random() < DELETES:
            self._present.remove(key)
            return {"DeleteRequest": {"Key": _wire_key(key)}}
        self._present.add(key)
        return {"PutRequest": {"Item": {**_wire_key(key), **self._image()}}}

    def _image(self) -> Wire:
        self._number += 1
        image: Wire = {
            "n": {"N": str(self._number)},
            "text": {"S": "".join(self._dice.choices('abcdefgh äö€"\\/\n', k=60))},
        }
        match self._number % 6:
            case 0:
                image["blob"] = {"B": self._dice.randbytes(40)}
            case 1:
                image["long"] = {"N": f"-{self._dice.randrange(10**37, 10**38)}"}
            case 2:
                image["tags"] = {"SS": sorted({self._dice.choice("abcdefgh") for _ in range(4)})}
            case 3:
                image["deep"] = {"L": [{"M": {"a": {"NULL": True}, "": {"BOOL": False}}}]}
            case 4:
                image["sets"] = {"NS": ["1", f"2.{self._number}"]}
        return image

    def _update(self, key: int) -> Wire:
        self._number += 1
        return {
            "Key": _wire_key(key),
            "UpdateExpression": "SET #n = :n REMOVE #t ADD #c :one",
            "ExpressionAttributeNames": {"#n": "n", "#t": "tags", "#c": "updates"},
            "ExpressionAttributeValues": {":n": {"N": str(self._number)}, ":one": {"N": "1"}},
        }


def _wire_key(key: int) -> Wire:
    return {"id": {"S": f"item-{key:05d}"}}


def write(endpoint: str, region: str, table: str, story: Story, rate: float | None) -> int:
    """Make the changes, at most so many a second; return how many they were."""
    client = boto3.client(
        "dynamodb",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    began = time.monotonic()
    made = 0
    for step in story:
        if isinstance(step, dict):
            client.update_item(TableName=table, **step)
            made += 1
        else:
            answer = client.batch_write_item(RequestItems={table: step})
            if answer.get("UnprocessedItems"):
                raise RuntimeError("the server left writes undone")
            made += len(step)
        if rate is not None:
            time.sleep(max(0.0, began + made / rate - time.monotonic()))
    client.close()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.storm.writer", description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--changes", type=int, required=True)
    parser.add_argument("--rate", type=float, help="changes a second at most")
    chosen = parser.parse_args()
    story = Story(chosen.seed, chosen.keys, chosen.changes)
    made = write(chosen.endpoint, chosen.region, chosen.table, story, chosen.rate)
    sys.stdout.write(f"{made}\n")


if __name__ == "__main__":
    main()
