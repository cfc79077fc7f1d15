"""What there is of a route in Route 53 and CloudWatch, what would be done about it, and doing it.

Health checks are known by their caller references, which nobody can change; records by their set
identifiers. Nothing else of the name, the zone or the account is touched.

Order: alarms, health checks, and all records in one change, which Route 53 makes wholly or not at
all; then what is needed no more. So the name always leads to checks that are there, and what was
interrupted is gone on with. Source: Amazon Route 53 API Reference, 'ChangeResourceRecordSets',
'CreateHealthCheck', 'UpdateHealthCheck'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dynamirror.deploy.grants import Json
from dynamirror.deploy.routed import (
    HOME_OF_ROUTE_53,
    Control,
    Known,
    Looker,
    RouteError,
    Survey,
    record_told,
)
from dynamirror.deploy.routing import CHANGEABLE, Alarm, Check, Record, Routing, digest

Nonce = Callable[[], str]
"""Gives texts that were never given before, of at most 16 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that would be done."""

    action: str
    """``Add``, ``Modify`` or ``Remove``."""
    what: str
    """``alarm``, ``health check`` or ``record``."""
    name: str
    told: str


class Router:
    """Plans and makes one route; or, with nothing wanted any more, takes it away."""

    def __init__(self, routing: Routing, control: Control, nonce: Nonce, *, gone: bool) -> None:
        """``gone``: it is to be taken away."""
        self._routing = routing
        self._control = control
        self._looker = Looker(routing, control)
        self._nonce = nonce
        self._found = Survey(checks={}, records={}, alarms={})
        self._alarms = () if gone else routing.alarms
        self._checks = () if gone else routing.checks
        self._records = () if gone else routing.records

    async def survey(self) -> list[Step]:
        """Look at what there is, and return what would be done; nothing is changed.

        Raises RouteError where the zone is another's, or the name has records of somebody else.
        """
        zone = await self._looker.zone()
        domain, kinds = self._routing.route.domain, {one.settings["Type"] for one in self._records}
        if domain != zone and not domain.endswith(f".{zone}"):
            raise RouteError(f"{domain} is not in the hosted zone {zone}: name the zone it is in")
        if domain == zone and "CNAME" in kinds:
            raise RouteError(
                f"{domain} is the top of its zone, where there can be no CNAME: give each endpoint"
                " alias_zone_id, of an AWS resource's own name, or route another name"
            )
        self._found = await self._looker.survey(alone=bool(self._records))
        return list(self._steps())

    async def carry_out(self, tell: Callable[[str], None]) -> None:
        """Do what ``survey`` found to be done, telling of each step when it is done."""
        found = self._found
        renewed = set()
        for alarm in self._alarms:
            if self._differs(alarm):
                await self._cloudwatch(alarm.region, "PutMetricAlarm", **alarm.settings)
                renewed.add(alarm.name)
                tell(f"alarm {alarm.name}")
        ids: dict[str, str] = {}
        for check in self._checks:
            known = found.checks.get(digest(check.name))
            settings = _with_children(check, ids)
            if known is None:
                ids[check.name] = await self._create(check, settings)
                tell(f"health check {check.name}")
                continue
            ids[check.name] = known.id
            follows = settings.get("AlarmIdentifier", {}).get("Name") in renewed
            if follows or _changed(known.settings, settings):
                changed = {name: settings[name] for name in CHANGEABLE if name in settings}
                await self._route_53(
                    "UpdateHealthCheck",
                    HealthCheckId=known.id,
                    HealthCheckVersion=known.version,
                    **changed,
                )
                tell(f"health check {check.name}")
        await self._change_records(ids, tell)
        await self._clear(tell)

    def _steps(self) -> Iterator[Step]:
        for alarm in self._alarms:
            if self._differs(alarm):
                there = (alarm.region, alarm.name) in self._found.alarms
                late = f"{alarm.link} more than {alarm.settings['Threshold']:,} ms behind"
                what = f"{alarm.region}: {late}"
                yield _step(there=there, what="alarm", name=alarm.name, told=what)
        known = self._found.checks
        ids = {
            check.name: known[digest(check.name)].id
            for check in self._checks
            if digest(check.name) in known
        }
        yield from self._steps_of_checks(ids)
        yield from self._steps_of_records(ids)
        for settings in self._obsolete_records():
            name = self._routing.route.domain
            yield Step(action="Remove", what="record", name=name, told=record_told(settings))
        for one in self._obsolete_checks():
            looks_at = one.settings.get("FullyQualifiedDomainName") or one.settings["Type"]
            yield Step(action="Remove", what="health check", name=one.id, told=looks_at)
        for region, name in self._obsolete_alarms():
            yield Step(action="Remove", what="alarm", name=name, told=region)

    def _steps_of_checks(self, ids: Mapping[str, str]) -> Iterator[Step]:
        for check in self._checks:
            known = self._found.checks.get(digest(check.name))
            missing = any(child not in ids for child in check.children)
            if known is None or missing or _changed(known.settings, _with_children(check, ids)):
                there = known is not None
                yield _step(there=there, what="health check", name=check.name, told=check.told)

    def _steps_of_records(self, ids: Mapping[str, str]) -> Iterator[Step]:
        for record in self._records:
            known = self._found.records.get(record.identity)
            if record.check in ids and known == _as_found(record, ids):
                continue
            now = "" if known is None else f" (now {record_told(known)})"
            name = self._routing.route.domain
            yield _step(
                there=known is not None, what="record", name=name, told=f"{record.told}{now}"
            )

    def _obsolete_records(self) -> list[Json]:
        wanted = {one.identity for one in self._records}
        return [one for key, one in self._found.records.items() if key not in wanted]

    def _obsolete_checks(self) -> list[Known]:
        """Return the checks that are needed no more, those first that count on others."""
        wanted = {digest(one.name) for one in self._checks}
        left = [one for key, one in self._found.checks.items() if key not in wanted]
        return sorted(left, key=lambda one: one.settings["Type"] != "CALCULATED")

    def _obsolete_alarms(self) -> list[tuple[str, str]]:
        wanted = {(one.region, one.name) for one in self._alarms}
        return [key for key in self._found.alarms if key not in wanted]

    def _differs(self, alarm: Alarm) -> bool:
        known = self._found.alarms.get((alarm.region, alarm.name))
        return known is None or any(known.get(key) != alarm.settings[key] for key in alarm.settings)

    async def _create(self, check: Check, settings: Json) -> str:
        reference = f"{self._routing.prefix}{digest(check.name)}-{self._nonce()}"
        made = await self._route_53(
            "CreateHealthCheck", CallerReference=reference, HealthCheckConfig=settings
        )
        known: str = made["HealthCheck"]["Id"]
        name = f"dynamirror {self._routing.route.name}: {check.name}"
        await self._route_53(
            "ChangeTagsForResource",
            ResourceType="healthcheck",
            ResourceId=known,
            AddTags=[{"Key": "Name", "Value": name}],
        )
        return known

    async def _change_records(self, ids: Mapping[str, str], tell: Callable[[str], None]) -> None:
        changes = [
            {"Action": "DELETE", "ResourceRecordSet": one} for one in self._obsolete_records()
        ]
        for record in self._records:
            settings = _as_found(record, ids)
            if self._found.records.get(record.identity) != settings:
                changes.append({"Action": "UPSERT", "ResourceRecordSet": settings})
        if changes:
            await self._route_53(
                "ChangeResourceRecordSets",
                HostedZoneId=self._routing.route.hosted_zone_id,
                ChangeBatch={"Comment": "dynamirror route", "Changes": changes},
            )
            tell(f"{len(changes)} records of {self._routing.route.domain}")

    async def _clear(self, tell: Callable[[str], None]) -> None:
        for known in self._obsolete_checks():
            await self._route_53("DeleteHealthCheck", HealthCheckId=known.id)
            tell(f"health check {known.id}: gone")
        for region, name in self._obsolete_alarms():
            await self._cloudwatch(region, "DeleteAlarms", AlarmNames=[name])
            tell(f"alarm {name}: gone")

    async def _route_53(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._control(HOME_OF_ROUTE_53).call("route53", operation, **parameters)

    async def _cloudwatch(self, region: str, operation: str, **more: Any) -> dict[str, Any]:
        return await self._control(region).call("cloudwatch", operation, **more)


def _step(*, there: bool, what: str, name: str, told: str) -> Step:
    return Step(action="Modify" if there else "Add", what=what, name=name, told=told)


def _with_children(check: Check, ids: Mapping[str, str]) -> Json:
    if not check.children:
        return check.settings
    children = sorted(ids[child] for child in check.children if child in ids)
    return {**check.settings, "ChildHealthChecks": children}


def _changed(known: Json, wanted: Json) -> bool:
    return any(_ordered(known.get(name)) != _ordered(wanted.get(name)) for name in CHANGEABLE)


def _ordered(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _as_found(record: Record, ids: Mapping[str, str]) -> Json:
    return {**record.settings, "HealthCheckId": ids[record.check]}
