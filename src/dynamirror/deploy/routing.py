"""A route as Route 53 and CloudWatch are to have it: health checks, alarms, records.

A region answers for a name while its endpoint does and while no mirror that writes to it is too far
behind. What a silent metric means is thought through in docs/aws.md, 'When nothing is heard'.

Pure: nothing here asks AWS. Sources: Amazon Route 53 API Reference, 'HealthCheckConfig',
'ResourceRecordSet'; Developer Guide, 'How Amazon Route 53 determines whether a health check is
healthy', 'Monitoring CloudWatch alarms'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dynamirror.config.model import Config, Mirror
from dynamirror.config.relations import account_of
from dynamirror.config.routes import EVERYWHERE, Endpoint, Kind, Route, Silence
from dynamirror.deploy import names
from dynamirror.deploy.grants import Json
from dynamirror.deploy.stacks import partition_of
from dynamirror.deploy.watch import BEHIND
from dynamirror.errors import ConfigError

REQUEST_INTERVAL_S = 30
FAILURE_THRESHOLD = 3
"""Both Route 53's defaults: an endpoint is ill after a minute and a half."""

LAG_PERIOD_S = 60
LAG_PERIODS = 3
"""Behind for so many minutes: one late batch is none."""

SILENT = {Silence.LAST: "LastKnownStatus", Silence.HEALTHY: "Healthy"}

CHILDREN_MAX = 255
"""Of a calculated check (Developer Guide, 'Values that you specify')."""

CHANGEABLE = (
    *("FullyQualifiedDomainName", "ResourcePath", "FailureThreshold", "Port"),
    *("AlarmIdentifier", "InsufficientDataHealthStatus", "HealthThreshold", "ChildHealthChecks"),
)
"""What a configuration can change of a health check of ours; all else is as it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that rings while a mirror is too far behind; nobody is called by it."""

    region: str
    name: str
    link: str
    settings: Json
    """As PutMetricAlarm and CloudFormation have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A health check."""

    name: str
    """What it is, unique in its route: ``us-east-1``, ``us-east-1 endpoint``, ``lag of LINK``."""
    settings: Json
    """As the API has them, but for the children's ids."""
    children: tuple[str, ...] = ()
    """The names of the checks that all must be healthy."""

    @property
    def told(self) -> str:
        """What it looks at, in words."""
        match self.settings["Type"]:
            case "HTTPS":
                where = self.settings["FullyQualifiedDomainName"]
                return f"https://{where}{self.settings['ResourcePath']}"
            case "CLOUDWATCH_METRIC":
                alarm = self.settings["AlarmIdentifier"]
                silent = self.settings["InsufficientDataHealthStatus"]
                return f"alarm {alarm['Name']} of {alarm['Region']}; silent: {silent}"
        return "all of: " + ", ".join(self.children)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One of the records of the route's name."""

    settings: Json
    """As the API has them, but for the health check's id."""
    check: str
    """The name of its health check."""

    @property
    def identity(self) -> str:
        """What tells it from the others of its name."""
        told: str = self.settings["SetIdentifier"]
        return told

    @property
    def told(self) -> str:
        """What it answers to whom, in words."""
        alias = self.settings.get("AliasTarget")
        answer = alias["DNSName"] if alias else self.settings["ResourceRecords"][0]["Value"]
        whom = self.settings.get("Region") or "/".join(self.settings["GeoLocation"].values())
        ttl = f", {self.settings['TTL']} s" if "TTL" in self.settings else ""
        return f"{self.settings['Type']} {answer} for {whom}{ttl}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """All that a route needs, each after what it needs itself."""

    route: Route
    alarms: tuple[Alarm, ...]
    checks: tuple[Check, ...]
    records: tuple[Record, ...]

    regions: tuple[str, ...]
    """Where alarms of it may be, though they may not be needed any more."""

    @property
    def prefix(self) -> str:
        """The beginning of the caller references of this route's health checks."""
        return f"dynamirror-{_identity(self.route)}-"

    @property
    def alarm_suffix(self) -> str:
        """The end of the names of this route's alarms."""
        return _suffix(self.route)


def digest(name: str) -> str:
    """Return what stands for a check's name in its caller reference, which has 64 characters."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _identity(route: Route) -> str:
    """Return what is the same for a route whatever its name and settings."""
    return digest(f"{route.hosted_zone_id}/{route.domain}")


def _suffix(route: Route) -> str:
    return f"-route-{_identity(route)}"


def routing_of(route: Route, config: Config, home: str = "") -> Routing:
    """Return what a route needs. ``home``: the account of whoever deploys, where it is known.

    Raises ConfigError where a mirror's lag can't be watched from there.
    """
    watched = [
        mirror
        for mirror in sorted(config.mirrors, key=lambda one: one.link)
        if route.max_lag_seconds and (not route.mirrors or mirror.name in route.mirrors)
    ]
    regions = {one.region for one in route.endpoints}
    needed = [one for one in watched if _written_by(one) & regions]
    _require_watchable(route, needed, home)
    alarms = tuple(_alarm(route, mirror) for mirror in needed)
    lags = tuple(_lag_check(route, alarm) for alarm in alarms)
    checks: list[Check] = []
    records: list[Record] = []
    for one in route.endpoints:
        mine = [
            lag.name
            for lag, mirror in zip(lags, needed, strict=True)
            if one.region in _written_by(mirror)
        ]
        made = list(_checks(route, one, mine))
        checks += made
        records += _records(route, one, made[-1].name)
    return Routing(
        route=route,
        alarms=alarms,
        checks=(*lags, *checks),
        records=tuple(records),
        regions=tuple(sorted({mirror.source.region for mirror in config.mirrors})),
    )


def _written_by(mirror: Mirror) -> set[str]:
    return {target.region for target in mirror.targets}


def _require_watchable(route: Route, mirrors: Sequence[Mirror], home: str) -> None:
    for mirror in mirrors:
        account = account_of(mirror.source) or home
        if home and account != home:
            raise ConfigError(
                f"route {route.name}: the mirror {mirror.title} runs in account {account}, and a"
                " health check can't follow an alarm of another account: name others in mirrors,"
                " or set max_lag_seconds = 0"
            )
        if partition_of(mirror.source) != "aws":
            raise ConfigError(
                f"route {route.name}: {mirror.source.region} is in a partition of AWS whose alarms"
                " Route 53's public health checks don't know: name other mirrors, or set"
                " max_lag_seconds = 0"
            )
    if len(mirrors) >= CHILDREN_MAX:
        raise ConfigError(
            f"route {route.name}: a calculated health check has at most {CHILDREN_MAX} others:"
            " name fewer mirrors"
        )


def _alarm(route: Route, mirror: Mirror) -> Alarm:
    """Return the alarm of one link. Route 53 looks at its metric and bounds, not at its state."""
    name = f"{names.function_name(mirror)}{_suffix(route)}"
    return Alarm(
        region=mirror.source.region,
        name=name,
        link=mirror.link,
        settings={
            "AlarmName": name,
            "AlarmDescription": f"{mirror.title} is more than {route.max_lag_seconds} s behind:"
            f" {route.domain} leads to other regions. Next: `dynamirror status CONFIG`.",
            "Namespace": "AWS/Lambda",
            "MetricName": BEHIND.name,
            "Dimensions": [{"Name": "FunctionName", "Value": names.function_name(mirror)}],
            "Statistic": BEHIND.statistic,
            "Period": LAG_PERIOD_S,
            "EvaluationPeriods": LAG_PERIODS,
            "Threshold": route.max_lag_seconds * 1_000,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "missing",
            "ActionsEnabled": False,
        },
    )


def _lag_check(route: Route, alarm: Alarm) -> Check:
    return Check(
        name=f"lag of {alarm.link}",
        settings={
            "Type": "CLOUDWATCH_METRIC",
            "AlarmIdentifier": {"Region": alarm.region, "Name": alarm.name},
            "InsufficientDataHealthStatus": SILENT[route.on_silence],
        },
    )


def _checks(route: Route, one: Endpoint, lags: Sequence[str]) -> Iterator[Check]:
    """Yield the checks of a region, the one that decides last."""
    endpoint = Check(
        name=f"{one.region} endpoint",
        settings={
            "Type": "HTTPS",
            "FullyQualifiedDomainName": one.host,
            "Port": 443,
            "ResourcePath": route.health_path,
            "RequestInterval": REQUEST_INTERVAL_S,
            "FailureThreshold": FAILURE_THRESHOLD,
            "MeasureLatency": False,
            "EnableSNI": True,
        },
    )
    yield endpoint
    if lags:
        children = (endpoint.name, *lags)
        yield Check(
            name=one.region,
            settings={"Type": "CALCULATED", "HealthThreshold": len(children)},
            children=children,
        )


def _records(route: Route, one: Endpoint, check: str) -> Iterator[Record]:
    answer: Json = {
        "Type": "CNAME",
        "TTL": route.ttl,
        "ResourceRecords": [{"Value": one.host}],
    }
    if one.alias_zone_id:
        target = {
            "HostedZoneId": one.alias_zone_id,
            "DNSName": f"{one.host}.",
            "EvaluateTargetHealth": False,  # the health check looks at more
        }
        answer = {"Type": "A", "AliasTarget": target}
    places: list[tuple[str, Json]] = [("", {"Region": one.region})]
    if route.kind is Kind.GEOLOCATION:
        places = [(f" {place}", {"GeoLocation": _geo(place)}) for place in one.locations]
    for suffix, where in places:
        settings = {
            "Name": f"{route.domain}.",
            **answer,
            "SetIdentifier": f"dynamirror {one.region}{suffix}",
            **where,
        }
        yield Record(settings=settings, check=check)


def _geo(place: str) -> Json:
    if place == EVERYWHERE:
        return {"CountryCode": "*"}
    kind, code, *state = place.split("/")
    if kind == "continent":
        return {"ContinentCode": code}
    return {"CountryCode": code, **({"SubdivisionCode": state[0]} if state else {})}
