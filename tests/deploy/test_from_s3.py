"""What the manual says that a redrive from a bucket may do is what it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.emulated import BOTH_IMAGES, HERE, ROOT_KEY, THERE, Cloud, cloud
from tests.failed import letter, wire

from dynamirror.errors import Exit

CONFIG = """
[mirrors.stories]
mode = "one-way"
on_poison = "park"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""

BUCKET = "dynamirror-mirrors-failedbatches-1x2y"
KEY = "aws/lambda/0f/shardId-1/2026/11/14/1"

IN_THE_BUCKET = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
"""As docs/aws.md has it, besides s3:ListBucket on the bucket itself."""

IN_TABLES = (
    *("dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"),
    *("dynamodb:BatchWriteItem", "dynamodb:Query"),
)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud that enforces permissions, with a mirror's tables and a batch that failed."""
    with cloud(tmp_path, {"AUTH": "true"}) as one:
        one.create_table(HERE, "Stories", BOTH_IMAGES)
        made = one.run("init", one.config(CONFIG), "--yes", key=ROOT_KEY)
        assert made.exit_code == Exit.DONE, made.output
        one.put(HERE, "Stories", "a", n=2)
        stream = one.client("dynamodb").describe_table(TableName="Stories")["Table"]
        s3 = one.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        body = letter([wire("a", 1, new={"n": {"N": "1"}})], stream["LatestStreamArn"])
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
        yield one


def key_of(aws: Cloud, without: str | None = None) -> tuple[str, str]:
    """Return the key of a user who may do what the manual says, but for one action."""
    iam = aws.client("iam")
    iam.create_user(UserName="operator")
    granted = [
        (["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
        ([one for one in IN_THE_BUCKET if one != without], f"arn:aws:s3:::{BUCKET}/*"),
        (list(IN_TABLES), "arn:aws:dynamodb:*:*:table/Stories*"),
    ]
    statements = [
        {"Effect": "Allow", "Action": actions, "Resource": resource}
        for actions, resource in granted
        if without not in actions
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="operator", PolicyName="operates", PolicyDocument=policy)
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def keys(aws: Cloud) -> list[str]:
    told = aws.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    return [each["Key"] for each in told]


def test_what_the_manual_grants_is_enough(aws: Cloud) -> None:
    config = str(aws.folder / "mirrors.toml")

    done = aws.run("redrive", config, "--from-s3", f"s3://{BUCKET}", key=key_of(aws))

    assert done.exit_code == Exit.DONE, done.output
    (item,) = aws.client("dynamodb", THERE).scan(TableName="Stories")["Items"]
    assert item["n"] == {"N": "2"}
    assert keys(aws) == [f"redriven/{KEY}"]


@pytest.mark.parametrize("without", ["s3:ListBucket", *IN_THE_BUCKET])
def test_what_is_not_granted_is_named_and_the_object_is_not_lost(without: str, aws: Cloud) -> None:
    """With the permission it is gone on with."""
    config = str(aws.folder / "mirrors.toml")

    done = aws.run("redrive", config, "--from-s3", f"s3://{BUCKET}", key=key_of(aws, without))

    assert done.exit_code == Exit.UNUSABLE, done.output
    assert f"s3://{BUCKET}" in done.output
    assert "hint: " in done.output
    assert KEY in keys(aws)
    again = aws.run("redrive", config, "--from-s3", f"s3://{BUCKET}")
    assert again.exit_code == Exit.DONE, again.output
    assert KEY not in keys(aws)


TWO_WAY = """
[mirrors.sessions]
mode = "two-way"
replicas = [{ region = "us-east-1", table = "Sessions" }, { region = "eu-west-1" }]
"""


def test_in_a_two_way_mirror_rank_decides_not_age(tmp_path: Path) -> None:
    """What failed is brought to the other replica, unless that has something of higher rank."""
    with cloud(tmp_path) as aws:
        aws.create_table(HERE, "Sessions", BOTH_IMAGES)
        config = aws.config(TWO_WAY)
        assert aws.run("init", config, "--yes").exit_code == Exit.DONE
        for region, key, version in ((HERE, "lost", 2), (HERE, "weak", 1), (THERE, "weak", 3)):
            aws.put(region, "Sessions", key, version=version)
        old = {"version": {"N": "1"}}
        aws.put(THERE, "Sessions", "deleted", version=1)
        table = aws.client("dynamodb").describe_table(TableName="Sessions")["Table"]
        s3 = aws.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        records = [
            wire("lost", 1, new=old),
            wire("weak", 2, new=old),
            wire("deleted", 3, old=old),
        ]
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=letter(records, table["LatestStreamArn"]))

        done = aws.run("redrive", config, "--from-s3", f"s3://{BUCKET}")

        assert done.exit_code == Exit.DONE, done.output
        there = aws.client("dynamodb", THERE).scan(TableName="Sessions")["Items"]
        versions = {item["id"]["S"]: item["version"]["N"] for item in there}
        assert versions == {"lost": "2", "weak": "3"}
