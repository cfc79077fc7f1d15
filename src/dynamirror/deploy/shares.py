"""What copies and compares large tables in shares: a state machine that starts a function for each.

A share of a backfill goes on where it stood when its function ran out of time, so that it may take
longer than a function's 15 minutes. With guards ``order`` and ``item`` nothing may follow the
stream while it is copied: the state machine looks, and refuses. An execution fails where the
command would end with another status than 0. Sources: AWS Step Functions Developer Guide, 'Using
Map state in Distributed mode', 'AWS SDK service integrations'.
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
"""The first state of a copy that nothing may follow the stream beside."""

AT_ONCE = 40
"""Shares at work at the same time."""

AGAIN_MAX = 1_000
"""Invocations of one share: ten days."""


def resources(one: Consumer, *, python: str, architecture: str) -> Iterator[tuple[str, Json]]:
    """Yield them, by their logical ids."""
    copier = function(one, python=python, architecture=architecture)
    copier["Properties"] |= {
        "FunctionName": names.share_name(one.mirror),
        "Description": f"dynamirror: copies or compares a share of {one.mirror.title}",
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
    begin = "Count" if one.mirror.copies_beside else BEGIN
    what = {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.do", "StringEquals": "verify", "Next": "Count"},
            {"Variable": "$.do", "StringEquals": "backfill", "Next": begin},
        ],
        "Default": "Unknown",
    }
    unknown = {
        "Type": "Fail",
        "Error": "Unknown",
        "Cause": 'The input is {"do": "backfill", "shares": N} or {"do": "verify", "shares": N}.',
    }
    count = {
        "Type": "Pass",
        "Parameters": {
            "do.$": "$.do",
            "shares.$": "$.shares",
            "numbers.$": "States.ArrayRange(1, $.shares, 1)",
        },
        "Next": "Shares",
    }
    every = {
        "Type": "Map",
        "ItemsPath": "$.numbers",
        "ItemSelector": {
            "do.$": "$.do",
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
        "ResultPath": "$.results",
        "Next": "Conclude",
    }
    states = {"Count": count, "Shares": every, "Conclude": _conclude(one), **_ENDS}
    looking = {} if one.mirror.copies_beside else _looking(one)
    return {"StartAt": "What", "States": {"What": what, "Unknown": unknown, **looking, **states}}


def _share(one: Consumer) -> Json:
    return {
        **_invoked(),
        "Parameters": {"FunctionName": f"${{{one.id}ShareFunction.Arn}}", "Payload.$": "$"},
        "Retry": [
            {"ErrorEquals": ["TooLargeError", "ConfigError"], "MaxAttempts": 0},
            {
                "ErrorEquals": ["UnfinishedError", "Lambda.TooManyRequestsException"],
                "IntervalSeconds": 5,
                "BackoffRate": 1,
                "MaxAttempts": AGAIN_MAX,
            },
            AFTER_A_FAULT,
        ],
        "End": True,
    }


def _conclude(one: Consumer) -> Json:
    payload = {
        "do": "conclude",
        "of.$": "$.do",
        "link": one.mirror.link,
        "shares.$": "$.shares",
        "results.$": "$.results",
    }
    return {
        **_invoked(),
        "Parameters": {"FunctionName": f"${{{one.id}ShareFunction.Arn}}", "Payload": payload},
        "Retry": [AFTER_A_FAULT],
        "Next": "Exit",
    }


def _invoked() -> Json:
    return {
        "Type": "Task",
        "Resource": "arn:${AWS::Partition}:states:::lambda:invoke",
        "OutputPath": "$.Payload",
    }


AFTER_A_FAULT: Json = {
    "ErrorEquals": ["States.ALL"],
    "IntervalSeconds": 30,
    "BackoffRate": 2,
    "MaxAttempts": 3,
}


_ENDS: Json = {
    "Exit": {
        "Type": "Choice",
        "Choices": [{"Variable": "$.exit", "NumericEquals": 0, "Next": "Done"}],
        "Default": "Finding",
    },
    "Done": {"Type": "Succeed"},
    "Finding": {"Type": "Fail", "Error": "Finding", "CausePath": "$.finding"},
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
            "Sid": "StartTheFunction",
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
            "Description": f"What starts the shares of {one.mirror.title} may do.",
            "AssumeRolePolicyDocument": assumed_by({"Service": "states.amazonaws.com"}),
            "Policies": policy("shares", told),
            "Tags": tags(one.mirror.name),
        },
    }
