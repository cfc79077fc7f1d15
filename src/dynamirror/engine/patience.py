"""A connection for commands that somebody waits for: it gives up after a few attempts.

The engine tries for ever, because a mirror must outlive an outage; a person at a prompt should
rather learn that nobody answers.
"""

from __future__ import annotations

from dynamirror.config.model import Place
from dynamirror.core.values import encode
from dynamirror.engine.retry import Backoff, persist
from dynamirror.engine.tables.findings import label
from dynamirror.errors import AccessDeniedError, DynamirrorError, NotFoundError, ServiceError
from dynamirror.ports import DynamoDB

ATTEMPTS_MAX = 5
"""With the usual delays, a second or two where the service answers at once that it can't."""


class UnansweredError(DynamirrorError):
    """A request was tried several times and never succeeded."""

    hint = "Check the network, the region and endpoint_url; then try again."


class Patient:
    """The port over another, with an end to trying."""

    def __init__(self, api: DynamoDB, backoff: Backoff) -> None:
        self._api = api
        self._backoff = backoff

    async def call(self, operation: str, request: bytes) -> bytes:
        """Send one request, a few times if need be. Raises UnansweredError after that."""
        try:
            return await persist(
                lambda: self._api.call(operation, request), self._backoff, ATTEMPTS_MAX
            )
        except ServiceError as error:
            if not error.retryable:
                raise
            raise UnansweredError(f"{operation} failed {ATTEMPTS_MAX} times: {error}") from error

    async def close(self) -> None:
        """Drop the connections."""
        await self._api.close()


async def see(api: DynamoDB, place: Place, backoff: Backoff) -> None:
    """See that a place answers and has its table, before something is tried there for ever.

    Raises UnansweredError, and NotFoundError naming the table.
    """
    try:
        await Patient(api, backoff).call("DescribeTable", encode({"TableName": place.table}))
    except NotFoundError as error:
        raise NotFoundError(error.code, f"there is no table {label(place)}") from error
    except AccessDeniedError:
        return  # it answers; whether what is needed is allowed will show
