"""What is wrong with places and mirrors beside each other: tables and names taken, cycles.

Rule 1: this is asked even where faults were found before, so it judges what could be read and takes
nothing for granted of the rest.
Rule 2: whether two places are one table is decided in ``_Tables`` alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dynamirror.config.model import Guard, OneWay, Place, Side
from dynamirror.config.problems import MISSING, OURS, Problem, arn, bare
from dynamirror.core.servers import habits_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dynamirror.core.view.lens import View

    Table = tuple[str, str | None, str, int]
    Writer = tuple[str, View | None]

TABLE_NAME_CHARACTERS_MAX = 255  # Developer Guide, 'Naming rules'

READERS_MAX = 2  # Developer Guide, 'DynamoDB Streams': more than two per shard are throttled

_ENDPOINT_OF_AWS = r".*\.(amazonaws\.com|amazonaws\.com\.cn|api\.aws)(:443)?"


@dataclass(frozen=True, slots=True)
class Spot:
    """A place, and where in the file it stands."""

    path: str
    place: Place
    view: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What its place says of a view, parsed."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What could be read of a mirror, faults or no."""

    path: str
    source: Spot | None
    targets: tuple[Spot, ...]
    """Every place that it writes: of a two-way mirror, all."""
    mirrors: tuple[OneWay, ...]


def between(mirrors: Sequence[Declared]) -> Iterator[Problem]:
    """Yield what is wrong with places and mirrors beside each other."""
    tables = _Tables()
    writers: dict[Table, list[Writer]] = {}
    for mirror in mirrors:
        yield from _within(mirror, tables, writers)
    yield from dict.fromkeys(_ours(mirrors, tables))
    yield from _cycles(mirrors, tables)
    yield from _readers(mirrors, tables)
    yield from _beyond(mirrors)


def same_table(one: Place, other: Place) -> bool:
    """Tell whether two places are one table, as far as they tell."""
    tables = _Tables()
    return tables.which(one) == tables.which(other)


def is_elsewhere(endpoint_url: str | None) -> bool:
    """Tell whether an endpoint is another server's than AWS's."""
    return endpoint_url is not None and not re.fullmatch(_ENDPOINT_OF_AWS, endpoint_url)


class _Tables:
    """Tells which places are one table.

    Two accounts that are both known decide it; else two places reached with the same credentials
    are taken for one account's.
    """

    def __init__(self) -> None:
        self._met: dict[tuple[str, str | None, str], dict[Place, int]] = {}

    def which(self, place: Place) -> Table:
        endpoint = place.endpoint_url if is_elsewhere(place.endpoint_url) else None
        at = (place.region, endpoint, bare(place.table))
        met = self._met.setdefault(at, {})
        same = (number for other, number in met.items() if self._same_account(place, other))
        return (*at, met.setdefault(place, next(same, len(met))))

    @staticmethod
    def _same_account(one: Place, other: Place) -> bool:
        if account_of(one) and account_of(other):
            return account_of(one) == account_of(other)
        return (one.profile, one.role_arn) == (other.profile, other.role_arn)


def _within(
    mirror: Declared, tables: _Tables, writers: dict[Table, list[Writer]]
) -> Iterator[Problem]:
    """Yield tables and names of a mirror that are taken; ``writers`` gathers who writes what."""
    source = mirror.source
    mine = {tables.which(source.place): source.path} if source else {}
    names = {source.place.name: source.path} if source else {}
    for target in mirror.targets:
        place, at = target.place, tables.which(target.place)
        if at in mine:
            yield Problem(
                target.path, _label(place), f"{mine[at]} is this very table; name another one"
            )
            continue
        mine[at] = target.path
        mine_too = (target.path, _view_of(mirror, place))
        for path, view in writers.setdefault(at, []):
            if not _are_apart(view, mine_too[1]):
                yield Problem(
                    target.path,
                    _label(place),
                    f"{path} writes this table too; a table has one writer, or views whose keys "
                    'begin with other texts, such as key = { pk = "A#{id}" }',
                )
                break
        writers[at].append(mine_too)
        if (taken := names.setdefault(place.name, target.path)) != target.path:
            yield Problem(
                f"{target.path}.name",
                MISSING if place.name == place.region else place.name,
                f'{taken} is called "{place.name}" too (its region unless named);'
                ' give each a name of its own, such as name = "backup"',
            )


def _view_of(mirror: Declared, target: Place) -> View | None:
    views = [each.views.get(target.name) for each in mirror.mirrors]
    return views[0] if views else None


def _are_apart(one: View | None, other: View | None) -> bool:
    return one is not None and other is not None and one.is_apart(other)


def _ours(mirrors: Sequence[Declared], tables: _Tables) -> Iterator[Problem]:
    """Yield tables of ours that are a user's too, have two roles, or a name too long."""
    spots = [spot for each in mirrors for spot in (each.source, *each.targets) if spot]
    users = {tables.which(spot.place): spot.path for spot in reversed(spots)}
    claims: dict[object, str] = {}
    for declared in mirrors:
        roles = (role for mirror in declared.mirrors for role in _roles(mirror))
        for role, called, beside in roles:
            path = f"{declared.path}.{role}"
            at = tables.which(replace(beside, table=called))
            taken = [claims.setdefault(key, path) for key in (at, (declared.path, called))]
            other = next((each for each in taken if not each.endswith(f".{role}")), None)
            if len(bare(called)) > TABLE_NAME_CHARACTERS_MAX:
                yield Problem(path, called, f'the name is too long: set a shorter {role} = "..."')
            elif at in users and not re.fullmatch(OURS, called):
                yield Problem(
                    path, called, f"{users[at]} is this table; give dynamirror's own another name"
                )
            elif other:
                yield Problem(path, called, f"{other} has this name; give each table its own")


def _roles(mirror: OneWay) -> Iterator[tuple[str, str, Place]]:
    """Yield the key that names each table of ours, its name, and the place it is beside."""
    if isinstance(mirror, Side):
        yield "ledger_table", mirror.ledger_of(mirror.source), mirror.source
        yield "journal_table", mirror.journal_of(mirror.source), mirror.source
    elif mirror.guard is Guard.LEDGER or mirror.ledger_table:
        for target in mirror.targets:
            yield "ledger_table", mirror.ledger_of(target), target
    yield "parked_table", mirror.parked, mirror.source
    yield "checkpoint_table", mirror.checkpoints, mirror.source


def _cycles(mirrors: Sequence[Declared], tables: _Tables) -> Iterator[Problem]:
    """Yield every link that closes a cycle of links before it; without those there is none."""
    onward: dict[Table, list[Table]] = {}
    labels: dict[Table, str] = {}
    links = [(each.source, target) for each in mirrors if each.source for target in each.targets]
    for source, target in links:
        start, end = tables.which(source.place), tables.which(target.place)
        labels |= {start: _label(source.place), end: _label(target.place)}
        if start == end:
            continue
        if way := _way(onward, end, start):
            cycle = " -> ".join(labels[each] for each in (start, *way))
            yield Problem(
                target.path,
                _label(target.place),
                f"changes would go round for ever: {cycle}; remove one of these links",
            )
        else:
            onward.setdefault(start, []).append(end)


def _readers(mirrors: Sequence[Declared], tables: _Tables) -> Iterator[Problem]:
    """Yield the mirrors too many of a table: each reads its stream."""
    readers: dict[Table, int] = {}
    for mirror in mirrors:
        for one in mirror.mirrors:
            table = tables.which(one.source)
            readers[table] = readers.get(table, 0) + 1
            if readers[table] > READERS_MAX:
                yield Problem(
                    f"{mirror.path}.source",
                    _label(one.source),
                    "a stream takes two readers, and two mirrors read this one already: "
                    "give one of them the targets of this",
                )


def _beyond(mirrors: Sequence[Declared]) -> Iterator[Problem]:
    """Yield what a server does not do."""
    for declared in mirrors:
        guards = {mirror.guard for mirror in declared.mirrors}
        for spot in declared.targets:
            habits = habits_of(spot.place.server)
            if Guard.LEDGER in guards and "TransactWriteItems" in habits.lacks:
                yield Problem(
                    f"{declared.path}.guard",
                    Guard.LEDGER,
                    f"{habits.title} ({spot.path}) has no transactions: "
                    'set guard = "item" or "order"',
                )


def _way(onward: Mapping[Table, list[Table]], start: Table, end: Table) -> list[Table]:
    """Return the tables from start to end, or nothing."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return way
        fresh = [each for each in onward.get(way[-1], []) if each not in seen]
        seen.update(fresh)
        ways += [[*way, each] for each in fresh]
    return []


def account_of(place: Place) -> str | None:
    """Return the account that a table is in, as far as the file tells it."""
    found = arn(place.table)
    return found[2] if found else place.account or (place.role_arn or "::::").split(":")[4] or None


def _label(place: Place) -> str:
    whose = account_of(place)
    return f"{place.region}/{bare(place.table)}" + (f" of {whose}" if whose else "")
