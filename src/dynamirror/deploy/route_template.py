"""A route as CloudFormation templates: one for Route 53, and one for the alarms of each region,
which must be there first.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynamirror.deploy import names
from dynamirror.deploy.grants import Json
from dynamirror.deploy.routing import Check, Record, Routing

VERSION = "2010-09-09"


def route_templates(routing: Routing) -> dict[str, Json]:
    """Return the templates by their files' names."""
    route = routing.route
    told = {}
    for region in sorted({alarm.region for alarm in routing.alarms}):
        alarms = {
            names.logical(alarm.link, "Lag"): {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {**alarm.settings, "Tags": [_tag(route.name)]},
            }
            for alarm in routing.alarms
            if alarm.region == region
        }
        what = f"dynamirror: how far mirrors are behind, for the route {route.name}"
        told[f"route-{route.name}-{region}.json"] = _template(what, alarms)
    resources = dict(_resources(routing))
    told[f"route-{route.name}.json"] = _template(
        f"dynamirror: {route.domain}, by {route.kind}; any region", resources
    )
    return told


def _template(what: str, resources: Json) -> Json:
    return {"AWSTemplateFormatVersion": VERSION, "Description": what, "Resources": resources}


def _resources(routing: Routing) -> Iterator[tuple[str, Json]]:
    for check in routing.checks:
        yield _check_id(check.name), _check(check, routing.route.name)
    for record in routing.records:
        yield (
            names.logical(record.identity.replace("*", "default"), "Record"),
            _record(record, routing.route.hosted_zone_id),
        )


def _check(check: Check, route: str) -> Json:
    children = [{"Ref": _check_id(child)} for child in check.children]
    more = {"ChildHealthChecks": children} if children else {}
    return {
        "Type": "AWS::Route53::HealthCheck",
        "Properties": {
            "HealthCheckConfig": {**check.settings, **more},
            "HealthCheckTags": [
                {"Key": "Name", "Value": f"dynamirror {route}: {check.name}"},
                _tag(route),
            ],
        },
    }


def _record(record: Record, zone: str) -> Json:
    settings = dict(record.settings)
    if "ResourceRecords" in settings:
        settings["ResourceRecords"] = [each["Value"] for each in settings["ResourceRecords"]]
        settings["TTL"] = str(settings["TTL"])
    check = {"HealthCheckId": {"Ref": _check_id(record.check)}}
    properties = {"HostedZoneId": zone, **settings, **check}
    return {"Type": "AWS::Route53::RecordSet", "Properties": properties}


def _check_id(name: str) -> str:
    return names.logical(name, "Check")


def _tag(route: str) -> Json:
    return {"Key": "dynamirror", "Value": f"route {route}"}
