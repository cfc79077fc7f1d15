"""The metrics of a running process by OpenTelemetry: sent again and again, over OTLP/HTTP.

Where to, how often and as whom is said by the standard environment variables (``OTEL_...``), which
the SDK reads. What is sent is what Prometheus would scrape at that time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.observe.metrics import METRICS, Kind, Metric, Sample, samples
from dynamirror.observe.status import Status

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

ANSWER_S = 20.0
"""How long a look at the mirrors may take, first looks at their tables included."""

END_MS = 5_000
"""How long the last export may hold up the end of the process."""

PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

log = logging.getLogger("dynamirror")


class MissingExtraError(DynamirrorError):
    """OpenTelemetry's SDK isn't installed."""

    hint = "Install it: pip install 'dynamirror[otel]'"


class Seeing(Protocol):
    """Whoever knows how the mirrors stand."""

    async def seen(self) -> list[Status]:
        """Return how every mirror stands."""
        ...


@asynccontextmanager
async def exported(watch: Seeing) -> AsyncIterator[None]:
    """Export metrics within the context, and once more at its end.

    Raises MissingExtraError without the SDK, ConfigError where the environment wants something that
    isn't there.
    """
    _require_http()
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(f"--otel needs OpenTelemetry's SDK ({error})") from error
    loop = asyncio.get_running_loop()

    def look() -> list[Status]:
        return asyncio.run_coroutine_threadsafe(watch.seen(), loop).result(ANSWER_S)

    found = _Latest(look)
    logging.getLogger("opentelemetry").handlers = log.handlers
    logging.getLogger("opentelemetry").propagate = log.propagate
    exporter = OTLPMetricExporter()
    who = Resource.create({"service.version": version("dynamirror")})
    if str(who.attributes["service.name"]).startswith("unknown_service"):
        who = who.merge(Resource({"service.name": "dynamirror"}))
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], who, shutdown_on_exit=False)
    meter = provider.get_meter("dynamirror", version("dynamirror"))
    for metric in METRICS:
        counts = metric.kind is Kind.COUNTER
        make: Any = meter.create_observable_counter if counts else meter.create_observable_gauge
        make(metric.dotted, [found.observe(metric)], metric.unit, metric.told)
    log.info("metrics are exported by OpenTelemetry, as the OTEL_ variables say")
    try:
        yield
    finally:
        await asyncio.to_thread(provider.shutdown, END_MS)


class _Latest:
    """What was seen last, as observations. The exporter has a thread of its own, in which it asks
    for each metric once, each time that it exports: all of them are told from one look.
    """

    def __init__(self, look: Callable[[], Iterable[Status]]) -> None:
        self._look = look
        self._samples: dict[str, list[Sample]] = {}
        self._told = {metric.name for metric in METRICS}

    def observe(self, metric: Metric) -> Callable[[CallbackOptions], list[Observation]]:
        """Return what tells of one metric."""
        from opentelemetry.metrics import Observation  # noqa: PLC0415

        def observed(_: CallbackOptions) -> list[Observation]:
            if metric.name in self._told:  # the next export has begun
                self._look_again()
            self._told.add(metric.name)
            kept = self._samples.get(metric.name, ())
            return [Observation(sample.value, dict(sample.labels)) for sample in kept]

        return observed

    def _look_again(self) -> None:
        self._told, self._samples = set(), {}
        for sample in samples(self._look()):
            self._samples.setdefault(sample.name, []).append(sample)


def _require_http() -> None:
    for name in PROTOCOLS:
        if os.environ.get(name, "http/protobuf") not in ("", "http/protobuf"):
            raise ConfigError(
                f"{name} = {os.environ[name]!r}: metrics are exported by http/protobuf; set it so "
                "for this process, and OTEL_EXPORTER_OTLP_ENDPOINT to the collector's HTTP port"
            )
    exporter = os.environ.get("OTEL_METRICS_EXPORTER", "otlp")
    if exporter not in ("", "otlp"):
        raise ConfigError(
            f"OTEL_METRICS_EXPORTER = {exporter!r}: --otel exports by otlp; leave one of them out"
        )
