"""The single writes, and what they have in common: try, judge a failed condition, try again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from dynamirror.core.values import Wire
from dynamirror.writer.attempts import Attempt, Deleting, Putting, updating
from dynamirror.writer.refusals import OutpacedError, RefusedWriteError, VersionError
from dynamirror.writer.saving import ANY, Saving, Target, refuse_legacy
from dynamirror.writer.steps import Steps

TRIES_MAX = 12
"""Of one write. Each lost one doubles the step, so the last goes 1,024 versions (one second, in the
hybrid form) past what it lost to."""

CONDITION_FAILED = "ConditionalCheckFailedException"

Send = Callable[..., Any]
"""The caller's own client's method."""

Make = Callable[[Target, Wire, Any], Attempt]


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def tried(send: Send, attempt: Attempt) -> Steps:
    """Send a write until it is made or the caller's own condition fails."""
    for _ in range(TRIES_MAX):
        try:
            answer = yield partial(send, **attempt.request())
        except ClientError as error:
            if code_of(error) != CONDITION_FAILED:
                raise
            response: Wire = error.response
            if not attempt.lost(response.get("Item")):
                if not attempt.shows_old:
                    response.pop("Item", None)
                raise
            last = error
        else:
            attempt.done(answer)
            return answer
    raise OutpacedError(f"the item was saved by others {TRIES_MAX} times meanwhile") from last


class Single:
    """put_item, update_item, delete_item and get_item of one client.

    ``methods`` is the client or Table that has them, ``client`` the one to describe a table.
    """

    def __init__(self, saving: Saving, methods: Any, client: Any) -> None:
        self._saving = saving
        self._methods = methods
        self._client = client

    def put(self, table: str, request: Wire, expect: Any = ANY) -> Steps:
        target = self._saving.target(table)
        if target is not None:
            refuse_legacy(request)
            yield from self.learnt(table)
        return (yield from self._written("put_item", Putting, target, request, expect))

    def update(self, table: str, request: Wire, expect: Any = ANY) -> Steps:
        target = self._saving.target(table)
        try:
            return (yield from self._written("update_item", updating, target, request, expect))
        except ClientError as error:
            if target is not None and code_of(error) == "ValidationException":
                yield from self._blamed(target, request, error)
            raise

    def delete(self, table: str, request: Wire, expect: Any = ANY) -> Steps:
        target = self._saving.target(table)
        return (yield from self._written("delete_item", Deleting, target, request, expect))

    def get(self, table: str, request: Wire) -> Steps:
        """Read as asked; the version read is one that was seen."""
        answer = yield partial(self._methods.get_item, **request)
        target = self._saving.target(table)
        if target is not None:
            target.learn_key(request["Key"])
            version = target.seen_in(answer.get("Item"))
            if version is not None:
                target.saw(request["Key"], version)
        return answer

    def learnt(self, table: str) -> Steps:
        """Learn the table's key, if it isn't known; a client that may not ask does without."""
        target = self._saving.target(table)
        if target is None or self._saving.seen.key_names(target.table) is not None:
            return
        names: tuple[str, ...] = ()
        try:
            answer = yield partial(self._client.describe_table, TableName=table)
            names = tuple(part["AttributeName"] for part in answer["Table"]["KeySchema"])
        except ClientError:
            pass
        self._saving.seen.learn_key(target.table, names)

    def _written(
        self, method: str, make: Make, target: Target | None, request: Wire, expect: Any
    ) -> Steps:
        send = getattr(self._methods, method)
        if target is not None:
            return (yield from tried(send, make(target, request, expect)))
        if expect is not ANY:
            raise RefusedWriteError("expect= needs a version, and this table's items have none")
        return (yield partial(send, **request))

    def _blamed(self, target: Target, request: Wire, error: ClientError) -> Steps:
        """Raise VersionError if a refused update met a version that is none."""
        keys = {name: request[name] for name in ("TableName", "Key") if name in request}
        try:
            answer = yield partial(self._methods.get_item, **keys, ConsistentRead=True)
        except ClientError:
            return
        try:
            target.version_of(answer.get("Item") or {})
        except VersionError as fault:
            raise fault from error
