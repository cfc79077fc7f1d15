"""From a configuration to connected objects: the one place that knows every adapter."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynamirror.aws.client import connect
from dynamirror.config.load import load
from dynamirror.config.model import Config, Guard, Mirror, Place, Side, Transport
from dynamirror.config.problems import bare
from dynamirror.config.relations import same_table
from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.writing.links import WRITES_IN_FLIGHT_MAX, Links, ours_on
from dynamirror.engine.writing.mesh import MeshLinks
from dynamirror.errors import ConfigError
from dynamirror.ports import Clock, ControlPlane, DynamoDB

if TYPE_CHECKING:
    from dynamirror.core.view.lens import Transform, View
    from dynamirror.engine.writing.views import TargetViews

log = logging.getLogger("dynamirror")

Connect = Callable[[Place, Transport], DynamoDB]


def now_ms() -> int:
    """Return the wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def connected(place: Place, transport: Transport) -> DynamoDB:
    """Return a connection to a place, as wide as the engine's most requests in flight."""
    return connect(place, transport=transport.value, connections_max=WRITES_IN_FLIGHT_MAX)


ControlOf = Callable[[Place], ControlPlane | str]
"""Gives a place's other services, or says why they can't be asked."""


def controlled(place: Place) -> ControlPlane | str:
    """Return AWS's other services beside a place; where its tables are elsewhere, why not."""
    if place.role_arn is not None:
        return "its table is reached through role_arn"
    url = place.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", "amazonaws.com")
    if "amazonaws.com" not in url and not os.environ.get("AWS_ENDPOINT_URL"):
        return f"of {url} only the tables are known; AWS_ENDPOINT_URL would name the rest"
    from dynamirror.aws.control import BotocoreControlPlane  # noqa: PLC0415 - slow import

    try:
        return BotocoreControlPlane(place.region, place.profile)
    except ConfigError as error:
        return str(error)


class Wiring:
    """Everything that one configuration needs, connected once and shared."""

    def __init__(
        self,
        config: Config,
        *,
        connect: Connect = connected,
        clock: Clock = now_ms,
        backoff: Backoff | None = None,
        control: ControlOf = controlled,
    ) -> None:
        self.config = config
        self.clock = clock
        self.backoff = backoff or Backoff()
        self._connect = connect
        self._apis: dict[tuple[object, ...], DynamoDB] = {}
        self._control = control
        self._planes: dict[tuple[object, ...], ControlPlane | str] = {}

    def api(self, place: Place, transport: Transport) -> DynamoDB:
        """Return the connection to a place; places with the same credentials share one."""
        identity = (
            transport,
            place.region,
            place.endpoint_url,
            place.profile,
            place.role_arn,
            place.external_id,
        )
        if identity not in self._apis:
            self._apis[identity] = self._connect(place, transport)
        return self._apis[identity]

    def source(self, mirror: Mirror) -> DynamoDB:
        """Return the connection to a mirror's source."""
        return self.api(mirror.source, mirror.transport)

    def apis(self, mirror: Mirror) -> dict[str, DynamoDB]:
        """Return the connections to all places of a mirror, by their names."""
        places = (mirror.source, *mirror.targets)
        return {place.name: self.api(place, mirror.transport) for place in places}

    def links(self, mirror: Mirror, apis: Mapping[str, DynamoDB] | None = None) -> Links:
        """Return the writing side of a mirror; ``apis`` stand in for its connections."""
        if isinstance(mirror, Side):
            return self.mesh(mirror, apis)
        apis = apis or self.apis(mirror)
        targets = {place.name: apis[place.name] for place in mirror.targets}
        return Links(mirror, apis[mirror.source.name], targets, **self._with(mirror))

    def mesh(self, side: Side, apis: Mapping[str, DynamoDB] | None = None) -> MeshLinks:
        """Return the writing side of one replica of a two-way mirror; see ``links``."""
        apis = apis or self.apis(side)
        targets = {place.name: apis[place.name] for place in side.targets}
        return MeshLinks(side, apis[side.source.name], targets, **self._with(side))

    def checkpoints(self, mirror: Mirror) -> Checkpoints:
        """Return the checkpoints of a mirror's consumer."""
        return Checkpoints(self.source(mirror), mirror.checkpoints, mirror.link, self.backoff)

    def plane(self, place: Place) -> ControlPlane | str:
        """Return the other services beside a place, or why they can't be asked."""
        identity = (place.region, place.endpoint_url, place.profile, place.role_arn)
        if identity not in self._planes:
            self._planes[identity] = self._control(place)
        return self._planes[identity]

    async def close(self) -> None:
        """Drop all connections."""
        for plane in self._planes.values():
            if not isinstance(plane, str):
                await plane.close()
        for api in self._apis.values():
            await api.close()

    async def enroll(self) -> Config:
        """Return the configuration with a mirror for every table that its patterns match.

        Raises ConfigError where there is none.
        """
        from dynamirror.engine.tables.enroll import sources_of  # noqa: PLC0415 - commands only

        tables = {}
        for pattern in self.config.patterns:
            taken = [
                bare(mirror.source.table)
                for mirror in self.config.mirrors
                if same_table(replace(mirror.source, table="-"), replace(pattern.place, table="-"))
            ]
            api = self.api(pattern.place, Transport.NATIVE)
            tables[pattern.name] = await sources_of(pattern, api, taken, self.backoff)
            log.info("mirror %s: %d tables", pattern.name, len(tables[pattern.name]))
        config = load(self.config.path, tables)
        if not config.mirrors:
            raise ConfigError(
                f"{config.path}: no table matches "
                + ", ".join(repr(pattern.place.table) for pattern in self.config.patterns)
            )
        return config

    def _with(self, mirror: Mirror) -> dict[str, Any]:
        marks = self._marks_on(mirror.source)
        return {
            "clock": self.clock,
            "backoff": self.backoff,
            "foreign_marks": marks,
            "views": target_views_of(mirror, marks) if mirror.views else {},
        }

    def _marks_on(self, source: Place) -> list[str]:
        """Return the attributes in which other mirrors leave their marks on a table's items."""
        return [
            mirror.sequence_attribute
            for mirror in self.config.mirrors
            if mirror.guard is Guard.ITEM
            and any(same_table(target, source) for target in mirror.targets)
        ]


def target_views_of(mirror: Mirror, foreign_marks: Sequence[str]) -> TargetViews:
    """Return a mirror's views with their secrets and functions, by the targets' names.

    Raises ConfigError where a secret or a function is not to be had.
    """
    from dynamirror.engine.writing.views import TargetView  # noqa: PLC0415 - as in ``Links``

    ours = ours_on(foreign_marks)
    return {
        name: TargetView(view, ours, _secret_of(view), _transform_of(view))
        for name, view in mirror.views.items()
    }


def _secret_of(view: View) -> bytes:
    name = view.shape.secret_env
    if not view.shape.hashes or name is None:
        return b""
    if not (secret := os.environ.get(name)):
        raise ConfigError(
            f"a view masks attributes with a keyed hash, and its secret is not there: set the "
            f"environment variable {name}"
        )
    return secret.encode()


def _transform_of(view: View) -> Transform | None:
    if view.transform is None:
        return None
    import importlib  # noqa: PLC0415 - as above

    module, _, name = view.transform.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'transform = "{view.transform}" can\'t be imported ({error}): install the module '
            "where dynamirror runs, or put its directory on PYTHONPATH"
        ) from error
    if not callable(function):
        raise ConfigError(f'transform = "{view.transform}" is no function: name one')
    return function  # type: ignore[no-any-return]
