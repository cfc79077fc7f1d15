"""Route 53's answers, by its rules: a client, records and health checks in, a name out.

Rules, of the Amazon Route 53 Developer Guide: 'Choosing a routing policy' (latency: the region of
the least latency; geolocation: the smallest place that has the client, then larger ones, then the
default, or nothing), 'How Amazon Route 53 chooses records when health checking is configured' (of
the healthy; if none is, of all), 'How Amazon Route 53 determines whether a health check is healthy'
(a calculated one: as many children as its threshold).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Client:
    """Somebody who asks."""

    latencies: Mapping[str, int] = field(default_factory=dict)
    country: str | None = None
    state: str | None = None
    continent: str | None = None


class Zone:
    """Records of one name, and the health checks that they have."""

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        checks: Mapping[str, dict[str, Any]],
        ill: Collection[str] = (),
    ) -> None:
        """``ill``: hosts that don't answer, and what alarms ring for: words of their names."""
        self._records = records
        self._checks = checks
        self._ill = ill

    def healthy(self, name: str) -> bool:
        check = self._checks[name]
        match check["Type"]:
            case "HTTPS":
                return check["FullyQualifiedDomainName"] not in self._ill
            case "CLOUDWATCH_METRIC":
                alarm = check["AlarmIdentifier"]["Name"]
                return not any(word.replace("/", "-") in alarm for word in self._ill)
            case "CALCULATED":
                well = [child for child in check["ChildHealthChecks"] if self.healthy(child)]
                return len(well) >= int(check["HealthThreshold"])
        raise AssertionError(check)

    def answer(self, client: Client) -> str | None:
        """Return the name that the client is led to."""
        well = [one for one in self._records if self.healthy(one["HealthCheckId"])]
        for records in (well, self._records):  # where all are ill, all count as well
            found = self._chosen(client, records)
            if found is not None:
                return found
        return None

    def _chosen(self, client: Client, records: Sequence[dict[str, Any]]) -> str | None:
        near = [one for one in records if "Region" in one]
        if near:
            return _value(min(near, key=lambda one: client.latencies[one["Region"]]))
        places: list[dict[str, Any]] = [
            {"CountryCode": client.country, "SubdivisionCode": client.state},
            {"CountryCode": client.country},
            {"ContinentCode": client.continent},
            {"CountryCode": "*"},
        ]
        for place in places:
            for one in records:
                if one.get("GeoLocation") == place:
                    return _value(one)
        return None


def _value(record: dict[str, Any]) -> str:
    if "AliasTarget" in record:
        return str(record["AliasTarget"]["DNSName"]).rstrip(".")
    (value,) = record["ResourceRecords"]
    return str(value["Value"])
