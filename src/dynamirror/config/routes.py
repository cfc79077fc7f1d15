"""Routes: the name by which an application is found in whatever region is near and well.

Only the commands about AWS read these: a function's own configuration has none.
Sources: Amazon Route 53 Developer Guide, 'Values specific for latency records', 'Values specific
for geolocation records'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dynamirror.config import problems
from dynamirror.config.places import Read, fields_of
from dynamirror.config.problems import Problem, UnfitError, join

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from dynamirror.config.problems import Parser

EVERYWHERE = "*"
"""The location of whoever is in none that is named."""

TTL_S_MAX = 172_800  # Route 53 API, 'ResourceRecordSet'
LAG_S_MIN = 60  # an alarm's shortest period on metrics of Lambda
LAG_S_MAX = 86_400  # what a stream keeps
PATH_CHARACTERS_MAX = 255  # Route 53 API, 'HealthCheckConfig'

_HOST = r"(?=.{4,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
_LOCATION = r"\*|continent/(AF|AN|AS|EU|NA|OC|SA)|country/[A-Z]{2}(?<!US)|country/US(/[A-Z]{2})?"


class Kind(StrEnum):
    """By what an answer is chosen."""

    LATENCY = "latency"
    GEOLOCATION = "geolocation"


class Silence(StrEnum):
    """How a mirror counts of which nothing is heard."""

    LAST = "last"
    """As it did when something was heard last."""
    HEALTHY = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the application answers in one region."""

    region: str
    host: str
    locations: tuple[str, ...] = ()
    """Geolocation: whom it answers, ``*``, ``continent/EU``, ``country/DE``, ``country/US/CA``."""
    alias_zone_id: str | None = None
    """Of an AWS resource's own name: then it is an alias, which may stand at a zone's top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One name that leads to several regions."""

    name: str
    domain: str
    hosted_zone_id: str
    endpoints: tuple[Endpoint, ...]
    kind: Kind = Kind.LATENCY
    health_path: str = "/health"
    ttl: int = 60
    """Seconds; the Developer Guide wants 60 or less beside health checks."""
    max_lag_seconds: int = 900
    """A region whose mirror is further behind is taken for ill; 0: nobody looks."""
    on_silence: Silence = Silence.LAST
    mirrors: tuple[str, ...] = ()
    """Whose lag counts; all of the file if none is named."""


def _seconds(least: int, most: int, zero: str = "") -> Parser:
    def parse(value: object) -> int:
        fit = type(value) is int and (least <= value <= most or (zero and value == 0))
        if not fit:
            raise UnfitError(f"write whole seconds from {least} to {most}{zero}")
        return value  # type: ignore[return-value]

    return parse


def _later(value: object) -> object:
    return value


_host = problems.matching(
    _HOST, 'write a host\'s name in small letters, such as "app.example.com", without https://'
)
_zone_id = problems.matching(
    r"[A-Z0-9]{1,32}", 'write a hosted zone\'s id, such as "Z0123456789ABC"'
)

ROUTE: Mapping[str, Parser] = {
    "domain": _host,
    "hosted_zone_id": _zone_id,
    "endpoints": _later,
    "kind": problems.choice(Kind),
    "health_path": problems.matching(
        rf"/[!-~]{{0,{PATH_CHARACTERS_MAX - 1}}}", 'write a path, such as "/health"'
    ),
    "ttl": _seconds(1, TTL_S_MAX),
    "max_lag_seconds": _seconds(LAG_S_MIN, LAG_S_MAX, ", or 0 to let lag out of it"),
    "on_silence": problems.choice(Silence),
    "mirrors": _later,
}

ENDPOINT: Mapping[str, Parser] = {
    "region": problems.region,
    "host": _host,
    "locations": _later,
    "alias_zone_id": _zone_id,
}

NEEDED = {
    "domain": 'say which name is to be routed, such as domain = "app.example.com"',
    "hosted_zone_id": "write the id of the hosted zone that the domain is in",
    "endpoints": 'add endpoints = [{ region = "us-east-1", host = "us.app.example.com" }, ...]',
}

NEEDED_IN_ENDPOINT = {
    "region": 'say which region answers there, such as region = "us-east-1"',
    "host": 'say where it answers, such as host = "us.app.example.com"',
}

ENDPOINTS_MIN = 2


def routes(raw: object, mirrors: Collection[str]) -> Read[tuple[Route, ...]]:
    """Return the routes of a file, which declares these mirrors."""
    if not isinstance(raw, dict):
        yield Problem("routes", raw, "write routes as tables: [routes.NAME]")
        return ()
    found: list[Route] = []
    for name, value in raw.items():
        path = join("routes", name)
        try:
            problems.name(name)
        except UnfitError as unfit:
            yield Problem(path, name, f"the route's name: {unfit}")
        route = yield from _route(name, value, path, mirrors)
        if route is None:
            continue
        for other in found:
            if (other.domain, other.hosted_zone_id) == (route.domain, route.hosted_zone_id):
                remedy = f"the route {other.name} is for this very name; keep one of them"
                yield Problem(f"{path}.domain", route.domain, remedy)
        found.append(route)
    return tuple(found)


def _route(name: str, raw: object, path: str, mirrors: Collection[str]) -> Read[Route | None]:
    if not isinstance(raw, dict):
        yield Problem(path, raw, f"write the route as a table: [{path}]")
        return None
    fields = yield from fields_of(raw, path, ROUTE, NEEDED)
    endpoints = yield from _endpoints(fields.pop("endpoints", None), f"{path}.endpoints")
    if "mirrors" in fields:
        fields["mirrors"] = yield from _mirrors(fields["mirrors"], f"{path}.mirrors", mirrors)
    if endpoints is None or "domain" not in fields or "hosted_zone_id" not in fields:
        return None
    route = Route(name=name, endpoints=endpoints, **fields)
    yield from _contradictions(route, path)
    return route


def _endpoints(raw: object, path: str) -> Read[tuple[Endpoint, ...] | None]:
    if raw is None:
        return None
    if not isinstance(raw, list) or len(raw) < ENDPOINTS_MIN:
        remedy = (
            f"write a list of {ENDPOINTS_MIN} or more, a region each: there is nothing to choose"
        )
        yield Problem(path, raw, remedy)
        return None
    found = []
    for number, value in enumerate(raw):
        at = f"{path}[{number}]"
        if not isinstance(value, dict):
            yield Problem(at, value, 'write a table: { region = "us-east-1", host = "..." }')
            continue
        fields = yield from fields_of(value, at, ENDPOINT, NEEDED_IN_ENDPOINT)
        if "locations" in fields:
            fields["locations"] = yield from _locations(fields["locations"], f"{at}.locations")
        if "region" in fields and "host" in fields:
            found.append(Endpoint(**fields))
    return tuple(found) if len(found) == len(raw) else None


def _locations(raw: object, path: str) -> Read[tuple[str, ...]]:
    if not isinstance(raw, list):
        yield Problem(path, raw, 'write a list, such as ["*", "continent/EU", "country/DE"]')
        return ()
    for each in raw:
        if not isinstance(each, str) or not re.fullmatch(_LOCATION, each):
            remedy = (
                'write "*", "continent/EU", "country/DE", or of the US a state: "country/US/CA"'
            )
            yield Problem(path, each, remedy)
    return tuple(raw)


def _mirrors(raw: object, path: str, known: Collection[str]) -> Read[tuple[str, ...]]:
    if not isinstance(raw, list) or not raw:
        yield Problem(path, raw, "write a list of mirrors' names, or leave it out for all of them")
        return ()
    for each in raw:
        if each not in known:
            yield Problem(path, each, f"no such mirror; there are: {', '.join(known)}")
    return tuple(raw)


def _contradictions(route: Route, path: str) -> Iterator[Problem]:
    """Yield where a route's settings don't go together."""
    for what, values in (
        ("region", [one.region for one in route.endpoints]),
        ("location", [place for one in route.endpoints for place in one.locations]),
    ):
        for value in dict.fromkeys(each for each in values if values.count(each) > 1):
            yield Problem(f"{path}.endpoints", value, f"this {what} is there twice; keep one")
    aliases = [one.alias_zone_id for one in route.endpoints]
    if any(aliases) and not all(aliases):
        remedy = "aliases and other names can't be mixed: give it to all endpoints or to none"
        yield Problem(f"{path}.endpoints", "alias_zone_id", remedy)
    places = [place for one in route.endpoints for place in one.locations]
    if route.kind is Kind.LATENCY and places:
        remedy = 'locations go with kind = "geolocation"; remove them, or change the kind'
        yield Problem(f"{path}.endpoints", places, remedy)
    if route.kind is Kind.GEOLOCATION:
        for number, one in enumerate(route.endpoints):
            if not one.locations:
                remedy = 'say whom it answers, such as locations = ["continent/EU"]'
                yield Problem(f"{path}.endpoints[{number}].locations", problems.MISSING, remedy)
        if EVERYWHERE not in places:
            remedy = (
                'give one endpoint the location "*": without it, whoever is in none of these'
                " places, or in none that is known, gets no answer at all"
            )
            yield Problem(f"{path}.endpoints", places, remedy)


def routes_in(raw: Mapping[str, Any]) -> Read[tuple[Route, ...]]:
    """Return the routes of a whole file."""
    named = raw.get("mirrors")
    known = list(named) if isinstance(named, dict) else []
    return (yield from routes(raw["routes"], known))
