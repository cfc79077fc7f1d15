"""The roles of functions, and those by which they write in other accounts: why, what, on what.

What is asked of tables is told by ``grants``; the rest is what Lambda does in the function's name.
Sources: AWS Lambda Developer Guide, 'Defining Lambda function permissions with an execution role';
IAM User Guide, 'IAM JSON policy elements'.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynamirror.config.model import Mirror
from dynamirror.config.problems import bare
from dynamirror.deploy import names
from dynamirror.deploy.grants import (
    POLICY_VERSION,
    Grant,
    Json,
    comparing,
    copying,
    grants,
    statements,
)
from dynamirror.deploy.resources import FAILURES, tags
from dynamirror.deploy.stacks import Consumer, Stack, Writer, site_of


def role(consumer: Consumer, stack: Stack) -> Json:
    """Return a function's role; it also copies and compares, where the stack has shares."""
    asked = _asked(consumer.mirror, stack)
    own = [one for one in asked if _is_direct(one, consumer.mirror, stack)]
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": consumer.role,
            "Description": f"What the function of the mirror {consumer.mirror.title} may do.",
            "AssumeRolePolicyDocument": assumed_by({"Service": "lambda.amazonaws.com"}),
            "Policies": policy(
                "mirror",
                [
                    *_reading(consumer),
                    *statements(own, stack.site.account, stack.home),
                    *_assuming(consumer.mirror, stack),
                    *_keeping(consumer),
                ],
            ),
            "Tags": tags(consumer.mirror.name),
        },
    }


def policy(name: str, told: list[Json]) -> list[Json]:
    """Return a role's one policy."""
    document = {"Version": POLICY_VERSION, "Statement": told}
    return [{"PolicyName": name, "PolicyDocument": document}]


def writer(one: Writer, stack: Stack) -> Json:
    """Return the role by which functions of other accounts write this account's tables."""
    asked = [
        grant
        for _, consumer in one.callers
        for grant in _asked(consumer.mirror, stack)
        if grant.place.role_arn == one.role_arn
    ]
    callers: list[object] = []
    for site, consumer in one.callers:
        account = site.account or "${MirrorAccount}"
        arn = f"arn:${{AWS::Partition}}:iam::{account}:role/{consumer.role}"
        callers.append({"Fn::Sub": arn})
    accounts = dict.fromkeys(site.account or "${MirrorAccount}" for site, _ in one.callers)
    # The account is trusted and the role told by a condition: a principal that isn't there yet
    # is refused, and the function's stack may come later.
    roots = [{"Fn::Sub": f"arn:${{AWS::Partition}}:iam::{each}:root"} for each in accounts]
    trust = assumed_by({"AWS": roots})
    condition: Json = {"ArnEquals": {"aws:PrincipalArn": callers}}
    if one.external_ids:
        condition["StringEquals"] = {"sts:ExternalId": list(one.external_ids)}
    trust["Statement"][0]["Condition"] = condition
    return {
        "Type": "AWS::IAM::Role",
        "Condition": f"{names.logical(one.name)}Missing",
        "Properties": {
            "RoleName": one.name,
            "Path": one.path,
            "Description": "What the functions of mirrors in other accounts may do here.",
            "AssumeRolePolicyDocument": trust,
            "Policies": policy("mirror", statements(asked, stack.site.account, stack.home)),
        },
    }


def assumed_by(principal: Json) -> Json:
    """Return the policy by which a principal assumes a role."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {"Version": POLICY_VERSION, "Statement": [statement]}


def _asked(mirror: Mirror, stack: Stack) -> list[Grant]:
    """Return what a mirror's functions ask of tables: all of a stack's have the same role."""
    shares = [*copying(mirror), *comparing(mirror)] if stack.shares else []
    return [*grants(mirror), *shares]


def _is_direct(grant: Grant, mirror: Mirror, stack: Stack) -> bool:
    """Tell whether the function reaches a table with its own role."""
    account = site_of(mirror.source, stack.home).account
    return not grant.place.role_arn or site_of(grant.place, stack.home).account == account


def _reading(consumer: Consumer) -> Iterator[Json]:
    yield {
        "Sid": "ReadTheStream",
        "Effect": "Allow",
        "Action": ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
        "Resource": {"Ref": f"{consumer.id}StreamArn"},
    }
    table = bare(consumer.mirror.source.table)
    streams = f"table/{table}/stream/*"
    yield {
        "Sid": "FindTheStream",
        "Effect": "Allow",
        "Action": "dynamodb:ListStreams",
        "Resource": {
            "Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:" + streams
        },
    }
    decrypt = {
        "Sid": "DecryptTables",
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": {"Ref": "KeyArns"},
        "Condition": {"StringLike": {"kms:ViaService": "dynamodb.*.amazonaws.com"}},
    }
    yield {"Fn::If": ["HasKeys", decrypt, {"Ref": "AWS::NoValue"}]}


def _assuming(mirror: Mirror, stack: Stack) -> Iterator[Json]:
    roles = {
        grant.place.role_arn for grant in grants(mirror) if not _is_direct(grant, mirror, stack)
    }
    if roles:
        yield {
            "Sid": "WriteInOtherAccounts",
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": sorted(role for role in roles if role),
        }


def _keeping(consumer: Consumer) -> Iterator[Json]:
    yield {
        "Sid": "WriteTheLog",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": {"Fn::GetAtt": [f"{consumer.id}Log", "Arn"]},
    }
    bucket = {"Fn::GetAtt": [FAILURES, "Arn"]}
    owned = {"StringEquals": {"s3:ResourceAccount": {"Ref": "AWS::AccountId"}}}
    yield {
        "Sid": "KeepFailedBatches",
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": {"Fn::Sub": f"${{{FAILURES}.Arn}}/*"},
        "Condition": owned,
    }
    yield {
        "Sid": "FindTheBucketForThem",
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": bucket,
        "Condition": owned,
    }
