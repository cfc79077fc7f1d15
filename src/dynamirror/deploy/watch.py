"""What somebody must be told of a mirror on AWS, and the picture of how it runs.

An alarm's description says what to do. Missing data is no trouble: a table that nobody writes has
nothing to mirror. Sources: AWS Lambda Developer Guide, 'Types of metrics for Lambda functions'
and 'Event source mapping metrics'; Amazon CloudWatch User Guide, 'Dashboard body structure'.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dynamirror.config.model import Mirror, OnPoison, Side
from dynamirror.deploy.grants import Json
from dynamirror.deploy.stacks import Consumer
from dynamirror.observe.emf import DIMENSIONS, NAMESPACE

BEHIND_MS = 6 * 60 * 60 * 1_000
"""A quarter of the 24 hours for which a stream keeps a change."""

PERIOD_S = 300
HIGH = 6
"""Height of a dashboard's graph, of 24 across."""
WIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of a consumer, whose rise somebody must see."""

    id: str
    """The end of its alarm's logical id."""
    name: str
    of_mapping: bool = False
    """Whether it is the event source mapping's; else the function's."""
    ours: bool = False
    """Whether the function writes it itself."""
    statistic: str = "Sum"
    above: int = 0
    what: str
    remedy: str


BEHIND = Metric(
    id="Behind",
    name="IteratorAge",
    statistic="Maximum",
    above=BEHIND_MS,
    what="the mirror is more than 6 of the stream's 24 hours behind; what is older is lost",
    remedy="look for errors and throttles in the function's log, and raise the target's capacity",
)
ERRORS = Metric(
    id="Errors",
    name="Errors",
    what="the function fails, and its shard waits",
    remedy="read the error and its hint in the function's log",
)
THROTTLES = Metric(
    id="Throttled",
    name="Throttles",
    what="Lambda refuses invocations: the account's concurrency is used up",
    remedy="raise the account's concurrency quota, or take some from other functions",
)
UNDELIVERED = Metric(
    id="DeadLettersLost",
    name="DestinationDeliveryFailures",
    what="a batch that could not be applied could not be kept either: its changes are lost",
    remedy="look whether the bucket is there and the role may write it; then"
    " `dynamirror verify CONFIG --repair --yes`",
)
DEAD_LETTERS = Metric(
    id="DeadLetters",
    name="OnFailureDestinationDeliveredEventCount",
    of_mapping=True,
    what="changes could not be applied for 23 hours and were put into the bucket",
    remedy="mend the cause, then `dynamirror redrive CONFIG --from-s3 s3://BUCKET`, with the bucket"
    " that the stack's output FailedBatches names",
)
PARKED = Metric(
    id="Parked",
    name="ParkedChanges",
    ours=True,
    what="a change can't be applied as it is, and was parked",
    remedy="`dynamirror status CONFIG` names the keys; mend the cause, then"
    " `dynamirror redrive CONFIG`",
)
CONFLICTS = Metric(
    id="Conflicts",
    name="Conflicts",
    ours=True,
    what="writes of several replicas met, and some lost",
    remedy="`dynamirror conflicts CONFIG` lists them, or brings one back",
)


def metrics(mirror: Mirror) -> Iterator[Metric]:
    """Yield what is watched of a mirror's consumer."""
    yield from (BEHIND, ERRORS, THROTTLES, DEAD_LETTERS, UNDELIVERED)
    if mirror.on_poison is OnPoison.PARK:
        yield PARKED
    if isinstance(mirror, Side):
        yield CONFLICTS


def alarm(consumer: Consumer, metric: Metric) -> Json:
    """Return the alarm that a metric of a consumer is above its bound."""
    namespace, dimensions = _source(consumer, metric)
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{consumer.function}-{metric.id}",
            "AlarmDescription": f"{consumer.mirror.title}: {metric.what}. Next: {metric.remedy}.",
            "Namespace": namespace,
            "MetricName": metric.name,
            "Dimensions": [
                {"Name": name, "Value": {"Fn::Sub": value} if "${" in value else value}
                for name, value in dimensions.items()
            ],
            "Statistic": metric.statistic,
            "Period": PERIOD_S,
            "EvaluationPeriods": 1,
            "Threshold": metric.above,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": {
                "Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]
            },
            "Tags": [{"Key": "dynamirror", "Value": consumer.mirror.name}],
        },
    }


def dashboard(name: str, consumers: Sequence[Consumer]) -> Json:
    """Return the dashboard of a region: a row of graphs for each consumer."""
    widgets = [widget for row, one in enumerate(consumers) for widget in _row(one, top=row * HIGH)]
    body = json.dumps({"widgets": widgets}, separators=(",", ":"))
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {
            "DashboardName": {"Fn::Sub": f"{name}-${{AWS::Region}}"},
            "DashboardBody": {"Fn::Sub": body},
        },
    }


def _row(consumer: Consumer, *, top: int) -> Iterator[Json]:
    watched = list(metrics(consumer.mirror))
    whose = consumer.mirror.title
    troubles = [one for one in watched if one not in (BEHIND, ERRORS, THROTTLES)]
    yield _graph(f"{whose}: how far behind, ms", [_line(consumer, BEHIND)], 0, top)
    does = [_invocations(consumer), *(_line(consumer, one) for one in (ERRORS, THROTTLES))]
    yield _graph(f"{whose}: the function", does, WIDE, top)
    what = [_line(consumer, one) for one in troubles]
    yield _graph(f"{whose}: what wants somebody to look", what, 2 * WIDE, top)


def _graph(title: str, lines: list[list[object]], left: int, top: int) -> Json:
    return {
        "type": "metric",
        "x": left,
        "y": top,
        "width": WIDE,
        "height": HIGH,
        "properties": {
            "title": title,
            "region": "${AWS::Region}",
            "period": PERIOD_S,
            "metrics": lines,
        },
    }


def _line(consumer: Consumer, metric: Metric) -> list[object]:
    namespace, dimensions = _source(consumer, metric)
    named = [word for dimension in dimensions.items() for word in dimension]
    return [namespace, metric.name, *named, {"stat": metric.statistic}]


def _invocations(consumer: Consumer) -> list[object]:
    return ["AWS/Lambda", "Invocations", "FunctionName", consumer.function, {"stat": "Sum"}]


def _source(consumer: Consumer, metric: Metric) -> tuple[str, dict[str, str]]:
    """Return a metric's namespace, and its dimensions with their values, as Fn::Sub reads them."""
    if metric.ours:
        values = (consumer.mirror.name, consumer.mirror.link)
        return NAMESPACE, dict(zip(DIMENSIONS, values, strict=True))
    if metric.of_mapping:
        return "AWS/Lambda", {"EventSourceMappingUUID": f"${{{consumer.id}Mapping.Id}}"}
    return "AWS/Lambda", {"FunctionName": consumer.function}
