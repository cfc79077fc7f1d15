"""The port DynamoDB over the network: one region, one account, both APIs.

Below this line, and nowhere else: which API an operation belongs to, credentials and their
renewal, the clock's offset. Every other retry is the caller's, who knows whether a request may be
repeated.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from time import time
from typing import Literal, Protocol

from dynamirror.aws.credentials import Credentials, CredentialSource, credential_source
from dynamirror.aws.endpoints import Endpoint, endpoints
from dynamirror.aws.errors import EXPIRED, SKEWED, refusal
from dynamirror.aws.network import refuse_proxy, tls_context
from dynamirror.aws.transport import (
    ANSWER_BYTES_MAX,
    CONNECT_S,
    CONNECTIONS_MAX,
    DEADLINE_S,
    OK,
    Transport,
)
from dynamirror.errors import ConfigError, ServiceError

STREAM_OPERATIONS = frozenset({"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"})

SKEW_S_MIN = 240
"""A request is refused as out of time at 5 minutes; a little less is skew too, for the answer's
Date is later than the request. The AWS SDKs for Go take the same."""


SCAN_DEADLINES = 6
"""A page of a scan may take so much longer than another answer; a minute, as botocore waits. Some
servers look through the whole table for each, and one that is asked again does it again, beside
what it still works at for nobody. A write must not be so late: see ``engine.stream.hold``."""


class Place(Protocol):
    """Where tables are: a region, and how to get there. `config.model.Place` is one."""

    @property
    def region(self) -> str: ...
    @property
    def endpoint_url(self) -> str | None: ...
    @property
    def profile(self) -> str | None: ...
    @property
    def role_arn(self) -> str | None: ...
    @property
    def external_id(self) -> str | None: ...


def connect(
    place: Place,
    *,
    transport: Literal["native", "botocore"] = "native",
    credentials: CredentialSource | None = None,
    connections_max: int = CONNECTIONS_MAX,
    deadline_s: float = DEADLINE_S,
    connect_s: float = CONNECT_S,
    answer_bytes_max: int = ANSWER_BYTES_MAX,
    environment: Mapping[str, str] = os.environ,
) -> Client:
    """Return a client for a place. Nothing is sent yet.

    ``credentials`` stands in for those of the place. Raises ConfigError for a region, endpoint,
    proxy or CA bundle that can't be used.
    """
    tables, streams = endpoints(place.region, place.endpoint_url, environment)
    source = credentials or credential_source(
        region=place.region,
        profile=place.profile,
        role_arn=place.role_arn,
        external_id=place.external_id,
        environment=environment,
    )

    def carrier(endpoint: Endpoint, deadline_s: float = deadline_s) -> Transport:
        if transport == "botocore":
            from dynamirror.aws.fallback import BotocoreTransport  # noqa: PLC0415  # slow import

            return BotocoreTransport(
                endpoint,
                region=place.region,
                connections_max=connections_max,
                deadline_s=deadline_s,
                connect_s=connect_s,
                answer_bytes_max=answer_bytes_max,
                environment=environment,
            )
        from dynamirror.aws.native import NativeTransport  # noqa: PLC0415  # for the other's sake
        from dynamirror.aws.pool import Pool  # noqa: PLC0415
        from dynamirror.aws.signing import Signer  # noqa: PLC0415

        refuse_proxy(endpoint, environment)
        pool = Pool(
            endpoint,
            tls=tls_context(environment) if endpoint.secure else None,
            connections_max=connections_max,
            deadline_s=deadline_s,
            connect_s=connect_s,
            answer_bytes_max=answer_bytes_max,
        )
        return NativeTransport(pool, Signer(region=place.region, host=endpoint.authority))

    if transport not in ("native", "botocore"):
        raise ConfigError(f'transport = {transport!r}: write "native" or "botocore".')
    carriers = {endpoint: carrier(endpoint) for endpoint in {tables, streams}}
    scans = partial(carrier, tables, SCAN_DEADLINES * deadline_s)
    return Client(carriers[tables], carriers[streams], source, scans=scans)


class Client:
    """See ports.DynamoDB, which this is. For one event loop."""

    def __init__(
        self,
        tables: Transport,
        streams: Transport,
        credentials: CredentialSource,
        *,
        scans: Callable[[], Transport],
    ) -> None:
        """Take a maker of what carries scans, ``scans``, should there be any."""
        self._tables = tables
        self._streams = streams
        self._scans: Transport | None = None
        self._make_scans = scans
        self._source = credentials
        self._routes: dict[str, tuple[Transport, str]] = {}
        self._held: Credentials | None = None
        self._asked_s = 0
        self._offset_s = 0
        self._closed = False

    async def call(self, operation: str, request: bytes) -> bytes:
        """Send one request and return its answer; see ports.DynamoDB."""
        route = self._routes.get(operation) or self._route(operation)
        now_s = int(time())
        # botocore takes 7 us to say that nothing has changed: once a second is enough.
        if now_s != self._asked_s or self._held is None:
            self._held = await self._source.current()
            self._asked_s = now_s
        credentials, at_s = self._held, now_s + self._offset_s
        transport, target = route
        status, body, date = await transport.send(target, request, credentials, at_s)
        if status == OK:
            return body
        error = refusal(status, body)
        if not await self._amended(error, date, credentials, at_s):
            raise error
        at_s = int(time()) + self._offset_s
        status, body, _ = await transport.send(target, request, self._held, at_s)
        if status == OK:
            return body
        raise refusal(status, body)

    async def close(self) -> None:
        """Drop the connections; unanswered requests fail, later ones are a ServiceError."""
        self._closed = True
        self._routes.clear()  # so that the next call asks for its route, and is told
        carriers = {self._tables, self._streams, self._scans}
        await asyncio.gather(*(carrier.close() for carrier in carriers if carrier is not None))

    def _route(self, operation: str) -> tuple[Transport, str]:
        if self._closed:
            raise ServiceError("ClientClosed", f"{operation} after close")
        if operation in STREAM_OPERATIONS:
            route = self._streams, f"DynamoDBStreams_20120810.{operation}"
        elif operation == "Scan":
            self._scans = self._make_scans()
            route = self._scans, f"DynamoDB_20120810.{operation}"
        else:
            route = self._tables, f"DynamoDB_20120810.{operation}"
        self._routes[operation] = route
        return route

    async def _amended(
        self, error: ServiceError, date: bytes, credentials: Credentials, at_s: int
    ) -> bool:
        """Mend the clock or the credentials, if they were at fault, and say whether."""
        if error.code in SKEWED:
            server_s = seconds_of(date)
            if server_s is not None and abs(server_s - at_s) >= SKEW_S_MIN:
                self._offset_s = server_s - int(time())
                return True
        if error.code in EXPIRED:
            renewed = await self._source.renewed(credentials)
            if renewed is not None:
                self._held = renewed
                return True
        return False


def seconds_of(date: bytes) -> int | None:
    """Return a Date header in seconds since the epoch, or None where it isn't one (RFC 9110,
    5.6.7: ``Sun, 06 Nov 1994 08:49:37 GMT``). Not strptime: that reads the locale's months.
    """
    months = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    try:
        _, day, month, year, clock, _ = date.split()
        hour, minute, second = map(int, clock.split(b":"))
        at = datetime(
            int(year), months.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC
        )
    except ValueError:
        return None
    return int(at.timestamp())
