"""A process that writes to one region of a two-way mirror, and tells what each write knew.

``python -m tests.storm.region_writer --help``. Each line that it prints is one write: the item, the
value that names the write, the version it gave, and the value that the server says it replaced. It
knows nothing of the package: who lost is told by these lines alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from typing import Any

import boto3
from botocore.exceptions import ClientError

DELETES = 0.15
HOT_SHARE = 0.6
NOTHING = "nothing"

HYBRID = ("hybrid", "hybrid", "hybrid-put")
ANY = ("hybrid", "add", "keep", "put-plain")
WAYS = {"hybrid": HYBRID, "any": ANY, "own": ANY, "own-hybrid": HYBRID}
"""By the sort of an item: how applications save it. Items of a sort of its own are written by one
writer each."""

UPDATES = {
    "hybrid": ", #v = if_not_exists(#v, :now) + :one",
    "add": " ADD #v :one",
    "keep": "",
}

Wire = dict[str, Any]


class Writer:
    """One of several; ``number`` tells which items are its own."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._dice = random.Random(f"{chosen.seed}/{chosen.number}/writer")
        self._count = 0
        self._table = chosen.table
        self._api = boto3.client(
            "dynamodb",
            region_name=chosen.region,
            endpoint_url=chosen.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def run(self) -> None:
        """Make all changes, at most so many a second."""
        began = time.monotonic()
        while self._count < self._chosen.changes:
            self._step()
            if self._chosen.rate:
                due = began + self._count / self._chosen.rate
                time.sleep(max(0.0, due - time.monotonic()))

    def _step(self) -> None:
        sort = self._dice.choice(list(WAYS))
        hot = self._dice.random() < HOT_SHARE
        place = self._dice.randrange(self._chosen.hot if hot else self._chosen.cold)
        if sort.startswith("own"):
            place = place * self._chosen.writers + self._chosen.number
        key = f"{sort}-{'hot' if hot else 'cold'}-{place:05d}"
        self._count += 1
        value = f"{self._chosen.region}/{self._chosen.number}/{self._count}"
        if self._dice.random() < DELETES:
            self._delete(key, value)
        else:
            self._save(key, value, self._dice.choice(WAYS[sort]))

    def _save(self, key: str, value: str, how: str) -> None:
        if how in UPDATES:
            self._update(key, value, how)
        elif how == "put-plain":
            answer = self._api.put_item(
                TableName=self._table,
                Item={"id": {"S": key}, "value": {"S": value}},
                ReturnValues="ALL_OLD",
            )
            self._tell(key, value, how, 0, answer.get("Attributes"))
        else:
            while not self._put(key, value, how):
                pass

    def _update(self, key: str, value: str, how: str) -> None:
        values: Wire = {":value": {"S": value}, ":nothing": {"S": NOTHING}}
        names = {"#value": "value", "#was": "was"}
        if how != "keep":
            names["#v"], values[":one"] = "version", {"N": "1"}
        if how == "hybrid":
            values[":now"] = {"N": str(_now_ms())}
        text = "SET #was = if_not_exists(#value, :nothing), #value = :value" + UPDATES[how]
        item = self._api.update_item(
            TableName=self._table,
            Key={"id": {"S": key}},
            UpdateExpression=text,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )["Attributes"]
        was = item["was"]["S"]
        old = None if was == NOTHING else {"value": {"S": was}}
        self._tell(key, value, how, _version(item), old)

    def _put(self, key: str, value: str, how: str) -> bool:
        read = self._api.get_item(
            TableName=self._table, Key={"id": {"S": key}}, ConsistentRead=True
        ).get("Item", {})
        version = max(_now_ms(), _version(read) + 1)
        stamp = {"_mirror": read["_mirror"]} if "_mirror" in read else {}
        try:
            answer = self._api.put_item(
                TableName=self._table,
                Item={
                    "id": {"S": key},
                    "value": {"S": value},
                    "version": {"N": str(version)},
                    **stamp,
                },
                ConditionExpression="attribute_not_exists(#v) OR #v < :v",
                ExpressionAttributeNames={"#v": "version"},
                ExpressionAttributeValues={":v": {"N": str(version)}},
                ReturnValues="ALL_OLD",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        self._tell(key, value, how, version, answer.get("Attributes"))
        return True

    def _delete(self, key: str, value: str) -> None:
        old = self._api.delete_item(
            TableName=self._table, Key={"id": {"S": key}}, ReturnValues="ALL_OLD"
        ).get("Attributes")
        if old:
            self._tell(key, value, "delete", _version(old) + 1, old)

    def _tell(self, key: str, value: str, how: str, version: int, old: Wire | None) -> None:
        knew = old["value"]["S"] if old else None
        line = {"key": key, "value": value, "how": how, "version": version, "knew": knew}
        sys.stdout.write(json.dumps({**line, "at": self._chosen.region}) + "\n")


def _version(item: Wire) -> int:
    return int(item.get("version", {"N": "0"})["N"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.storm.region_writer")
    for name in ("endpoint", "region", "table"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seed", "number", "writers", "changes", "hot", "cold"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, help="changes a second at most")
    Writer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
