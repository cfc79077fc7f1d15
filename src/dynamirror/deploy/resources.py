"""A consumer's resources: role, function, log, event source mapping; and tables of ours.

Sources: the AWS CloudFormation Template Reference of each type; AWS Lambda Developer Guide, 'Using
AWS Lambda with Amazon DynamoDB' and 'Processing and analyzing stream events'.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynamirror.config.model import Guard, Mirror, Side
from dynamirror.config.problems import bare
from dynamirror.deploy import names
from dynamirror.deploy.grants import POLICY_VERSION, Grant, Json, grants, statements
from dynamirror.deploy.stacks import Consumer, Stack, Writer, site_of
from dynamirror.engine.needs import EXPIRES_AT, Ours
from dynamirror.engine.schema import of_ours

HANDLER = "dynamirror.runtimes.aws_lambda.handler"

MEMORY_MB = 512
"""Processor time comes with memory: at 512 MB about 0.3 of a core, where a batch of 1,000 changes
takes a tenth of a second."""

TIMEOUT_S = 300
"""Time for a batch whose target is throttled; the function stops by itself before it ends."""

LOG_DAYS = 30

BATCH_RECORDS = 1_000
"""As many as the poller reads at once: more to squash, fewer invocations."""

WINDOW_S = 1
"""The least that Lambda takes for batches above 10."""

AGE_S_MAX = 23 * 60 * 60
"""An hour before the stream may trim a change, it goes to the bucket, images and all. Until then
it is tried again, for an outage may last."""

LANES = 4
"""Batches of one shard applied at once, a key always in the same one (ParallelizationFactor)."""

FAILURES = "FailedBatches"
"""Logical id of the bucket for batches that can't be applied."""


def role(consumer: Consumer, stack: Stack) -> Json:
    """Return a function's role."""
    account = stack.site.account
    own = [one for one in grants(consumer.mirror) if _is_direct(one, consumer.mirror, stack)]
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": consumer.role,
            "Description": f"What the function of the mirror {consumer.mirror.title} may do.",
            "AssumeRolePolicyDocument": _assumed_by({"Service": "lambda.amazonaws.com"}),
            "Policies": [
                {
                    "PolicyName": "mirror",
                    "PolicyDocument": {
                        "Version": POLICY_VERSION,
                        "Statement": [
                            *_reading(consumer),
                            *statements(own, account, stack.home),
                            *_assuming(consumer.mirror, stack),
                            *_keeping(consumer),
                        ],
                    },
                }
            ],
            "Tags": tags(consumer.mirror.name),
        },
    }


def writer(one: Writer, stack: Stack) -> Json:
    """Return the role by which functions of other accounts write this account's tables."""
    asked = [
        grant
        for _, consumer in one.callers
        for grant in grants(consumer.mirror)
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
    trust = _assumed_by({"AWS": roots})
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
            "Policies": [
                {
                    "PolicyName": "mirror",
                    "PolicyDocument": {
                        "Version": POLICY_VERSION,
                        "Statement": statements(asked, stack.site.account, stack.home),
                    },
                }
            ],
        },
    }


def function(consumer: Consumer, *, python: str, architecture: str) -> Json:
    """Return the function that applies a mirror's changes."""
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": consumer.function,
            "Description": f"dynamirror: {consumer.mirror.title}",
            "Runtime": f"python{python}",
            "Architectures": [architecture],
            "Handler": HANDLER,
            "Role": {"Fn::GetAtt": [f"{consumer.id}Role", "Arn"]},
            "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
            "MemorySize": MEMORY_MB,
            "Timeout": TIMEOUT_S,
            "Environment": {"Variables": {"DYNAMIRROR_CONFIG": consumer.config}},
            "LoggingConfig": {"LogGroup": {"Ref": f"{consumer.id}Log"}},
            "Tags": tags(consumer.mirror.name),
        },
    }


def log_group(consumer: Consumer) -> Json:
    """Return the function's log."""
    return {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {
            "LogGroupName": f"/aws/lambda/{consumer.function}",
            "RetentionInDays": LOG_DAYS,
            "Tags": tags(consumer.mirror.name),
        },
    }


def mapping(consumer: Consumer) -> Json:
    """Return what delivers a stream to the function, in order, and again what failed."""
    return {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": {"Ref": f"{consumer.id}StreamArn"},
            "FunctionName": {"Ref": f"{consumer.id}Function"},
            "Enabled": {"Ref": f"{consumer.id}Enabled"},
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": BATCH_RECORDS,
            "MaximumBatchingWindowInSeconds": WINDOW_S,
            "ParallelizationFactor": lanes(consumer.mirror),
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": AGE_S_MAX,
            "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": [FAILURES, "Arn"]}}},
            "MetricsConfig": {"Metrics": ["EventCount"]},
        },
    }


def lanes(mirror: Mirror) -> int:
    """Return how many batches of a shard may be applied at once.

    Where one batch is 40 requests, one lane does; and a limit on writes is each invocation's own.
    """
    batches = mirror.guard is Guard.ORDER and not isinstance(mirror, Side)
    return 1 if batches or mirror.max_writes_per_second is not None else LANES


def failures(stack: Stack) -> Json:
    """Return the bucket for batches that could not be applied: the only destination that keeps
    the images.
    """
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "Tags": tags(*dict.fromkeys(one.mirror.name for one in stack.consumers)),
        },
    }


def table(ours: Ours) -> Json:
    """Return a table of ours, made where there is none of its name; it outlives the stack."""
    name = bare(ours.place.table)
    return {
        "Type": "AWS::DynamoDB::Table",
        "Condition": f"{names.table_id(name)}Missing",
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "TableName": name,
            **of_ours(ours.keys),
            "TimeToLiveSpecification": {"AttributeName": EXPIRES_AT, "Enabled": True},
            "Tags": [{"Key": "dynamirror", "Value": ours.purpose.replace("'", "")}],
        },
    }


def tags(*mirrors: str) -> list[Json]:
    """Return the tags of what belongs to mirrors."""
    return [{"Key": "dynamirror", "Value": " ".join(mirrors)}]


def _assumed_by(principal: Json) -> Json:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {"Version": POLICY_VERSION, "Statement": [statement]}


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
