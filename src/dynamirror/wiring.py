"""From a configuration to connected objects: the one place that knows every adapter."""

from __future__ import annotations

import time
from collections.abc import Callable

from dynamirror.aws.client import connect
from dynamirror.config.model import Config, Guard, Mirror, Place, Side, Transport
from dynamirror.config.relations import same_table
from dynamirror.engine.checkpoints import Checkpoints
from dynamirror.engine.links import WRITES_IN_FLIGHT_MAX, Links
from dynamirror.engine.mesh import MeshLinks
from dynamirror.engine.retry import Backoff
from dynamirror.ports import Clock, DynamoDB

Connect = Callable[[Place, Transport], DynamoDB]


def now_ms() -> int:
    """Return the wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def connected(place: Place, transport: Transport) -> DynamoDB:
    """Return a connection to a place, as wide as the engine's most requests in flight."""
    return connect(place, transport=transport.value, connections_max=WRITES_IN_FLIGHT_MAX)


class Wiring:
    """Everything that one configuration needs, connected once and shared."""

    def __init__(
        self,
        config: Config,
        *,
        connect: Connect = connected,
        clock: Clock = now_ms,
        backoff: Backoff | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.backoff = backoff or Backoff()
        self._connect = connect
        self._apis: dict[tuple[object, ...], DynamoDB] = {}

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

    def links(self, mirror: Mirror) -> Links:
        """Return the writing side of a mirror."""
        source = self.source(mirror)
        targets = {place.name: self.api(place, mirror.transport) for place in mirror.targets}
        marks = self._marks_on(mirror.source)
        clock, backoff = self.clock, self.backoff
        if isinstance(mirror, Side):
            return MeshLinks(
                mirror, source, targets, clock=clock, backoff=backoff, foreign_marks=marks
            )
        return Links(mirror, source, targets, clock=clock, backoff=backoff, foreign_marks=marks)

    def checkpoints(self, mirror: Mirror) -> Checkpoints:
        """Return the checkpoints of a mirror's consumer."""
        return Checkpoints(self.source(mirror), mirror.checkpoints, mirror.link, self.backoff)

    async def close(self) -> None:
        """Drop all connections."""
        for api in self._apis.values():
            await api.close()

    def _marks_on(self, source: Place) -> list[str]:
        """Return the attributes in which other mirrors leave their marks on a table's items."""
        return [
            mirror.sequence_attribute
            for mirror in self.config.mirrors
            if mirror.guard is Guard.ITEM
            and any(same_table(target, source) for target in mirror.targets)
        ]
