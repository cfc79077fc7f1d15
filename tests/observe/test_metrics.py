"""Metrics: their names and units are a promise, kept by whatever spells them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed
from tests.observe.statuses import facts, full, report

from dynamirror.observe.emf import DIMENSIONS, NAMESPACE, UNITS
from dynamirror.observe.judging import judged
from dynamirror.observe.metrics import METRICS, PREFIX, Kind
from dynamirror.observe.prometheus import exposition
from dynamirror.observe.status import State

DOCS = Path(__file__).parents[2] / "docs"


def scraped(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return what Prometheus's own parser makes of it: by sample name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in parsed(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_every_metric_is_scraped_with_its_value() -> None:
    """What Prometheus reads is what the status says, in base units, with few labels."""
    found = scraped(exposition([full()]))

    whose = (("mirror", "stories"), ("source", "us-east-1/Stories"))
    slow = (*whose, ("target", "ap-south-1/Stories"))
    assert set(found) == {PREFIX + metric.name for metric in METRICS}
    assert found["dynamirror_lag_seconds"][slow] == 7_200
    assert found["dynamirror_time_left_seconds"][whose] == 22 * 3_600
    assert found["dynamirror_throttles_total"][slow] == 7
    assert found["dynamirror_conflicts_total"][whose] == 2
    assert found["dynamirror_heartbeat_seconds"][slow] == pytest.approx(0.33)
    assert found["dynamirror_drift_items"][tuple(sorted((*whose, ("kind", "extra"))))] == 2
    states = {
        dict(labels)["state"]: value
        for labels, value in found["dynamirror_state"].items()
        if dict(labels)["target"] == "ap-south-1/Stories"
    }
    assert set(states) == set(State)
    assert [state for state, value in states.items() if value] == ["behind"]


def test_types_follow_the_names() -> None:
    """Counters end in _total and gauges don't, each with a help."""
    families = list(parsed(exposition([full()])))

    assert all(family.documentation.endswith(".") for family in families)
    for metric in METRICS:
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
    assert {family.type for family in families} == {"gauge", "counter"}


def test_what_is_not_known_is_absent() -> None:
    """A mirror that nobody reads has no lag of 0, no counters, no throughput."""
    found = scraped(exposition([judged(facts(oldest_ms=None))]))

    assert "dynamirror_lag_seconds" not in found
    assert "dynamirror_changes_applied_total" not in found
    assert "dynamirror_time_left_seconds" not in found
    assert "dynamirror_state" in found


def test_hostile_names_stay_within_their_quotes() -> None:
    """A table may be called as it likes: labels are escaped."""
    nasty = 'a"b\\c\nd'

    found = scraped(exposition([judged(facts(mirror=nasty, running=report()))]))

    (labels,) = found["dynamirror_records_read_total"]
    assert dict(labels)["mirror"] == nasty


def test_the_manual_lists_every_metric_and_no_other() -> None:
    """docs/metrics.md is the whole of the promise."""
    text = (DOCS / "metrics.md").read_text()

    assert set(re.findall(r"^\| `(dynamirror_\w+)`", text, re.MULTILINE)) == {
        PREFIX + metric.name for metric in METRICS
    }
    assert dict(re.findall(r"^\| `([A-Z]\w+)` \| (\w+)", text, re.MULTILINE)) == UNITS
    assert f"namespace `{NAMESPACE}`" in text
    assert all(f"`{name}`" in text for name in DIMENSIONS)


def expressions(value: Any) -> list[str]:
    """Return every PromQL expression in a document."""
    if isinstance(value, dict):
        mine = [one for name, one in value.items() if name == "expr" and isinstance(one, str)]
        return mine + [one for member in value.values() for one in expressions(member)]
    return (
        [one for member in value for one in expressions(member)] if isinstance(value, list) else []
    )


NAME = re.compile(r"dynamirror_\w+")


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.json"])
def test_what_grafana_and_prometheus_load_asks_for_metrics_that_exist(name: str) -> None:
    """A panel or an alert on a name that nobody serves would be green for ever."""
    document = json.loads((DOCS / "grafana" / name).read_text())
    asked = expressions(document)
    known = {PREFIX + metric.name for metric in METRICS}

    assert len(asked) >= 8
    assert [one for one in asked if not NAME.search(one)] == []
    assert {found for one in asked for found in NAME.findall(one)} <= known
    assert all(one.count("(") == one.count(")") for one in asked)


def test_every_grafana_panel_has_its_place_and_a_title() -> None:
    """Panels don't overlap, and each says what it shows and in which unit."""
    panels = json.loads((DOCS / "grafana" / "dashboard.json").read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)


def test_every_alert_says_what_to_do() -> None:
    """An alarm at night comes with the command to type."""
    (group,) = json.loads((DOCS / "grafana" / "alerts.json").read_text())["groups"]

    for rule in group["rules"]:
        assert "dynamirror " in rule["annotations"]["description"], rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_alarms_on_aws_watch_metrics_that_are_written() -> None:
    """An alarm on a name or a dimension that no delivery writes would never ring."""
    golden = Path(__file__).parents[1] / "deploy" / "golden"
    watched = [
        resource["Properties"]
        for path in golden.rglob("*.json")
        for resource in json.loads(path.read_text()).get("Resources", {}).values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        and resource["Properties"]["Namespace"] == NAMESPACE
    ]

    assert watched
    assert {alarm["MetricName"] for alarm in watched} <= set(UNITS)
    for alarm in watched:
        assert [one["Name"] for one in alarm["Dimensions"]] == list(DIMENSIONS)
