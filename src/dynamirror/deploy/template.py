"""One stack's template: CloudFormation's JSON, the same text for the same configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from dynamirror.config.problems import bare
from dynamirror.deploy import names, resources, roles, shares, watch
from dynamirror.deploy.grants import Json
from dynamirror.deploy.stacks import Consumer, Stack

PYTHON = "3.14"
"""Lambda's newest (AWS Lambda Developer Guide, 'Lambda runtimes')."""

ARCHITECTURE = "arm64"
"""A fifth cheaper than x86_64, at the same speed or better (AWS pricing page 'AWS Lambda')."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What functions run on."""

    python: str = PYTHON
    architecture: str = ARCHITECTURE


def template(stack: Stack, runtime: Runtime) -> Json:
    """Return a stack's template."""
    what = ", ".join(dict.fromkeys(one.mirror.title for one in stack.consumers))
    told = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"dynamirror in {stack.site.region}: {what or 'what mirrors write here'}",
        "Parameters": dict(_parameters(stack)),
        "Conditions": dict(_conditions(stack)),
        "Resources": dict(_resources(stack, runtime)),
        "Outputs": dict(_outputs(stack)),
    }
    return {name: part for name, part in told.items() if part}


def text(made: Json) -> str:
    """Return a template as it is written to a file."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _parameters(stack: Stack) -> Iterator[tuple[str, Json]]:
    if stack.consumers:
        yield "CodeBucket", _text("The bucket with the functions' code, in this region")
        yield "CodeKey", _text("The key of the zip that `dynamirror package` made")
        yield "AlarmTopic", _text("ARN of an SNS topic that alarms go to; empty: none", "")
        yield (
            "KeyArns",
            _text("ARNs of the KMS keys of the mirrored tables, with commas; empty: none", "")
            | {"Type": "CommaDelimitedList"},
        )
    for one in stack.consumers:
        table = one.mirror.source.table
        yield f"{one.id}StreamArn", _text(f"ARN of the stream of {bare(table)}")
        yield f"{one.id}Enabled", _choice(f"Whether {one.mirror.title} is mirrored", "false")
    for name in sorted({name for one in stack.consumers for name in one.secrets}):
        told = f"The secret of {name}, by which values are masked"
        yield names.secret_id(name), {**_text(told), "NoEcho": True}
    for ours in stack.tables:
        table = bare(ours.place.table)
        yield f"{names.table_id(table)}Exists", _choice(f"Whether {table} is there", "false")
    for writer in stack.writers:
        what = f"Whether the role {writer.name} is there"
        yield f"{names.logical(writer.name)}Exists", _choice(what, "false")
        if any(not site.account for site, _ in writer.callers):
            yield "MirrorAccount", _text("The account of the mirrors' functions")


def _text(what: str, default: str | None = None) -> Json:
    told = {"Type": "String", "Description": what}
    return told if default is None else {**told, "Default": default}


def _choice(what: str, default: str) -> Json:
    return {**_text(what, default), "AllowedValues": ["true", "false"]}


def _conditions(stack: Stack) -> Iterator[tuple[str, Json]]:
    if stack.consumers:
        yield "HasAlarmTopic", _is_not({"Ref": "AlarmTopic"}, "")
        yield "HasKeys", _is_not({"Fn::Join": ["", {"Ref": "KeyArns"}]}, "")
    for one in stack.consumers:
        yield f"{one.id}Follows", {"Fn::Equals": [{"Ref": f"{one.id}Enabled"}, "true"]}
    ids = [names.table_id(ours.place.table) for ours in stack.tables]
    ids += [names.logical(writer.name) for writer in stack.writers]
    for each in ids:
        yield f"{each}Missing", _is_not({"Ref": f"{each}Exists"}, "true")


def _is_not(value: Json, other: str) -> Json:
    return {"Fn::Not": [{"Fn::Equals": [value, other]}]}


def _resources(stack: Stack, runtime: Runtime) -> Iterator[tuple[str, Json]]:
    for ours in stack.tables:
        yield names.table_id(ours.place.table), resources.table(ours)
    for writer in stack.writers:
        yield names.logical(writer.name), roles.writer(writer, stack)
    if stack.consumers:
        yield resources.FAILURES, resources.failures(stack)
    for one in stack.consumers:
        yield from _consumer(one, stack, runtime)
    if stack.consumers:
        yield "Dashboard", watch.dashboard(stack.name, stack.consumers)


def _consumer(one: Consumer, stack: Stack, runtime: Runtime) -> Iterator[tuple[str, Json]]:
    yield f"{one.id}Role", roles.role(one, stack)
    yield f"{one.id}Log", resources.log_group(one)
    yield (
        f"{one.id}Function",
        resources.function(one, python=runtime.python, architecture=runtime.architecture),
    )
    yield f"{one.id}Mapping", resources.mapping(one)
    if stack.shares:
        yield from shares.resources(one, python=runtime.python, architecture=runtime.architecture)
    for metric in watch.metrics(one.mirror):
        yield f"{one.id}{metric.id}Alarm", watch.alarm(one, metric)


def _outputs(stack: Stack) -> Iterator[tuple[str, Json]]:
    if stack.consumers:
        what = "Batches that could not be applied; `dynamirror redrive` reads them"
        yield "FailedBatches", {"Description": what, "Value": {"Ref": resources.FAILURES}}
    for one in stack.consumers:
        yield f"{one.id}Mapping", {"Value": {"Ref": f"{one.id}Mapping"}}
