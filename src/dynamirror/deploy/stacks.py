"""Which stacks a configuration needs: one for each account and region that has work to do.

A function runs in its source's region, beside its stream; tables of ours are beside the tables
they belong to; a role by which a function of another account writes is in that account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dynamirror.config.model import Config, Guard, Mirror, Place, Side
from dynamirror.config.problems import arn, bare
from dynamirror.config.relations import account_of, is_elsewhere
from dynamirror.deploy import names
from dynamirror.deploy.toml import spelled
from dynamirror.engine.tables.needs import Ours, tables_of_ours
from dynamirror.errors import ConfigError

CONFIG_BYTES_MAX = 3_500
"""Of a function's 4 KB of environment (Lambda Developer Guide, 'Quotas')."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """Where a stack is."""

    account: str
    """Twelve digits; empty for the account of whoever deploys, where that isn't known."""
    region: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}" if self.account else self.region


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One function: a mirror's source, or one side of a two-way mirror."""

    mirror: Mirror
    config: str
    """The configuration in the function's environment, TOML."""

    @property
    def id(self) -> str:
        """The beginning of its logical ids."""
        return names.consumer_id(self.mirror)

    @property
    def modules(self) -> tuple[str, ...]:
        """The user's modules that it calls, for what a target gets to see."""
        named = (view.transform for view in self.mirror.views.values())
        return tuple(sorted({each.partition(":")[0] for each in named if each}))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The environment variables with secrets that it needs."""
        shapes = [view.shape for view in self.mirror.views.values()]
        named = {one.secret_env for one in shapes if one.hashes and one.secret_env}
        return tuple(sorted(named))

    @property
    def function(self) -> str:
        """What its function is called."""
        return names.function_name(self.mirror)

    @property
    def role(self) -> str:
        """What its function's role is called."""
        return names.role_name(self.mirror)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A role by which functions of other accounts write here."""

    role_arn: str
    callers: tuple[tuple[Site, Consumer], ...]
    external_ids: tuple[str, ...]
    """What callers may give; none where one of them gives none."""

    @property
    def path(self) -> str:
        """The path of its name in IAM, ``/`` for none."""
        return self._named[0]

    @property
    def name(self) -> str:
        """What it is called."""
        return self._named[1]

    @property
    def _named(self) -> tuple[str, str]:
        before, _, name = self.role_arn.partition(":role/")[2].rpartition("/")
        return (f"/{before}/" if before else "/", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What one account and region has to have."""

    name: str
    site: Site
    consumers: tuple[Consumer, ...] = ()
    tables: tuple[Ours, ...] = ()
    writers: tuple[Writer, ...] = ()
    profiles: tuple[str, ...] = ()
    """Profiles that the configuration reaches this account with."""
    home: str = ""
    """The account of whoever deploys, where it is known: that of places which don't say."""
    shares: bool = False
    """Whether it also has what copies large tables in shares."""


def stacks_of(
    config: Config,
    raw: Mapping[str, Any],
    *,
    name: str,
    home: str = "",
    shares: bool = False,
) -> tuple[Stack, ...]:
    """Return every stack that a configuration needs, in the order of their sites; mirrors in the
    order of their names.

    ``raw`` is the file as TOML has it; ``home`` the account of whoever deploys, where it is known.
    Raises ConfigError for what can't be followed or reached from a function.
    """
    faults = [fault for mirror in config.mirrors for fault in _faults(mirror, home)]
    if faults:
        raise ConfigError("\n".join(faults))
    stacks: dict[Site, Stack] = {}

    def at(site: Site) -> Stack:
        return stacks.setdefault(site, Stack(name=name, site=site, home=home, shares=shares))

    consumers = [
        (site_of(mirror.source, home), _consumer(mirror, raw["mirrors"][mirror.name], home))
        for mirror in sorted(config.mirrors, key=lambda one: one.link)
    ]
    for site, consumer in consumers:
        stack = at(site)
        stacks[site] = replace(stack, consumers=(*stack.consumers, consumer))
        for ours in tables_of_ours(consumer.mirror):
            if not is_elsewhere(ours.place.endpoint_url):
                _add_table(stacks, at(site_of(ours.place, home)), ours)
    for writer, site in _writers(consumers, home):
        stack = at(site)
        stacks[site] = replace(stack, writers=(*stack.writers, writer))
    for stack in stacks.values():
        _require_distinct(stack)
    places = [place for one in config.mirrors for place in (one.source, *one.targets)]
    return tuple(
        replace(stacks[site], profiles=_profiles(site, places, home)) for site in sorted(stacks)
    )


def site_of(place: Place, home: str) -> Site:
    """Return the site of a place."""
    return Site(account_of(place) or home, place.region)


def _profiles(site: Site, places: Sequence[Place], home: str) -> tuple[str, ...]:
    mine = [one.profile for one in places if site_of(one, home).account == site.account]
    return tuple(dict.fromkeys(profile for profile in mine if profile))


def _consumer(mirror: Mirror, raw: Mapping[str, Any], home: str) -> Consumer:
    here = site_of(mirror.source, home).account
    places = {place.name: place for place in (mirror.source, *mirror.targets)}

    def as_reached(given: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in given.items() if key != "profile"}
        place = places[given.get("name", given["region"])]
        if site_of(place, home).account == here:  # the function's own role serves
            kept = {key: kept[key] for key in kept if key not in ("role_arn", "external_id")}
        return kept

    told = dict(raw)
    for key in ("source", "targets", "replicas"):
        if key in told:
            one = isinstance(told[key], Mapping)
            told[key] = as_reached(told[key]) if one else [as_reached(each) for each in told[key]]
    text = spelled(mirror.name, told)
    if len(text.encode()) > CONFIG_BYTES_MAX:
        raise ConfigError(
            f"mirror {mirror.name}: its configuration has {len(text.encode())} bytes, a function's"
            f" environment has room for {CONFIG_BYTES_MAX}: divide it into several mirrors"
        )
    return Consumer(mirror=mirror, config=text)


def _add_table(stacks: dict[Site, Stack], stack: Stack, ours: Ours) -> None:
    known = {bare(table.place.table) for table in stack.tables}
    if bare(ours.place.table) not in known:
        stacks[stack.site] = replace(stack, tables=(*stack.tables, ours))


def _writers(
    consumers: Sequence[tuple[Site, Consumer]], home: str
) -> Iterator[tuple[Writer, Site]]:
    """Yield the roles that functions assume in other accounts, each at its first region."""
    callers: dict[str, list[tuple[Site, Consumer]]] = {}
    places: dict[str, list[Place]] = {}
    for site, consumer in consumers:
        for place in consumer.mirror.targets:
            if place.role_arn and site_of(place, home).account != site.account:
                who = callers.setdefault(place.role_arn, [])
                places.setdefault(place.role_arn, []).append(place)
                if (site, consumer) not in who:
                    who.append((site, consumer))
    for role_arn, who in callers.items():
        reached = places[role_arn]
        given = dict.fromkeys(place.external_id or "" for place in reached)
        writer = Writer(
            role_arn=role_arn,
            callers=tuple(who),
            external_ids=() if "" in given else tuple(given),
        )
        yield writer, Site(role_arn.split(":")[4], reached[0].region)


def _faults(mirror: Mirror, home: str) -> Iterator[str]:
    """Yield what keeps a mirror from running as a function."""
    source, here = mirror.source, site_of(mirror.source, home)
    if is_elsewhere(source.endpoint_url):
        yield (
            f"mirror {mirror.title}: {source.endpoint_url} is no stream of AWS's, which a function"
            " could follow: run this mirror with `dynamirror run`"
        )
    for place in mirror.targets:
        there = site_of(place, home)
        unknown = place.profile not in (None, source.profile) and not account_of(place)
        if unknown and there.account == here.account:
            yield (
                f"mirror {mirror.title}: {place.region}/{place.table} is reached with the profile"
                f" {place.profile!r}, which a function doesn't have: say whose table it is with"
                ' account = "...", and give role_arn = "..." if that is another account'
            )
        if is_elsewhere(place.endpoint_url):
            continue
        needs_role = (
            isinstance(mirror, Side) or mirror.guard is Guard.LEDGER or not arn(place.table)
        )
        if there.account != here.account and not place.role_arn and needs_role:
            yield (
                f"mirror {mirror.title}: {place.region}/{place.table} is in account"
                f" {there.account}: give it role_arn = "
                f'"arn:aws:iam::{there.account}:role/mirror-writer", a role that `dynamirror'
                " deploy` makes there"
            )
        if partition_of(place) != partition_of(source):
            yield (
                f"mirror {mirror.title}: {place.region} is in another partition of AWS than"
                f" {source.region}, where a function's role means nothing: run this mirror with"
                " `dynamirror run`"
            )


def partition_of(place: Place) -> str:
    """Return the partition of AWS that a place's region is in."""
    start = place.region.partition("-")[0]
    return {"cn": "aws-cn"}.get(start, "aws-us-gov" if "-gov-" in place.region else "aws")


def _require_distinct(stack: Stack) -> None:
    called: dict[str, str] = {}
    mine = [(one.id, one.mirror.title) for one in stack.consumers]
    mine += [(one.function, one.mirror.title) for one in stack.consumers]
    mine += [(names.table_id(one.place.table), one.place.table) for one in stack.tables]
    for name, whose in mine:
        if called.setdefault(name, whose) != whose:
            raise ConfigError(
                f"{whose!r} and {called[name]!r} would both be called {name} on AWS:"
                " give one of them a name that differs in more than '-', '_', '.' and capitals"
            )
