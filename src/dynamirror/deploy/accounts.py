"""Whose credentials deploy where: one's own, and for other accounts a profile for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dynamirror.config.model import Config, Mirror, Place, Side
from dynamirror.config.relations import account_of, is_elsewhere
from dynamirror.deploy.stacks import Site, Stack, site_of
from dynamirror.errors import ConfigError
from dynamirror.ports import ControlPlane

Reach = Callable[[str, str | None], ControlPlane]
"""Connects to a region with a profile, or with one's own credentials."""


class Accounts:
    """Connections to every account and region that something is to be done in."""

    def __init__(self, reach: Reach, profiles: Mapping[str, str]) -> None:
        self._reach = reach
        self._profiles = dict(profiles)
        self._controls: dict[tuple[str, str | None], ControlPlane] = {}
        self.home = ""

    async def told(self, config: Config) -> Config:
        """Return the configuration with the account of each place that a profile reaches, and
        learn whose the others are: those of whoever deploys.
        """
        whose: dict[str | None, str] = {}
        for place in (place for one in config.mirrors for place in (one.source, *one.targets)):
            mine = not account_of(place) and not is_elsewhere(place.endpoint_url)
            if mine and place.profile not in whose:
                whose[place.profile] = await self._whose(place.region, place.profile)
        self.home = whose.get(None, "")

        def known(place: Place) -> Place:
            account = account_of(place) or whose.get(place.profile)
            return replace(place, account=account) if place.profile else place

        return replace(config, mirrors=tuple(_mapped(one, known) for one in config.mirrors))

    async def enter(self, stack: Stack) -> ControlPlane:
        """Return the connection to a stack's site.

        Raises ConfigError where the credentials belong to another account.
        """
        account = stack.site.account
        if account not in self._profiles and account != self.home and stack.profiles:
            self._profiles[account] = stack.profiles[0]
        profile = self._profiles.get(account)
        whose = await self._whose(stack.site.region, profile)
        if whose != account:
            told = f"the profile {profile!r} is" if profile else "your credentials are"
            raise ConfigError(
                f"{stack.site}: {told} of account {whose}; name a profile of {account} with"
                f" --profile {account}=NAME"
            )
        return self.at(stack.site)

    def at(self, site: Site) -> ControlPlane:
        """Return the connection to a site that was entered."""
        return self._control(site.region, self._profiles.get(site.account))

    def operated(self, config: Config) -> Config:
        """Return the configuration as whoever deploys reaches its tables: with those profiles, and
        without the roles that are the functions' own.
        """
        return replace(config, mirrors=tuple(_mapped(one, self.reached) for one in config.mirrors))

    async def close(self) -> None:
        """Drop the connections."""
        for control in self._controls.values():
            await control.close()

    def reached(self, place: Place) -> Place:
        """Return a place as whoever deploys reaches it."""
        if is_elsewhere(place.endpoint_url):
            return place
        account = site_of(place, self.home).account
        own = account == self.home and account not in self._profiles
        if account not in self._profiles and not own:
            return place
        return replace(place, profile=self._profiles.get(account), role_arn=None, external_id=None)

    async def _whose(self, region: str, profile: str | None) -> str:
        told = await self._control(region, profile).call("sts", "GetCallerIdentity")
        account: str = told["Account"]
        return account

    def _control(self, region: str, profile: str | None) -> ControlPlane:
        if (region, profile) not in self._controls:
            self._controls[region, profile] = self._reach(region, profile)
        return self._controls[region, profile]


def _mapped(mirror: Mirror, change: Callable[[Place], Place]) -> Mirror:
    """Return a mirror with every place changed."""
    changed: dict[str, Any] = {
        "source": change(mirror.source),
        "targets": tuple(map(change, mirror.targets)),
    }
    if isinstance(mirror, Side):
        changed["replicas"] = tuple(map(change, mirror.replicas))
    return replace(mirror, **changed)
