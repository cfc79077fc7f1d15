"""A table's *exports to S3*: what their manifests say, and when copying from them is safe.

An export shows the table at one moment. What changed after it must come by the stream, and must
not be undone by the export's older image: ``why_unsafe`` says where that isn't certain.

Source of the format: Amazon DynamoDB Developer Guide, 'DynamoDB table export output format'; of the
minute by which an export's clock may be wrong: 'DynamoDB data export to Amazon S3'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import msgspec

from dynamirror.core.limits import STREAM_RETENTION_S
from dynamirror.errors import ConfigError

CLOCK_MS = 2 * 60_000
"""An export may be that much older than it says: a minute, and one for good measure."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


_NAMES = {"key": "dataFileS3Key", "items": "itemCount", "md5": "md5Checksum"}


class DataFile(msgspec.Struct, frozen=True, rename=_NAMES):
    """One data file, a line of manifest-files.json."""

    key: str
    items: int
    md5: str = ""
    """Base64."""


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What one export has."""

    id: str
    table: str
    """The ARN of the table."""
    whole: bool
    """False: an incremental one, which has only what changed after ``from_ms``."""
    from_ms: int = 0
    to_ms: int
    """The moment at which it shows the table."""
    items: int
    bytes: int
    files: tuple[DataFile, ...] = ()


class _Summary(msgspec.Struct, rename="camel"):
    export_arn: str
    table_arn: str
    output_format: str
    item_count: int = 0
    billed_size_bytes: int = 0
    export_type: str = "FULL_EXPORT"
    export_time: str | None = None
    export_from_time: str | None = None
    export_to_time: str | None = None


def export_of(summary: bytes, files: bytes) -> Export:
    """Return an export, given manifest-summary.json and manifest-files.json.

    Raises ConfigError for what is no export, or one in another format than DynamoDB JSON.
    """
    try:
        told = msgspec.json.decode(summary, type=_Summary)
        whole = told.export_type != "INCREMENTAL_EXPORT"
        end = told.export_time if whole else told.export_to_time
        export = Export(
            id=told.export_arn.rpartition("/")[2],
            table=told.table_arn,
            whole=whole,
            from_ms=_ms(told.export_from_time) if told.export_from_time else 0,
            to_ms=_ms(end or "at no time"),
            items=told.item_count,
            bytes=told.billed_size_bytes,
            files=tuple(
                msgspec.json.decode(line, type=DataFile) for line in files.splitlines() if line
            ),
        )
    except ValueError as error:  # msgspec's own are such
        raise ConfigError(f"this is no manifest of a DynamoDB export: {error}") from None
    if told.output_format != "DYNAMODB_JSON":
        raise ConfigError(
            f"export {export.id} is in the format {told.output_format}: export with "
            "--export-format DYNAMODB_JSON"
        )
    return export


def chained(exports: Sequence[Export], table: str) -> list[Export]:
    """Return exports oldest first: a full one, and what changed after it without a gap.

    Raises ConfigError where they don't follow on one another, or are of another table than the one
    of this ARN.
    """
    for export in exports:
        if _named(export.table) != _named(table):
            raise ConfigError(f"export {export.id} is of {export.table}, not of {table}")
    chain = sorted(exports, key=lambda export: export.to_ms)
    if not chain[0].whole:
        raise ConfigError(
            f"export {chain[0].id} is incremental: name the full export on which it is based too"
        )
    for before, after in pairwise(chain):
        if after.whole:
            raise ConfigError(f"{before.id} and {after.id} are both full exports: name one")
        if after.from_ms > before.to_ms:
            raise ConfigError(
                f"between the exports {before.id} and {after.id} something is missing: name the "
                "incremental exports of the whole time between"
            )
    return chain


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """How the table's stream is followed."""

    now_ms: int
    stream_ms: int
    """When it was made."""
    lost: bool
    """Whether history was lost, for which the copy is to make up."""
    begun_ms: int | None
    """Since when every change is applied; None: nothing has read the stream yet."""
    applied_ms: int | None
    """Every change until then is applied, and some after it may be."""


def why_unsafe(  # noqa: PLR0911 - a reason each
    at_ms: int, followed: Followed, *, ranked: bool, keep_days: int
) -> str | None:
    """Return why an export of that moment must not be copied; None: it may.

    ``ranked``: late copies are refused (guard ledger, two-way), as long as rows of ours last:
    ``keep_days``.
    """
    since_ms = at_ms - CLOCK_MS
    held_ms = max(followed.stream_ms, followed.now_ms - STREAM_RETENTION_S * 1_000 // 2)
    anew = followed.lost or followed.begun_ms is None
    if (anew or not ranked) and since_ms < held_ms:
        return (
            "the stream must still have every change made after the export, with half of its 24 "
            "hours left to apply them: the export has to be made after the stream was turned on, "
            "and less than 12 hours ago"
        )
    if anew or followed.begun_ms is None:
        return None
    if not ranked:
        if followed.applied_ms is not None and followed.applied_ms <= since_ms:
            return None
        return (
            "changes made after the export have been applied already, and this guard can't tell "
            'that they are newer: use guard = "ledger", or backfill from the table'
        )
    if since_ms < followed.begun_ms:
        return (
            "the mirror follows the stream only since after the export was made: changes made "
            "between the two would be lost. Export again"
        )
    if followed.now_ms - since_ms > (keep_days - 1) * DAY_MS:
        return (
            f"the export is older than the rows that tell of deletes, which are kept {keep_days} "
            "days: what was deleted since would come back. Export again"
        )
    return None


def created_ms(stream: str) -> int:
    """Return when a stream was made, as its ARN's label tells; 0 where it doesn't."""
    try:
        return _ms(stream.rpartition("/")[2])
    except ValueError:
        return 0


def _ms(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)


def _named(arn: str) -> tuple[str, ...]:
    """Return region and table of a table's ARN; accounts of local servers mean nothing."""
    parts = arn.split(":", 5)
    return (parts[3], parts[5]) if len(parts) == 6 else (arn,)  # noqa: PLR2004 - an ARN's fields
