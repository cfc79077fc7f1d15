"""Metrics as text, as Prometheus scrapes them.

Source: Prometheus documentation, 'Exposition formats', version 0.0.4 of the text format.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynamirror.observe.metrics import METRICS, PREFIX, Sample, samples
from dynamirror.observe.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(statuses: Iterable[Status]) -> str:
    """Return every metric with its help, its type and its samples."""
    told: dict[str, list[Sample]] = {metric.name: [] for metric in METRICS}
    for sample in samples(statuses):
        told[sample.name].append(sample)
    lines = []
    for metric in METRICS:
        if told[metric.name]:
            lines.append(f"# HELP {PREFIX}{metric.name} {metric.told}")
            lines.append(f"# TYPE {PREFIX}{metric.name} {metric.kind}")
            lines += map(_line, told[metric.name])
    return "\n".join([*lines, ""])


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
    return f"{PREFIX}{sample.name}{{{labels}}} {sample.value!r}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
