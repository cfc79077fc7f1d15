"""What can be wrong with a value, a key or a place, and what to write instead.

Rule 1: nothing here reads a file or knows of other mirrors: ``load`` and ``relations`` do.
Rule 2: a parser takes what TOML gave and returns what the model wants, or raises UnfitError whose
text is the remedy.
Rule 3: a Lambda imports this at every cold start, so what only a fault needs is imported there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    Parser = Callable[[Any], Any]

MISSING = object()
"""The value of a key that is not there."""

SHOWN_CHARACTERS_MAX = 120  # a fault stays a line; the path says where the whole value is

ATTRIBUTE_BYTES_MAX = 255  # DynamoDB takes 64 KB, but a name's bytes count in every item
DEADLINE_RESERVE_MS_MAX = 900_000  # a Lambda function runs for at most 15 minutes
TOMBSTONE_DAYS_MIN = 3  # the stream's retention, and two days to redrive what was parked
DAYS_MAX = 3_650
BACKLOG_SECONDS_MAX = 43_200  # half of what a stream keeps: the rest is for catching up
WRITES_PER_SECOND_MAX = 1e9  # more than any table takes
PORT_MAX = 65_535

_NAME = r"[A-Za-z0-9_.-]{1,64}"
_TABLE_NAME = r"[a-zA-Z0-9_.-]{3,255}"
_TABLE_ARN = rf"arn:aws[a-z-]*:dynamodb:([a-z0-9-]+):([0-9]{{12}}):table/({_TABLE_NAME})"
_REGION = r"[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}"
_REGION_ELSEWHERE = r"[a-z][a-z0-9-]{0,62}"
_ROLE_ARN = r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}"
_ENDPOINT = r"(https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?)/?"
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
)
OURS = r".*-dynamirror-(ledger|journal|checkpoints|parked)"

NOT_HERE: Mapping[str, str] = {
    "attributes": "in a two-way mirror a view must be one that can be undone, and what is left out "
    "or changed on the way there can't be told on the way back, nor a new name from one that is "
    "there already; remove it, or mirror one-way",
    "transform": "in a two-way mirror a view must be one that can be undone, and nobody can tell "
    "what undoes a function; remove it, or mirror one-way",
    "key": "in a two-way mirror all replicas have the same keys; remove it, or mirror one-way",
    **dict.fromkeys(
        (
            *("version_attribute", "replicas", "stamp_attribute", "unversioned"),
            *("tombstone_days", "journal_days", "journal_table"),
        ),
        'this belongs to mode = "two-way"; remove it from a one-way mirror',
    ),
}


class UnfitError(ValueError):
    """A value can't be used; the text is the remedy."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where it is, what stands there, and what to write instead."""

    path: str
    value: object
    remedy: str

    def __str__(self) -> str:
        if self.value is MISSING:
            return f"{self.path} is missing: {self.remedy}"
        return f"{self.path} = {_shown(self.value)}: {self.remedy}"


def join(path: str, key: str) -> str:
    """Return the path of a key, quoted where TOML would want it quoted."""
    spelt = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _shown(key)
    return f"{path}.{spelt}" if path else spelt


def text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise UnfitError("write a string in quotes, not empty, on one line")
    return value


def matching(pattern: str, remedy: str) -> Parser:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise UnfitError(remedy)
        return value

    return parse


def choice(kind: type[StrEnum]) -> Parser:
    choices = [each.value for each in kind]

    def parse(value: object) -> StrEnum:
        if value not in choices:
            raise UnfitError("choose one of: " + ", ".join(f'"{each}"' for each in choices))
        return kind(value)

    return parse


class Mode(StrEnum):
    ONE_WAY = "one-way"
    TWO_WAY = "two-way"


mode = choice(Mode)
name = matching(_NAME, "use 1 to 64 of the characters A-Z a-z 0-9 _ . -")
region = matching(_REGION_ELSEWHERE, 'write a region\'s code, such as "us-east-1"')
account = matching(r"[0-9]{12}", "write the account's 12 digits in quotes")
our_table = matching(_TABLE_NAME, "use 3 to 255 of the characters a-z A-Z 0-9 _ . -")
table = matching(
    f"{_TABLE_NAME}|{_TABLE_ARN}",
    "use 3 to 255 of the characters a-z A-Z 0-9 _ . -, or the table's full ARN",
)
role_arn = matching(
    _ROLE_ARN, 'write a role\'s ARN, such as "arn:aws:iam::123456789012:role/mirror"'
)
external_id = matching(
    r"[A-Za-z0-9_+=,.@:/-]{2,1224}",
    "use 2 to 1,224 of the characters A-Z a-z 0-9 _ + = , . @ : / -",
)


def endpoint_url(value: object) -> str:
    """Return scheme, host and port; a last slash is dropped."""
    found = re.fullmatch(_ENDPOINT, value) if isinstance(value, str) else None
    if not found or not 0 < int(found[2] or PORT_MAX) <= PORT_MAX:
        raise UnfitError(
            'write http:// or https://, a host and a port if need be, such as "http://localhost:8000";'
            " no path and no credentials"
        )
    return found[1]


def attribute(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= ATTRIBUTE_BYTES_MAX:
        raise UnfitError(f"write an attribute's name of 1 to {ATTRIBUTE_BYTES_MAX} bytes")
    return value


def deadline_reserve_ms(value: object) -> int:
    if type(value) is not int or not 0 <= value <= DEADLINE_RESERVE_MS_MAX:
        raise UnfitError(f"write whole milliseconds from 0 to {DEADLINE_RESERVE_MS_MAX}")
    return value


def backlog_seconds(value: object) -> int:
    if type(value) is not int or not 0 <= value <= BACKLOG_SECONDS_MAX:
        raise UnfitError(f"write whole seconds from 0 (never) to {BACKLOG_SECONDS_MAX}")
    return value


def days(least: int) -> Parser:
    """Return the parser of a number of days."""

    def parse(value: object) -> int:
        if type(value) is not int or not least <= value <= DAYS_MAX:
            raise UnfitError(f"write whole days from {least} to {DAYS_MAX}")
        return value

    return parse


def writes_per_second(value: Any) -> float:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or not 0 < value <= WRITES_PER_SECOND_MAX:
        raise UnfitError("write a number above 0, or remove it for no limit")
    return float(value)


def unknown(path: str, key: str, value: object, known: Collection[str]) -> Problem:
    """Say what a key that nobody reads was probably meant to be."""
    from difflib import get_close_matches  # noqa: PLC0415  (rule 3)

    near = get_close_matches(key, known, n=1)
    if key in NOT_HERE and "mode" in known:
        remedy = NOT_HERE[key]
    elif near:
        remedy = f'no such key; did you mean "{near[0]}"?'
    else:
        remedy = f"no such key; known here: {', '.join(known)}"
    return Problem(join(path, key), value, remedy)


def of_place(path: str, raw: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield where a place contradicts itself; ``fields`` are those of ``raw`` that are fit."""
    where, whose, found = fields.get("region"), fields.get("account"), arn(fields.get("table", ""))
    if where and "endpoint_url" not in raw and not re.fullmatch(_REGION, where):
        yield Problem(
            f"{path}.region",
            where,
            'write a region\'s code, such as "us-east-1"; other names need an endpoint_url',
        )
    if found and where and found[1] != where:
        yield Problem(
            f"{path}.table",
            found[0],
            f'a client never leaves its region: set region = "{found[1]}", or name a table there',
        )
    if found and whose and found[2] != whose:
        yield Problem(f"{path}.account", whose, f"the table's ARN says {found[2]}: make them agree")
    if re.fullmatch(OURS, fields.get("table", "")):
        yield Problem(
            f"{path}.table",
            fields["table"],
            "dynamirror keeps its own state there; name your table",
        )
    if fields.get("server", "dynamodb") != "dynamodb" and "endpoint_url" not in raw:
        yield Problem(
            f"{path}.server",
            fields["server"],
            'it has an address of its own: add endpoint_url, such as "http://localhost:8000"',
        )
    if "external_id" in raw and "role_arn" not in raw:
        yield Problem(
            f"{path}.external_id",
            raw["external_id"],
            "it goes with a role: add role_arn, or remove external_id",
        )


def bare(table: str) -> str:
    """Return a table's name without the ARN before it."""
    return table.rpartition(":table/")[2]


def arn(table: str) -> re.Match[str] | None:
    """Return the ARN's region, account and name as groups 1 to 3, or None for a bare name."""
    return re.fullmatch(_TABLE_ARN, table) if ":" in table else None


def addressed(table: str, region: str, account: str) -> str:
    """Return a table's full ARN: by it a request reaches that account's table or none.

    A bare name silently means the caller's own table (Developer Guide, 'Using resource-based
    policies', cross-account access). Partitions are those of botocore's partitions.json.
    """
    if ":" in table:
        return table
    partition = next((name for start, name in _PARTITIONS if region.startswith(start)), "aws")
    return f"arn:{partition}:dynamodb:{region}:{account}:table/{table}"


def _shown(value: object) -> str:
    """Return a value on one line of printable characters, without a URL's credentials."""
    import json  # noqa: PLC0415  (rule 3)

    line = json.dumps(value, ensure_ascii=False, default=str)
    line = re.sub(r'(://)(?:[^"\\]|\\.)*@', r"\1***@", line)
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= SHOWN_CHARACTERS_MAX else f"{line[:SHOWN_CHARACTERS_MAX]}..."
