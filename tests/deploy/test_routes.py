"""``dynamirror route``, on a server that keeps Route 53's records and health checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.emulated import HERE, THERE, Cloud, cloud
from tests.deploy.resolver import Client, Zone

from dynamirror.aws.control import BotocoreControlPlane
from dynamirror.cli import route
from dynamirror.errors import Exit

MIRRORS = """
[mirrors.sessions]
mode = "two-way"
replicas = [{ region = "us-east-1", table = "Sessions" }, { region = "eu-west-1" }]
"""

ROUTE = """
[routes.app]
domain = "app.example.com"
hosted_zone_id = "{zone}"
endpoints = [
  {{ region = "us-east-1", host = "us.example.com" }},
  {{ region = "eu-west-1", host = "eu.example.com" }},
]
"""

GEOLOCATION = (
    ROUTE.replace("endpoints", 'kind = "geolocation"\nendpoints')
    .replace('"us.example.com"', '"us.example.com", locations = ["*"]')
    .replace('"eu.example.com"', '"eu.example.com", locations = ["continent/EU", "country/CH"]')
)

NEAR_EU = Client(latencies={HERE: 90, THERE: 10}, country="CH", continent="EU")


CHILDREN: dict[str, list[str]] = {}
"""Of calculated health checks, by their ids: the server forgets them."""


class Remembering(BotocoreControlPlane):
    """The server's health checks, with the children that it forgets."""

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        answer = await super().call(service, operation, **parameters)
        settings = parameters.get("HealthCheckConfig", parameters)
        if operation in ("CreateHealthCheck", "UpdateHealthCheck"):
            children = settings.get("ChildHealthChecks")
            if children is not None:
                CHILDREN[answer["HealthCheck"]["Id"]] = children
        for each in answer.get("HealthChecks", ()):
            if each["Id"] in CHILDREN:
                each["HealthCheckConfig"]["ChildHealthChecks"] = CHILDREN[each["Id"]]
        return answer


@pytest.fixture(autouse=True)
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "BotocoreControlPlane", Remembering)


class Site:
    """A cloud with a hosted zone, and a configuration."""

    def __init__(self, aws: Cloud) -> None:
        self.aws = aws
        self.api: Any = aws.client("route53")
        made = self.api.create_hosted_zone(Name="example.com", CallerReference="1")
        self.zone = made["HostedZone"]["Id"].rpartition("/")[2]
        self.config = self.write(ROUTE)

    def write(self, text: str) -> str:
        self.config = self.aws.config(MIRRORS + text.format(zone=self.zone))
        return self.config

    def route(self, *more: str, status: int = Exit.DONE) -> str:
        done = self.aws.run("route", self.config, *more)
        assert done.exit_code == status, done.output
        return done.output

    def records(self) -> list[dict[str, Any]]:
        told = self.api.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return [one for one in told if one["Type"] not in ("NS", "SOA")]

    def checks(self) -> dict[str, dict[str, Any]]:
        told = self.api.list_health_checks()["HealthChecks"]
        return {
            one["Id"]: {
                **one["HealthCheckConfig"],
                "ChildHealthChecks": CHILDREN.get(one["Id"], []),
            }
            for one in told
        }

    def alarms(self) -> list[str]:
        return [
            each["AlarmName"]
            for region in (HERE, THERE)
            for each in self.aws.client("cloudwatch", region).describe_alarms()["MetricAlarms"]
        ]

    def answer(self, client: Client, *ill: str) -> str | None:
        return Zone(self.records(), self.checks(), ill).answer(client)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with cloud(tmp_path) as aws:
        yield Site(aws)


def test_a_route_comes_leads_and_goes(site: Site) -> None:
    """The plan changes nothing; done, the records that are there lead to what is near and well;
    done again, there is nothing to do; taken away, nothing is left.
    """
    shown = site.route()
    assert "+ record app.example.com: CNAME us.example.com for us-east-1, 60 s" in shown
    assert "+ health check us-east-1 endpoint: https://us.example.com/health" in shown
    assert "nothing was changed; --yes does it" in shown
    assert (site.records(), site.checks(), site.alarms()) == ([], {}, [])

    site.route("--yes")

    assert site.answer(NEAR_EU) == "eu.example.com"
    assert site.answer(NEAR_EU, "eu.example.com") == "us.example.com"
    assert site.answer(NEAR_EU, "sessions/us-east-1") == "us.example.com"
    assert site.answer(NEAR_EU, "us.example.com", "eu.example.com") == "eu.example.com"
    assert len(site.checks()) == 6
    assert len(site.alarms()) == 2
    assert "nothing to do" in site.route("--yes")
    assert len(site.checks()) == 6

    gone = site.route("--remove", "--yes")

    assert "- record app.example.com: CNAME" in gone
    assert (site.records(), site.checks(), site.alarms()) == ([], {}, [])
    assert "nothing to do" in site.route("--remove", "--yes")


def test_geolocation_is_read_back_and_resolved(site: Site) -> None:
    """Whoever is nowhere gets the default; a country goes before its continent."""
    site.write(GEOLOCATION)
    site.route("--yes")

    assert len(site.records()) == 3
    assert site.answer(NEAR_EU) == "eu.example.com"
    assert site.answer(Client(country="JP", continent="AS")) == "us.example.com"
    assert site.answer(Client()) == "us.example.com"
    assert "nothing to do" in site.route()


def test_a_change_is_shown_as_a_difference_and_done(site: Site) -> None:
    """Another time to live, path, host and bound: what is the same stays as it is."""
    site.route("--yes")
    before = set(site.checks())
    changed = ROUTE.replace("endpoints", 'ttl = 30\nhealth_path = "/well"\nendpoints', 1)
    site.write(changed.replace("eu.example.com", "eu2.example.com"))

    shown = site.route("--yes")

    assert "~ record app.example.com: CNAME eu2.example.com for eu-west-1, 30 s" in shown
    assert "(now CNAME eu.example.com, 60 s)" in shown
    assert "alarm" not in shown
    assert set(site.checks()) == before
    assert site.answer(NEAR_EU) == "eu2.example.com"
    assert "nothing to do" in site.route()


def test_without_lag_a_region_is_judged_by_its_endpoint(site: Site) -> None:
    """Checks and alarms that are needed no more go; another kind takes the place of the first."""
    site.route("--yes")
    site.write(GEOLOCATION.replace("endpoints", "max_lag_seconds = 0\nendpoints", 1))

    site.route("--yes")

    assert len(site.checks()) == 2
    assert site.alarms() == []
    assert site.answer(NEAR_EU, "sessions/us-east-1") == "eu.example.com"
    assert "nothing to do" in site.route()


def test_a_new_bound_of_an_alarm_reaches_its_health_check(site: Site) -> None:
    """Route 53 takes an alarm's settings when its health check is made or changed, not later."""
    site.route("--yes")
    versions = {
        one["Id"]: one["HealthCheckVersion"]
        for one in site.api.list_health_checks()["HealthChecks"]
    }
    site.write(ROUTE.replace("endpoints", "max_lag_seconds = 60\nendpoints", 1))

    assert "more than 60,000 ms" in site.route("--yes")

    renewed = [
        one["HealthCheckConfig"]["Type"]
        for one in site.api.list_health_checks()["HealthChecks"]
        if one["HealthCheckVersion"] != versions[one["Id"]]
    ]
    assert renewed == ["CLOUDWATCH_METRIC"] * 2


def test_what_is_somebody_elses_is_never_touched(site: Site) -> None:
    """A record of the name, a health check of the account: the first is told, with the remedy."""
    theirs = {
        "Name": "app.example.com.",
        "Type": "CNAME",
        "TTL": 300,
        "ResourceRecords": [{"Value": "old.example.com"}],
    }
    changes = [{"Action": "CREATE", "ResourceRecordSet": theirs}]
    site.api.change_resource_record_sets(HostedZoneId=site.zone, ChangeBatch={"Changes": changes})
    site.api.create_health_check(
        CallerReference="theirs",
        HealthCheckConfig={"Type": "HTTPS", "FullyQualifiedDomainName": "their.example.com"},
    )

    said = site.route("--yes", status=Exit.UNUSABLE)

    assert "app.example.com has a record of its own, CNAME old.example.com, 300 s" in said
    assert "delete it, or route another name" in said
    assert site.records() == [theirs]
    assert len(site.checks()) == 1
    assert site.alarms() == []
    site.route("--remove", "--yes")
    assert site.records() == [theirs]
    assert len(site.checks()) == 1


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ('"app.example.com"', '"example.com"', "give each endpoint alias_zone_id"),
        ('"app.example.com"', '"app.other.com"', "not in the hosted zone example.com"),
        ('"{zone}"', '"ZNOWHERE"', "there is no hosted zone ZNOWHERE"),
        ("[routes.app]", "[routes.app]\nttl = 0", "routes.app.ttl = 0: write whole seconds"),
        (ROUTE, "", "no route"),
        ('"eu-west-1",', '"us-east-1",', "this region is there twice"),
    ],
)
def test_what_can_not_be_is_told_and_nothing_is_made(
    was: str, now: str, told: str, site: Site
) -> None:
    """Each with what to do about it."""
    site.write(ROUTE.replace(was, now))

    assert told in site.route("--yes", status=Exit.UNUSABLE)
    assert (site.records(), site.checks(), site.alarms()) == ([], {}, [])


def test_json_tells_each_step(site: Site) -> None:
    document = json.loads(site.aws.run("route", site.config, "--json").stdout)

    assert document["done"] is False
    (told,) = document["routes"]
    assert told["name"] == "app"
    assert {step["what"] for step in told["steps"]} == {"alarm", "health check", "record"}
    assert {step["action"] for step in told["steps"]} == {"Add"}


def test_what_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    """Health checks that are there already are found again, and not made twice."""
    with cloud(tmp_path, {"AUTH": "true"}) as aws:
        site = Site(aws)
        key = aws.limited_key(["route53:ChangeResourceRecordSets"])

        done = aws.run("route", site.config, "--yes", key=key)

        assert done.exit_code == Exit.UNUSABLE, done.output
        assert "ChangeResourceRecordSets" in done.output
        assert len(site.checks()) == 6
        assert "+ record" in site.route("--yes")
        assert len(site.checks()) == 6
        assert site.answer(NEAR_EU) == "eu.example.com"
