"""A consumer's resources: role, function, log, event source mapping; and tables of ours.

Sources: the AWS CloudFormation Template Reference of each type; AWS Lambda Developer Guide, 'Using
AWS Lambda with Amazon DynamoDB' and 'Processing and analyzing stream events'.
"""

from __future__ import annotations

from dynamirror.config.model import Guard, Mirror, Side
from dynamirror.config.problems import bare
from dynamirror.deploy import names
from dynamirror.deploy.grants import Json
from dynamirror.deploy.stacks import Consumer, Stack
from dynamirror.engine.tables.needs import EXPIRES_AT, Ours
from dynamirror.engine.tables.schema import of_ours

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
            "Environment": {"Variables": _environment(consumer)},
            "LoggingConfig": {"LogGroup": {"Ref": f"{consumer.id}Log"}},
            "Tags": tags(consumer.mirror.name),
        },
    }


def _environment(consumer: Consumer) -> Json:
    secrets = {name: {"Ref": names.secret_id(name)} for name in consumer.secrets}
    return {"DYNAMIRROR_CONFIG": consumer.config, **secrets}


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
            "Enabled": {"Fn::If": [f"{consumer.id}Follows", True, False]},
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
