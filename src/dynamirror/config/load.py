"""From TOML to the model, all faults at once.

The tables say which keys there are and who parses each; a default is never repeated here, for a
key that is not given is not passed on. A ``Read`` yields its problems and returns what it read, so
that one fault hides no other.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynamirror.config import problems, relations
from dynamirror.config.model import (
    Config,
    Deletes,
    Guard,
    OneWay,
    OnPoison,
    Side,
    Transport,
    Unversioned,
)
from dynamirror.config.patterns import SAMPLE, Pattern, for_table, part_of, pattern_of
from dynamirror.config.places import TARGET, VIEW, Read, fields_of, place_of, places_of
from dynamirror.config.problems import MISSING, Problem, UnfitError, join
from dynamirror.config.relations import Declared, Spot
from dynamirror.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dynamirror.config.problems import Parser
    from dynamirror.config.routes import Route
    from dynamirror.core.view.lens import View

TABLES = ("mirrors", "routes")

TEXT = "(configuration text)"
"""What messages call a configuration that did not come from a file."""


def _later(value: object) -> object:
    """Let pass what is read by itself."""
    return value


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
    "backlog_seconds": problems.backlog_seconds,
    "ledger_table": problems.our_table,
    "parked_table": problems.our_table,
    "checkpoint_table": problems.our_table,
    **VIEW,
}

NOT_UNDONE = ("attributes", "transform", "key")
"""Views that no two-way mirror can have: the way back would not know what to make of them."""

TWO_WAY: Mapping[str, Parser] = {
    **{
        key: parser
        for key, parser in ONE_WAY.items()
        if key not in ("source", "targets", "guard", "sequence_attribute", *NOT_UNDONE)
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


def load(path_or_text: str, tables: Mapping[str, Sequence[str]] | None = None) -> Config:
    """Return the configuration in a file, or in the text itself if that is what is given.

    Text has a newline or starts with ``[``. ``tables``: by the names of mirrors whose source is a
    pattern, the tables that match; mirrors that it lacks are returned as ``patterns``. Raises
    ConfigError with every fault, a line each.
    """
    path, raw = as_written(path_or_text)
    reading = _all(raw, tables or {})
    faults: list[Problem] = []
    try:
        while True:
            faults.append(next(reading))
    except StopIteration as end:
        mirrors, patterns, routes = end.value
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{path}: {count}\n{lines}")
    return Config(mirrors=mirrors, path=path, patterns=patterns, routes=routes)


def as_written(path_or_text: str) -> tuple[str, dict[str, Any]]:
    """Return what messages call a configuration, and its TOML, parsed and not yet judged.

    Raises ConfigError where it can't be read.
    """
    is_text = "\n" in path_or_text or path_or_text.startswith("[")
    path = TEXT if is_text else path_or_text
    return path, _toml(path_or_text if is_text else _text(path), path)


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


def _all(
    raw: dict[str, Any], tables: Mapping[str, Sequence[str]]
) -> Read[tuple[tuple[OneWay, ...], tuple[Pattern, ...], tuple[Route, ...]]]:
    for key, value in raw.items():
        if key not in TABLES:
            yield problems.unknown("", key, value, TABLES)
    mirrors, patterns = yield from _mirrors(raw, tables)
    if "routes" not in raw:
        return mirrors, patterns, ()
    from dynamirror.config import routes  # noqa: PLC0415 - no function of ours has any

    return mirrors, patterns, (yield from routes.routes_in(raw))


def _mirrors(
    raw: dict[str, Any], tables: Mapping[str, Sequence[str]]
) -> Read[tuple[tuple[OneWay, ...], tuple[Pattern, ...]]]:
    declared: list[Declared] = []
    patterns: list[Pattern] = []
    named = raw.get("mirrors", {})
    if not isinstance(named, dict) or not named:
        value = named if "mirrors" in raw else MISSING
        yield Problem("mirrors", value, "declare a mirror: a table [mirrors.NAME]")
        return (), ()
    for name, value in named.items():
        path = join("mirrors", name)
        try:
            problems.name(name)
        except UnfitError as unfit:
            yield Problem(path, name, f"the mirror's name: {unfit}")
        pattern = pattern_of(value) if isinstance(value, dict) else None
        if pattern is None:
            declared.append((yield from _mirror(name, value, path)))
        elif name in tables:
            for table in tables[name]:
                part = part_of(pattern, table) or ""
                one = yield from _mirror(f"{name}.{table}", for_table(value, part), path)
                declared.append(one)
        else:
            one = yield from _mirror(name, for_table(value, SAMPLE), path)
            places = [replace(mirror.source, table=pattern) for mirror in one.mirrors]
            patterns += [Pattern(name, place) for place in places[:1]]
    yield from relations.between(declared)
    return tuple(mirror for each in declared for mirror in each.mirrors), tuple(patterns)


def _mirror(name: str, raw: object, path: str) -> Read[Declared]:
    if not isinstance(raw, dict):
        yield Problem(path, raw, f"write the mirror as a table: [{path}]")
        return Declared(path, None, (), ())
    mode = raw.get("mode", MISSING)
    if mode == "two-way" or (mode != "one-way" and "replicas" in raw):
        return (yield from _two_way(name, raw, path))
    return (yield from _one_way(name, raw, path))


def _one_way(name: str, raw: dict[str, Any], path: str) -> Read[Declared]:
    fields = yield from fields_of(raw, path, ONE_WAY, NEEDED_IN_ONE_WAY)
    fields.pop("mode", None)
    source, its_table = None, None
    if "source" in fields:
        place = fields.pop("source")
        source = yield from place_of(place, f"{path}.source", NEEDED_IN_SOURCE, {})
        its_table = place.get("table") if isinstance(place, dict) else None
    defaults = {"table": problems.bare(its_table)} if isinstance(its_table, str) else {}
    targets = []
    if "targets" in fields:
        places = fields.pop("targets")
        if not isinstance(places, list) or not places:
            remedy = 'write a list of tables: targets = [{ region = "eu-west-1" }]'
            yield Problem(f"{path}.targets", places, remedy)
            places = []
        targets = yield from places_of(
            places, f"{path}.targets", NEEDED_IN_TARGET, defaults, TARGET
        )
    mirrors: tuple[OneWay, ...] = ()
    if source:
        said = {option: fields.pop(option) for option in VIEW if option in fields}
        there = tuple(each.place for each in targets)
        views = _views(said, targets)
        mirrors = (OneWay(name=name, source=source.place, targets=there, views=views, **fields),)
    return Declared(path, source, tuple(targets), mirrors)


def _two_way(name: str, raw: dict[str, Any], path: str) -> Read[Declared]:
    fields = yield from fields_of(raw, path, TWO_WAY, NEEDED_IN_TWO_WAY)
    fields.pop("mode", None)
    places = fields.pop("replicas", None)
    if places is None:
        return Declared(path, None, (), ())
    at = f"{path}.replicas"
    if not isinstance(places, list) or not REPLICAS_MIN <= len(places) <= REPLICAS_MAX:
        remedy = f"write a list of {REPLICAS_MIN} to {REPLICAS_MAX} tables, the strongest first"
        yield Problem(at, places, remedy)
        return Declared(path, None, (), ())
    first = yield from place_of(places[0], f"{at}[0]", NEEDED_IN_SOURCE, {})
    its_table = places[0].get("table") if isinstance(places[0], dict) else None
    defaults = {"table": problems.bare(its_table)} if isinstance(its_table, str) else {}
    others = yield from places_of(places[1:], at, NEEDED_IN_TARGET, defaults, start=1)
    replicas = [*([first] if first else []), *others]
    views = _views({"where": fields.pop("where", None)}, replicas)
    there = tuple(each.place for each in replicas)
    mirrors = tuple(
        Side(
            name=name,
            source=here,
            targets=tuple(other for other in there if other is not here),
            replicas=there,
            views=views,
            **fields,
        )
        for here in there
    )
    return Declared(path, None, tuple(replicas), mirrors)


def _views(said: Mapping[str, Any], targets: Sequence[Spot]) -> Mapping[str, View]:
    """Return the views of those targets that have one, by the targets' names."""
    if not any((*said.values(), *(target.view for target in targets))):
        return {}
    from dynamirror.config import views  # noqa: PLC0415 - as in ``places``

    seen = {target.place.name: views.view(said, target.view) for target in targets}
    return {name: view for name, view in seen.items() if view is not None}
