"""What one delivery to the Lambda function did, as CloudWatch reads it from the function's log.

The embedded metric format: a line of JSON that is both a log entry and metrics, with no request and
no permission for them. Source: Amazon CloudWatch User Guide, 'Specification: Embedded metric
format'.
"""

from __future__ import annotations

import msgspec

NAMESPACE = "dynamirror"

DIMENSIONS = ("Mirror", "Link")
"""A mirror's name; and, of its links, the one that reads this source, as ``status`` names it."""

UNITS = {
    "Lag": "Milliseconds",
    "Duration": "Milliseconds",
    "Records": "Count",
    "Unapplied": "Count",
    "Writes": "Count",
    "Stale": "Count",
    "Retries": "Count",
    "Throttles": "Count",
    "ParkedChanges": "Count",
    "Conflicts": "Count",
    "Failures": "Count",
}
"""Every metric and its unit. Alarms and dashboards name them: they stay as they are."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What one delivery did, of one mirror."""

    mirror: str
    link: str
    at_ms: int
    lag_ms: int
    """Age of the oldest change of the batch at the end of the delivery."""
    duration_ms: int
    records: int
    unapplied: int
    """Of these, how many are handed back to be delivered again, the earliest such and all after."""
    writes: int
    """Items put or deleted, all targets together."""
    stale: int
    retries: int
    throttles: int
    parked: int
    """Changes parked in it."""
    failures: int
    """Targets at which it ended with an error."""
    conflicts: int | None = None
    """Writes that lost a conflict; null: a one-way mirror has none."""

    def line(self) -> str:
        """Return the log line, without its end."""
        values: dict[str, int | None] = {
            "Lag": self.lag_ms,
            "Duration": self.duration_ms,
            "Records": self.records,
            "Unapplied": self.unapplied,
            "Writes": self.writes,
            "Stale": self.stale,
            "Retries": self.retries,
            "Throttles": self.throttles,
            "ParkedChanges": self.parked,
            "Conflicts": self.conflicts,
            "Failures": self.failures,
        }
        known = {name: value for name, value in values.items() if value is not None}
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(DIMENSIONS)],
            "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in known],
        }
        root = {"Timestamp": self.at_ms, "CloudWatchMetrics": [directive]}
        event = {"_aws": root, "Mirror": self.mirror, "Link": self.link, **known}
        return msgspec.json.encode(event).decode()
