"""The plain loop over a stream: get_records, and a batch_writer for what it returns."""

from __future__ import annotations

import os
from typing import Any

import boto3
from bench.job import Meter
from boto3.dynamodb.types import TypeDeserializer

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/Bench/stream/2026-01-01T00:00:00.000"


def work(ask: dict[str, Any]) -> dict[str, Any]:
    os.environ.pop("AWS_ENDPOINT_URL_DYNAMODB", None)
    streams = boto3.client(
        "dynamodbstreams", region_name="us-east-1", endpoint_url=ask["source_url"]
    )
    table = boto3.resource(
        "dynamodb", region_name="eu-west-1", endpoint_url=ask["target_url"]
    ).Table("Bench")
    deserialize = TypeDeserializer().deserialize
    (shard,) = streams.describe_stream(StreamArn=STREAM)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(
        StreamArn=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    changes = 0
    with Meter() as meter:
        while records := (page := streams.get_records(ShardIterator=iterator))["Records"]:
            with table.batch_writer(overwrite_by_pkeys=["id"]) as batch:
                for record in records:
                    image = record["dynamodb"]["NewImage"]
                    batch.put_item({name: deserialize(value) for name, value in image.items()})
            changes += len(records)
            iterator = page["NextShardIterator"]
    return meter.cost(changes)
