"""What copies a large table in shares: a state machine that starts a function for each.

A share goes on where it stood when its function ran out of time, so that it may take longer than a
function's 15 minutes. With guards ``order`` and ``item`` nothing may follow the stream meanwhile:
the state machine looks, and refuses. Sources: AWS Step Functions Developer Guide, 'Using Map state
in Distributed mode', 'AWS SDK service integrations'.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from dynamirror.deploy import names
from dynamirror.deploy.grants import Json
from dynamirror.deploy.resources import function, tags
from dynamirror.deploy.roles import assumed_by, policy
from dynamirror.deploy.stacks import Consumer

HANDLER = "dynamirror.runtimes.share.handler"
TIMEOUT_S = 900
MEMORY_MB = 1_769
"""One core (AWS Lambda Developer Guide, 'Configure Lambda function memory')."""

BEGIN = "Look"
"""The first state where nothing may follow the stream meanwhile."""

AT_ONCE = 40
"""Shares copied at the same time."""

AGAIN_MAX = 1_000
"""Invocations of one share: ten days."""


def resources(one: Consumer, *, python: str, architecture: str) -> Iterator[tuple[str, Json]]:
    """Yield them, by their logical ids."""
    copier = function(one, python=python, architecture=architecture)
    copier["Properties"] |= {
        "FunctionName": names.share_name(one.mirror),
        "Description": f"dynamirror: copies a share of {one.mirror.title}",
        "Handler": HANDLER,
        "MemorySize": MEMORY_MB,
        "Timeout": TIMEOUT_S,
    }
    yield f"{one.id}ShareFunction", copier
    yield f"{one.id}SharesRole", _role(one)
    yield f"{one.id}Shares", _machine(one)


def _machine(one: Consumer) -> Json:
    return {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {
            "StateMachineName": names.share_name(one.mirror),
            "RoleArn": {"Fn::GetAtt": [f"{one.id}SharesRole", "Arn"]},
            "DefinitionString": {"Fn::Sub": json.dumps(definition(one), separators=(",", ":"))},
            "Tags": tags(one.mirror.name),
        },
    }


def definition(one: Consumer) -> Json:
    """Return what the machine does, in Amazon States Language, with CloudFormation's names."""
    count = {
        "Type": "Pass",
        "Parameters": {
            "shares.$": "$.shares",
            "numbers.$": "States.ArrayRange(1, $.shares, 1)",
        },
        "Next": "Copy",
    }
    copy = {
        "Type": "Map",
        "ItemsPath": "$.numbers",
        "ItemSelector": {
            "link": one.mirror.link,
            "share.$": "$$.Map.Item.Value",
            "shares.$": "$.shares",
        },
        "MaxConcurrency": AT_ONCE,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "Share",
            "States": {"Share": _share(one)},
        },
        "End": True,
    }
    states = {"Count": count, "Copy": copy}
    if one.mirror.copies_beside:
        return {"StartAt": "Count", "States": states}
    return {"StartAt": BEGIN, "States": {**_looking(one), **states}}


def _share(one: Consumer) -> Json:
    return {
        "Type": "Task",
        "Resource": "arn:${AWS::Partition}:states:::lambda:invoke",
        "Parameters": {"FunctionName": f"${{{one.id}ShareFunction.Arn}}", "Payload.$": "$"},
        "OutputPath": "$.Payload",
        "Retry": [
            {
                "ErrorEquals": ["UnfinishedError", "Lambda.TooManyRequestsException"],
                "IntervalSeconds": 5,
                "BackoffRate": 1,
                "MaxAttempts": AGAIN_MAX,
            },
            {
                "ErrorEquals": ["States.ALL"],
                "IntervalSeconds": 30,
                "BackoffRate": 2,
                "MaxAttempts": 3,
            },
        ],
        "End": True,
    }


def _looking(one: Consumer) -> Json:
    return {
        "Look": {
            "Type": "Task",
            "Resource": "arn:${AWS::Partition}:states:::aws-sdk:lambda:getEventSourceMapping",
            "Parameters": {"Uuid": f"${{{one.id}Mapping}}"},
            "ResultPath": "$.mapping",
            "Next": "AtRest",
        },
        "AtRest": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.mapping.State", "StringEquals": "Disabled", "Next": "Count"}
            ],
            "Default": "Followed",
        },
        "Followed": {
            "Type": "Fail",
            "Error": "Followed",
            "Cause": "The stream is followed, so that copies would undo newer changes. Disable the"
            " event source mapping first, and enable it when all shares are copied.",
        },
    }


def _role(one: Consumer) -> Json:
    name = names.share_name(one.mirror)
    states = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    told: list[Json] = [
        {
            "Sid": "CopyShares",
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": {"Fn::GetAtt": [f"{one.id}ShareFunction", "Arn"]},
        },
        {
            "Sid": "StartAnExecutionForEach",
            "Effect": "Allow",
            "Action": "states:StartExecution",
            "Resource": {"Fn::Sub": f"{states}:stateMachine:{name}"},
        },
        {
            "Sid": "WaitForThem",
            "Effect": "Allow",
            "Action": ["states:DescribeExecution", "states:StopExecution"],
            "Resource": {"Fn::Sub": f"{states}:execution:{name}/*"},
        },
    ]
    if not one.mirror.copies_beside:
        mappings = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}"
        told.append(
            {
                "Sid": "SeeThatNobodyFollows",
                "Effect": "Allow",
                "Action": "lambda:GetEventSourceMapping",
                "Resource": {"Fn::Sub": f"{mappings}:event-source-mapping:${{{one.id}Mapping}}"},
            }
        )
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "Description": f"What copies {one.mirror.title} in shares may do.",
            "AssumeRolePolicyDocument": assumed_by({"Service": "states.amazonaws.com"}),
            "Policies": policy("shares", told),
            "Tags": tags(one.mirror.name),
        },
    }
