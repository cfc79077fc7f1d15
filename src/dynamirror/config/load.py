"""From TOML to the model, all faults at once.

The tables say which keys there are and who parses each; a default is never repeated here, for a
key that is not given is not passed on. A ``Read`` yields its problems and returns what it read, so
that one fault hides no other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from dynamirror.config import problems, relations
from dynamirror.config.model import (
    Config,
    Deletes,
    Guard,
    OneWay,
    OnPoison,
    Place,
    Side,
    Transport,
    Unversioned,
)
from dynamirror.config.problems import MISSING, Problem, UnfitError, join
from dynamirror.config.relations import Declared, Spot
from dynamirror.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamirror.config.problems import Parser

T = TypeVar("T")
Read = Generator[Problem, None, T]

TEXT = "(configuration text)"
"""What messages call a configuration that did not come from a file."""


def _later(value: object) -> object:
    """Let pass what is read by itself."""
    return value


PLACE: Mapping[str, Parser] = {
    "region": problems.region,
    "table": problems.table,
    "name": problems.name,
    "account": problems.account,
    "endpoint_url": problems.endpoint_url,
    "profile": problems.text,
    "role_arn": problems.role_arn,
    "external_id": problems.external_id,
}

ONE_WAY: Mapping[str, Parser] = {
    "mode": problems.mode,
    "source": _later,
    "targets": _later,
    "guard": problems.choice(Guard),
    "sequence_attribute": problems.attribute,
    "deletes": problems.choice(Deletes),
    "ttl_deletes": problems.choice(Deletes),
    "on_poison": problems.choice(OnPoison),
    "max_writes_per_second": problems.writes_per_second,
    "transport": problems.choice(Transport),
    "deadline_reserve_ms": problems.deadline_reserve_ms,
    "ledger_table": problems.our_table,
    "parked_table": problems.our_table,
    "checkpoint_table": problems.our_table,
}

TWO_WAY: Mapping[str, Parser] = {
    **{
        key: parser
        for key, parser in ONE_WAY.items()
        if key not in ("source", "targets", "guard", "sequence_attribute")
    },
    "replicas": _later,
    "version_attribute": problems.attribute,
    "stamp_attribute": problems.attribute,
    "unversioned": problems.choice(Unversioned),
    "tombstone_days": problems.days(problems.TOMBSTONE_DAYS_MIN),
    "journal_days": problems.days(1),
    "journal_table": problems.our_table,
}

REPLICAS_MIN, REPLICAS_MAX = 2, 8

NEEDED_IN_TARGET = {"region": 'say where the table is, such as region = "us-east-1"'}
NEEDED_IN_SOURCE = {**NEEDED_IN_TARGET, "table": 'name the table, such as table = "Stories"'}
NEEDED_IN_ONE_WAY = {
    "mode": 'write mode = "one-way"',
    "source": 'add source = { region = "us-east-1", table = "Stories" }',
    "targets": 'add targets = [{ region = "eu-west-1" }]',
}

NEEDED_IN_TWO_WAY = {
    "mode": 'write mode = "two-way"',
    "replicas": 'add replicas = [{ region = "us-east-1", table = "Sessions" }, ...]',
}

# Without a fault in these it is known which table a place means.
IDENTITY = [key for key in PLACE if key not in ("name", "external_id")]


def load(path_or_text: str) -> Config:
    """Return the configuration in a file, or in the text itself if that is what is given.

    Text has a newline or starts with ``[``. Raises ConfigError with every fault, a line each.
    """
    is_text = "\n" in path_or_text or path_or_text.startswith("[")
    path = TEXT if is_text else path_or_text
    raw = _toml(path_or_text if is_text else _text(path), path)
    reading = _mirrors(raw)
    faults: list[Problem] = []
    try:
        while True:
            faults.append(next(reading))
    except StopIteration as end:
        mirrors = end.value
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{path}: {count}\n{lines}")
    return Config(mirrors=mirrors, path=path)


def _text(path: str) -> str:
    try:
        # Not pathlib: importing it takes a cold start longer than all of this file.
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError:
        raise ConfigError(
            f"{path or '(no path)'}: no such file; give the path of a TOML file that declares"
            " mirrors (docs/configuration.md has one to start from)"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path!r} can't be read ({why}); give a file you may read") from error


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; a number of 5,000 digits is another
        raise ConfigError(
            f"{path}: not TOML: {error}; mend it there, then load it again"
        ) from error


def _mirrors(raw: dict[str, Any]) -> Read[tuple[OneWay, ...]]:
    declared = []
    for key, value in raw.items():
        if key != "mirrors":
            yield problems.unknown("", key, value, ["mirrors"])
    named = raw.get("mirrors", {})
    if not isinstance(named, dict) or not named:
        value = named if "mirrors" in raw else MISSING
        yield Problem("mirrors", value, "declare a mirror: a table [mirrors.NAME]")
        return ()
    for name, value in named.items():
        declared.append((yield from _mirror(name, value)))
    yield from relations.between(declared)
    return tuple(mirror for each in declared for mirror in each.mirrors)


def _mirror(name: str, raw: object) -> Read[Declared]:
    path = join("mirrors", name)
    nothing = Declared(path, None, (), ())
    try:
        problems.name(name)
    except UnfitError as unfit:
        yield Problem(path, name, f"the mirror's name: {unfit}")
    if not isinstance(raw, dict):
        yield Problem(path, raw, f"write the mirror as a table: [{path}]")
        return nothing
    mode = raw.get("mode", MISSING)
    if mode == "two-way" or (mode != "one-way" and "replicas" in raw):
        return (yield from _two_way(name, raw, path))
    return (yield from _one_way(name, raw, path))


def _one_way(name: str, raw: dict[str, Any], path: str) -> Read[Declared]:
    fields = yield from _fields(raw, path, ONE_WAY, NEEDED_IN_ONE_WAY)
    fields.pop("mode", None)
    source, its_table = None, None
    if "source" in fields:
        place = fields.pop("source")
        source = yield from _place(place, f"{path}.source", NEEDED_IN_SOURCE, {})
        its_table = place.get("table") if isinstance(place, dict) else None
    defaults = {"table": problems.bare(its_table)} if isinstance(its_table, str) else {}
    targets = []
    if "targets" in fields:
        places = fields.pop("targets")
        if not isinstance(places, list) or not places:
            remedy = 'write a list of tables: targets = [{ region = "eu-west-1" }]'
            yield Problem(f"{path}.targets", places, remedy)
            places = []
        targets = yield from _places(places, f"{path}.targets", defaults)
    mirrors: tuple[OneWay, ...] = ()
    if source:
        there = tuple(each.place for each in targets)
        mirrors = (OneWay(name=name, source=source.place, targets=there, **fields),)
    return Declared(path, source, tuple(targets), mirrors)


def _two_way(name: str, raw: dict[str, Any], path: str) -> Read[Declared]:
    fields = yield from _fields(raw, path, TWO_WAY, NEEDED_IN_TWO_WAY)
    fields.pop("mode", None)
    places = fields.pop("replicas", None)
    if places is None:
        return Declared(path, None, (), ())
    at = f"{path}.replicas"
    if not isinstance(places, list) or not REPLICAS_MIN <= len(places) <= REPLICAS_MAX:
        remedy = f"write a list of {REPLICAS_MIN} to {REPLICAS_MAX} tables, the strongest first"
        yield Problem(at, places, remedy)
        return Declared(path, None, (), ())
    first = yield from _place(places[0], f"{at}[0]", NEEDED_IN_SOURCE, {})
    its_table = places[0].get("table") if isinstance(places[0], dict) else None
    defaults = {"table": problems.bare(its_table)} if isinstance(its_table, str) else {}
    others = yield from _places(places[1:], at, defaults, start=1)
    replicas = [*([first] if first else []), *others]
    there = tuple(each.place for each in replicas)
    mirrors = tuple(
        Side(
            name=name,
            source=here,
            targets=tuple(other for other in there if other is not here),
            replicas=there,
            **fields,
        )
        for here in there
    )
    return Declared(path, None, tuple(replicas), mirrors)


def _places(
    raw: list[Any], path: str, defaults: Mapping[str, str], start: int = 0
) -> Read[list[Spot]]:
    places = []
    for number, place in enumerate(raw, start):
        spot = yield from _place(place, f"{path}[{number}]", NEEDED_IN_TARGET, defaults)
        if spot:
            places.append(spot)
    return places


def _place(
    raw: object, path: str, needed: Mapping[str, str], defaults: Mapping[str, str]
) -> Read[Spot | None]:
    """Return the place, or None where a fault leaves open which table is meant."""
    if not isinstance(raw, dict):
        yield Problem(path, raw, 'write a table: { region = "us-east-1", table = "Stories" }')
        return None
    given = yield from _fields(raw, path, PLACE, needed)
    yield from problems.of_place(path, raw, given)
    fields = {**defaults, **given}
    open_ones = [key for key in IDENTITY if key in raw and key not in given]
    if open_ones or "region" not in fields or "table" not in fields:
        return None
    # A name that is unfit is told as such, and not again as taken: a path is nobody's name.
    fields.setdefault("name", path if "name" in raw else fields["region"])
    return Spot(path, Place(**fields))


def _fields(
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
