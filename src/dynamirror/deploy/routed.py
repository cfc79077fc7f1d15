"""What there is of a route in Route 53 and CloudWatch.

Source: Amazon Route 53 API Reference, 'ListHealthChecks', 'ListResourceRecordSets'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynamirror.deploy.grants import Json
from dynamirror.deploy.routing import Routing
from dynamirror.errors import DynamirrorError, ServiceError
from dynamirror.ports import ControlPlane

HOME_OF_ROUTE_53 = "us-east-1"

Control = Callable[[str], ControlPlane]
"""AWS's other services in a region."""


class RouteError(DynamirrorError):
    """A route can't be made as things are."""

    hint = "Mend what is named above, then run `dynamirror route CONFIG` again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A health check that is there."""

    id: str
    version: int
    settings: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What there is of a route."""

    checks: Mapping[str, Known]
    """By the digests of their names."""
    records: Mapping[str, Json]
    """Ours, by their set identifiers."""
    alarms: Mapping[tuple[str, str], Json]
    """By region and name: those that the route needs."""


class Looker:
    """Looks at what there is of one route; changes nothing."""

    def __init__(self, routing: Routing, control: Control) -> None:
        self._routing = routing
        self._control = control

    async def survey(self, *, alone: bool) -> Survey:
        """Return all of it. Raises RouteError; see ``records``."""
        return Survey(
            checks=await self.checks(),
            records=await self.records(alone=alone),
            alarms=await self.alarms(),
        )

    async def zone(self) -> str:
        """Return the zone's name. Raises RouteError where there is none."""
        zone_id = self._routing.route.hosted_zone_id
        try:
            told = await self._call("GetHostedZone", Id=zone_id)
        except ServiceError as error:
            if error.code != "NoSuchHostedZone":
                raise
            raise RouteError(f"there is no hosted zone {zone_id} in this account") from error
        name: str = told["HostedZone"]["Name"]
        return name.rstrip(".")

    async def checks(self) -> dict[str, Known]:
        """Return the health checks of this route, by the digests of their names."""
        found: dict[str, Known] = {}
        more: dict[str, Any] = {}
        prefix = self._routing.prefix
        while True:
            page = await self._call("ListHealthChecks", **more)
            for each in page["HealthChecks"]:
                reference = each["CallerReference"]
                if reference.startswith(prefix):
                    found[reference.removeprefix(prefix).partition("-")[0]] = Known(
                        id=each["Id"],
                        version=each["HealthCheckVersion"],
                        settings=each["HealthCheckConfig"],
                    )
            if not page["IsTruncated"]:
                return found
            more = {"Marker": page["NextMarker"]}

    async def records(self, *, alone: bool) -> dict[str, Json]:
        """Return the name's records of ours, by their set identifiers.

        Raises RouteError for one that isn't, where ours must be ``alone``.
        """
        route = self._routing.route
        name, found = f"{route.domain}.", dict[str, Json]()
        more: dict[str, Any] = {"StartRecordName": name}
        while True:
            page = await self._call(
                "ListResourceRecordSets", HostedZoneId=route.hosted_zone_id, **more
            )
            for each in page["ResourceRecordSets"]:
                if each["Name"] != name:
                    return found
                if each.get("SetIdentifier", "").startswith("dynamirror "):
                    found[each["SetIdentifier"]] = each
                elif alone and each["Type"] in ("A", "AAAA", "CNAME"):
                    raise RouteError(
                        f"{route.domain} has a record of its own, {record_told(each)}, and one"
                        " name can't be routed in two ways: delete it, or route another name"
                    )
            if not page["IsTruncated"]:
                return found
            more = {
                f"Start{name}": page[f"Next{name}"]
                for name in ("RecordName", "RecordType", "RecordIdentifier")
                if f"Next{name}" in page
            }

    async def alarms(self) -> dict[tuple[str, str], Json]:
        """Return the alarms of this route, by region and name: where any mirror has its stream."""
        found: dict[tuple[str, str], Json] = {}
        for region in self._routing.regions:
            more: dict[str, Any] = {"AlarmNamePrefix": "dynamirror-"}
            while True:
                page = await self._control(region).call("cloudwatch", "DescribeAlarms", **more)
                for each in page.get("MetricAlarms", ()):
                    if each["AlarmName"].endswith(self._routing.alarm_suffix):
                        found[region, each["AlarmName"]] = each
                if not page.get("NextToken"):
                    break
                more = {**more, "NextToken": page["NextToken"]}
        return found

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._control(HOME_OF_ROUTE_53).call("route53", operation, **parameters)


def record_told(settings: Json) -> str:
    """Return what a record answers, in words."""
    alias: Sequence[str] = [settings["AliasTarget"]["DNSName"]] if "AliasTarget" in settings else []
    values = [*alias, *(each["Value"] for each in settings.get("ResourceRecords", ()))]
    ttl = f", {settings['TTL']} s" if "TTL" in settings else ""
    return f"{settings['Type']} {' '.join(values)}{ttl}"
