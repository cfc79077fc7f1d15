"""Places and tables of keys: read from TOML, faults and all.

A ``Read`` yields its problems and returns what it read, so that one fault hides no other.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from dynamirror.config import problems
from dynamirror.config.model import Place
from dynamirror.config.problems import MISSING, Problem, UnfitError
from dynamirror.config.relations import Spot, is_elsewhere
from dynamirror.core.servers import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamirror.config.problems import Parser

T = TypeVar("T")
Read = Generator[Problem, None, T]

PLACE: Mapping[str, Parser] = {
    "region": problems.region,
    "table": problems.table,
    "name": problems.name,
    "account": problems.account,
    "endpoint_url": problems.endpoint_url,
    "profile": problems.text,
    "role_arn": problems.role_arn,
    "external_id": problems.external_id,
    "server": problems.choice(Kind),
}


def _viewed(name: str) -> Parser:
    def parse(value: Any) -> Any:
        # Only where there is a view: reading conditions takes a cold start longer than all else.
        from dynamirror.config import views  # noqa: PLC0415

        return views.PARSERS[name](value)

    return parse


VIEW: Mapping[str, Parser] = {
    name: _viewed(name) for name in ("where", "attributes", "transform", "key")
}
"""What a target gets to see: in a mirror, or in one of its targets."""

TARGET = {**PLACE, **VIEW}

# Without a fault in these it is known which table a place means.
IDENTITY = [key for key in PLACE if key not in ("name", "external_id", "server")]


def places_of(
    raw: list[Any],
    path: str,
    needed: Mapping[str, str],
    defaults: Mapping[str, str],
    parsers: Mapping[str, Parser] = PLACE,
    *,
    start: int = 0,
) -> Read[list[Spot]]:
    """Return the places of a list of which it is known what table is meant."""
    places = []
    for number, place in enumerate(raw, start):
        spot = yield from place_of(place, f"{path}[{number}]", needed, defaults, parsers)
        if spot:
            places.append(spot)
    return places


def place_of(
    raw: object,
    path: str,
    needed: Mapping[str, str],
    defaults: Mapping[str, str],
    parsers: Mapping[str, Parser] = PLACE,
) -> Read[Spot | None]:
    """Return the place, or None where a fault leaves open which table is meant."""
    if not isinstance(raw, dict):
        yield Problem(path, raw, 'write a table: { region = "us-east-1", table = "Stories" }')
        return None
    given = yield from fields_of(raw, path, parsers, needed)
    yield from problems.of_place(path, raw, given)
    view = {name: given.pop(name) for name in VIEW if name in given}
    fields = {**defaults, **given}
    open_ones = [key for key in IDENTITY if key in raw and key not in given]
    if open_ones or "region" not in fields or "table" not in fields:
        return None
    if "account" in fields and not is_elsewhere(fields.get("endpoint_url")):
        fields["table"] = problems.addressed(fields["table"], fields["region"], fields["account"])
    if is_elsewhere(fields.get("endpoint_url")):
        fields.setdefault("server", Kind.COMPATIBLE)
    # A name that is unfit is told as such, and not again as taken: a path is nobody's name.
    fields.setdefault("name", path if "name" in raw else fields["region"])
    return Spot(path, Place(**fields), view)


def fields_of(
    raw: dict[str, Any], path: str, parsers: Mapping[str, Parser], needed: Mapping[str, str]
) -> Read[dict[str, Any]]:
    """Return the values that are fit, parsed."""
    values = {}
    for key, value in raw.items():
        if key not in parsers:
            yield problems.unknown(path, key, value, parsers)
            continue
        try:
            values[key] = parsers[key](value)
        except UnfitError as unfit:
            yield Problem(f"{path}.{key}", value, str(unfit))
    for key, remedy in needed.items():
        if key not in raw:
            yield Problem(f"{path}.{key}", MISSING, remedy)
    return values
