"""Metrics by OpenTelemetry, sent to a collector on this machine."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.engine.regions import Regions
from tests.observe.statuses import full

from dynamirror.cli.main import cli
from dynamirror.errors import ConfigError, Exit
from dynamirror.observe.metrics import METRICS, Kind, samples
from dynamirror.observe.status import Status
from dynamirror.runtimes.telemetry import exported

CONFIG = """
[mirrors.stories]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""

Point = tuple[str, tuple[tuple[str, str], ...]]


class Collector:
    """Takes what is exported, as a collector does."""

    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.paths.add(self.path)
                collector.requests.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the last export, by name."""
        (resource,) = self.requests[-1].resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    @property
    def points(self) -> dict[Point, float]:
        """The values of the last export."""
        return {
            (name, tuple(sorted((one.key, one.value.string_value) for one in point.attributes))): (
                point.as_double or float(point.as_int)
            )
            for name, metric in self.metrics.items()
            for point in (*metric.gauge.data_points, *metric.sum.data_points)
        }

    @property
    def resource(self) -> dict[str, str]:
        (resource,) = self.requests[-1].resource_metrics
        return {one.key: one.value.string_value for one in resource.resource.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Fixed:
    """Mirrors that always stand the same."""

    async def seen(self) -> list[Status]:
        return [full()]


def test_what_is_exported_is_what_prometheus_scrapes(collector: Collector) -> None:
    """Every series of it, with the same labels and the same value; the same units and kinds."""

    async def main() -> None:
        async with exported(Fixed()):
            pass  # the end exports, whatever the interval

    asyncio.run(main())

    dotted = {metric.name: metric.dotted for metric in METRICS}
    assert collector.points == {
        (dotted[one.name], tuple(sorted(one.labels))): one.value for one in samples([full()])
    }
    for metric in METRICS:
        found = collector.metrics[metric.dotted]
        assert (found.unit, found.description) == (metric.unit, metric.told)
        assert found.WhichOneof("data") == ("sum" if metric.kind is Kind.COUNTER else "gauge")
        assert metric.kind is Kind.GAUGE or found.sum.is_monotonic
    assert collector.paths == {"/v1/metrics"}


def test_the_standard_variables_say_how_often_and_as_whom(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_METRIC_EXPORT_INTERVAL and OTEL_SERVICE_NAME; without the latter it is dynamirror."""

    async def main(exports: int) -> None:
        async with exported(Fixed()), asyncio.timeout(20):
            while len(collector.requests) < exports:  # noqa: ASYNC110 - another thread's
                await asyncio.sleep(0.01)

    asyncio.run(main(0))
    assert collector.resource["service.name"] == "dynamirror"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mirrors-of-eu")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    asyncio.run(main(4))
    assert collector.resource["service.name"] == "mirrors-of-eu"


def test_a_run_exports_its_mirrors(collector: Collector, tmp_path: Path) -> None:
    """`run --otel`: how they stood at its end is at the collector, each in one state."""
    regions = Regions()
    regions.now_ms = int(time.time() * 1_000)
    regions.source()
    regions.init()
    regions.put({"id": {"S": "a"}})
    config = tmp_path / "mirrors.toml"
    config.write_text(CONFIG)

    ran = CliRunner().invoke(cli, ["run", str(config), "--once", "--otel"], obj=regions.api_of)

    assert ran.exit_code == Exit.DONE, ran.output
    whose = (("mirror", "stories"), ("source", "us-east-1/Stories"))
    assert collector.points["dynamirror.parked_keys", whose] == 0
    states = [value for (name, _), value in collector.points.items() if name == "dynamirror.state"]
    assert sum(states) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_METRICS_EXPORTER", "prometheus")],
)
def test_what_the_environment_wants_and_is_not_there_is_an_error(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than metrics that arrive nowhere."""
    monkeypatch.setenv(name, value)

    async def main() -> None:
        async with exported(Fixed()):
            pass

    with pytest.raises(ConfigError, match=name):
        asyncio.run(main())


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And everything else works without it."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    regions = Regions()
    regions.source()
    regions.init()
    config = tmp_path / "mirrors.toml"
    config.write_text(CONFIG)

    def run(*more: str) -> Any:
        return CliRunner().invoke(cli, ["run", str(config), "--once", *more], obj=regions.api_of)

    asked = run("--otel")
    assert asked.exit_code == Exit.UNUSABLE
    assert "pip install 'dynamirror[otel]'" in asked.stderr
    assert run().exit_code == Exit.DONE
