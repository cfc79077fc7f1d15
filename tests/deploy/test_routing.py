"""Routes as they are to be: held to golden files and to CloudFormation's own schemas.

To renew the golden files after a change: python -m tests.deploy.test_routing
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cfnlint import api
from tests.deploy.resolver import Client, Zone

from dynamirror.config.load import load
from dynamirror.deploy.route_template import route_templates
from dynamirror.deploy.routing import Routing, routing_of
from dynamirror.deploy.template import text
from dynamirror.errors import ConfigError

GOLDEN = Path(__file__).parent / "routes"
CONFIG = str(GOLDEN / "mirrors.toml")
US, EU, AU = "us-east-1", "eu-west-1", "ap-southeast-2"


def routing(name: str, config: str = CONFIG, home: str = "") -> Routing:
    loaded = load(config)
    (route,) = [one for one in loaded.routes if one.name == name]
    return routing_of(route, loaded, home)


def written() -> dict[str, str]:
    told = [route_templates(routing(name)) for name in ("app", "api")]
    return {name: text(made) for each in told for name, made in each.items()}


def zone(name: str, ill: set[str] = frozenset()) -> Zone:  # type: ignore[assignment]
    """Return a route's records, with those checks ill that look at these: hosts, or links."""
    made = routing(name)
    return Zone(
        [{**one.settings, "HealthCheckId": one.check} for one in made.records],
        {
            one.name: {**one.settings, "ChildHealthChecks": list(one.children)}
            for one in made.checks
        },
        ill,
    )


def test_the_templates_are_those_that_were_read_and_found_right() -> None:
    assert written() == {path.name: path.read_text() for path in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_cloudformation_would_take_the_template(path: Path) -> None:
    found = api.lint_file(path, config={"regions": [US]})

    assert [str(one) for one in found] == []


def test_everybody_is_led_to_the_region_that_is_nearest() -> None:
    """Latency: of the regions that are well."""
    near = Client(latencies={US: 90, EU: 12, AU: 280})

    assert zone("app").answer(near) == "eu.example.com"
    assert zone("app", {"eu.example.com"}).answer(near) == "us.example.com"
    assert zone("app", {"eu.example.com", "us.example.com"}).answer(near) == "au.example.com"


def test_a_region_is_left_while_a_mirror_that_writes_to_it_is_behind() -> None:
    """What its own mirror has still to bring elsewhere is the others' trouble, not its own."""
    near = Client(latencies={US: 10, EU: 12, AU: 280})

    assert zone("app").answer(near) == "us.example.com"
    assert zone("app", {"sessions/us-east-1"}).answer(near) == "us.example.com"
    assert zone("app", {"sessions/eu-west-1"}).answer(near) == "eu.example.com"


def test_where_all_are_ill_all_count_as_well() -> None:
    """Somebody answers: an application that is behind is better than none."""
    near = Client(latencies={US: 10, EU: 12, AU: 280})
    behind = {f"sessions/{region}" for region in (US, EU, AU)}

    assert zone("app", behind).answer(near) == "us.example.com"


@pytest.mark.parametrize(
    ("country", "state", "continent", "region"),
    [
        ("DE", None, "EU", EU),
        ("MX", None, "NA", US),
        ("US", "NY", "NA", US),
        ("US", "CA", "NA", EU),
        ("JP", None, "AS", US),
        (None, None, None, US),
    ],
)
def test_everybody_is_led_by_the_smallest_place_he_is_in(
    country: str | None, state: str | None, continent: str | None, region: str
) -> None:
    """Geolocation: a state goes before its country, that before its continent; whoever is nowhere
    gets the default.
    """
    client = Client(country=country, state=state, continent=continent)

    assert region in (zone("api").answer(client) or "")


def test_geolocation_falls_back_to_larger_places() -> None:
    """An ill region's clients go to the next larger place's, in the end to the default."""
    german = Client(country="DE", continent="EU")
    assert US in (zone("api", {"d-2.execute-api.eu-west-1.amazonaws.com"}).answer(german) or "")


def test_a_check_follows_an_alarm_as_route_53_can() -> None:
    """Route 53 takes whole minutes and plain statistics, and no M out of N."""
    for alarm in routing("app").alarms:
        assert alarm.settings["Statistic"] == "Maximum"
        assert alarm.settings["Period"] >= 60
        assert "DatapointsToAlarm" not in alarm.settings
        assert "Metrics" not in alarm.settings


def test_what_nobody_writes_to_is_judged_by_its_endpoint_alone() -> None:
    """A one-way mirror's source has nothing to be behind with."""
    config = (GOLDEN / "mirrors.toml").read_text()
    begin, end = config.index("mode ="), config.index("[routes.app]")
    source = 'source = { region = "us-east-1", table = "Sessions" }'
    one_way = f'mode = "one-way"\n{source}\ntargets = [{{ region = "eu-west-1" }}]\n'
    made = routing("app", config[:begin] + one_way + config[end:])

    assert [one.check for one in made.records] == [
        "us-east-1 endpoint",
        "eu-west-1",
        "ap-southeast-2 endpoint",
    ]
    assert [alarm.link for alarm in made.alarms] == ["sessions/us-east-1"]


def test_a_mirror_of_another_account_is_told() -> None:
    """Route 53 follows no alarm of another account."""
    config = (GOLDEN / "mirrors.toml").read_text()
    text = config.replace('table = "Sessions"', 'table = "Sessions", account = "210987654321"')
    with pytest.raises(ConfigError, match="alarm of another account: name others in mirrors"):
        routing("app", text, home="111122223333")


if __name__ == "__main__":
    for name, content in written().items():
        (GOLDEN / name).write_text(content)
