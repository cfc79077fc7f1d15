"""The metrics of a running process: a table of them, and each mirror's samples.

Names and units are Prometheus's conventions ('Metric and label naming'): a prefix, base units,
``_total`` for counters. OpenTelemetry's are derived from them ('General naming considerations',
'Instrument units'). Labels are few and never a key: a mirror, its source, a target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from dynamirror.observe.status import Link, State, Status

PREFIX = "dynamirror_"


class Kind(StrEnum):
    """How a metric's values go on."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Metric(msgspec.Struct, frozen=True):
    """One metric."""

    name: str
    """Without the prefix; of a counter, with ``_total``."""
    kind: Kind
    unit: str
    """By the Unified Code for Units of Measure; in braces what is counted."""
    told: str
    """What it is, in a sentence."""

    @property
    def dotted(self) -> str:
        """Its name by OpenTelemetry's conventions, where unit and kind are told beside it."""
        return "dynamirror." + self.name.removesuffix("_total").removesuffix("_seconds")


METRICS = (
    Metric("state", Kind.GAUGE, "{link}", "1 for the state that the link is in, 0 for all others."),
    Metric("lag_seconds", Kind.GAUGE, "s", "Age of the oldest change not applied at the target."),
    Metric(
        "heartbeat_seconds",
        Kind.GAUGE,
        "s",
        "What a change made now would need at the least; absent while the target is silent.",
    ),
    Metric(
        "time_left_seconds",
        Kind.GAUGE,
        "s",
        "Until the stream may trim the oldest change that is not applied.",
    ),
    Metric(
        "unread_seconds", Kind.GAUGE, "s", "Since the stream was last asked, of the longest wait."
    ),
    Metric(
        "in_flight_requests",
        Kind.GAUGE,
        "{request}",
        "Requests sent to the target and not yet answered.",
    ),
    Metric(
        "parked_keys", Kind.GAUGE, "{key}", "Keys whose changes are parked until they are redriven."
    ),
    Metric("paused", Kind.GAUGE, "{link}", "1 while somebody asks that the link be paused."),
    Metric(
        "write_limit",
        Kind.GAUGE,
        "{item}/s",
        "Items a second that may be written; absent: no limit.",
    ),
    Metric(
        "drift_items",
        Kind.GAUGE,
        "{item}",
        "Items that differed when the tables were last compared.",
    ),
    Metric("verified_timestamp_seconds", Kind.GAUGE, "s", "When the tables were last compared."),
    Metric("records_read_total", Kind.COUNTER, "{record}", "Stream records read."),
    Metric("changes_applied_total", Kind.COUNTER, "{change}", "Changes applied at the target."),
    Metric(
        "changes_stale_total", Kind.COUNTER, "{change}", "Changes refused: late or delivered twice."
    ),
    Metric(
        "retries_total",
        Kind.COUNTER,
        "{change}",
        "Changes sent again after a refusal that may pass.",
    ),
    Metric(
        "throttles_total",
        Kind.COUNTER,
        "{request}",
        "Requests that the target refused for a while.",
    ),
    Metric("conflicts_total", Kind.COUNTER, "{write}", "Writes that lost a conflict."),
)

Labels = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True):
    """A metric's value for one link or one source."""

    name: str
    labels: Labels
    value: float


def samples(statuses: Iterable[Status]) -> Iterator[Sample]:
    """Yield every sample of every mirror, in no order."""
    for status in statuses:
        whose: Labels = (("mirror", status.mirror), ("source", status.source))
        yield from _of_source(status, whose)
        for link in status.links:
            theirs = (*whose, ("target", link.table))
            asked = any(pause.target in (None, link.target) for pause in status.pauses)
            yield Sample("paused", theirs, int(asked))
            yield from _of_link(link, theirs)


def _of_source(status: Status, whose: Labels) -> Iterator[Sample]:
    report, found = status.report, status.verified
    if status.left_ms is not None:
        yield Sample("time_left_seconds", whose, status.left_ms / 1_000)
    yield Sample("parked_keys", whose, status.parked_keys)
    if status.limit_per_second is not None:
        yield Sample("write_limit", whose, status.limit_per_second)
    if found is not None:
        for kind in ("missing", "extra", "different"):
            yield Sample("drift_items", (*whose, ("kind", kind)), getattr(found, kind))
        yield Sample("verified_timestamp_seconds", whose, found.at_ms / 1_000)
    if report is not None:
        yield Sample("unread_seconds", whose, report.unread_ms / 1_000)
        yield Sample("records_read_total", whose, report.records)
    if status.conflicts is not None:
        yield Sample("conflicts_total", whose, status.conflicts)


def _of_link(link: Link, whose: Labels) -> Iterator[Sample]:
    for state in State:
        yield Sample("state", (*whose, ("state", state)), int(link.state is state))
    if link.lag_ms is None:  # nobody reads: what isn't known is absent
        return
    yield Sample("lag_seconds", whose, link.lag_ms / 1_000)
    if link.heartbeat_ms is not None:
        yield Sample("heartbeat_seconds", whose, link.heartbeat_ms / 1_000)
    yield Sample("in_flight_requests", whose, link.in_flight)
    yield Sample("changes_applied_total", whose, link.applied)
    yield Sample("changes_stale_total", whose, link.stale)
    yield Sample("retries_total", whose, link.retries)
    yield Sample("throttles_total", whose, link.throttles)
