"""transact_write_items: its puts and updates get their versions, inside the transaction.

A transaction that was canceled by our conditions alone is sent again with higher versions. The
caller's token keeps its meaning: while the service remembers it, the same call is sent again as it
was sent before, versions included, whatever the clock says by then.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from dynamirror.core.values import Wire
from dynamirror.writer.attempts import Attempt, Deleting, Putting, updating
from dynamirror.writer.operations import CONDITION_FAILED, TRIES_MAX, Single, code_of
from dynamirror.writer.refusals import OutpacedError
from dynamirror.writer.saving import Saving
from dynamirror.writer.steps import Steps

TOKEN_MS = 10 * 60 * 1000
"""How long the service remembers a ClientRequestToken (API: TransactWriteItems)."""

TOKENS_MAX = 1_000
"""Tokens whose transactions are kept to be repeated; ours, a bound on memory."""

CANCELED = "TransactionCanceledException"

FAILED = CONDITION_FAILED.removesuffix("Exception")
"""What a reason calls a failed condition."""


@dataclass(slots=True)
class Sent:
    """A transaction as it is sent: an attempt for each versioned part, by its place."""

    given: Wire
    at_ms: int
    attempts: dict[int, tuple[str, Attempt]]
    cancellations: int = 0

    def request(self) -> Wire:
        parts = list(self.given["TransactItems"])
        for place, (action, attempt) in self.attempts.items():
            parts[place] = {action: attempt.request()}
        request = {**self.given, "TransactItems": parts}
        token = request.get("ClientRequestToken")
        if token is not None and self.cancellations:
            # Other versions are other parameters, which one token may not stand for.
            named = uuid.uuid5(uuid.NAMESPACE_OID, f"{token}#{self.cancellations}")
            request["ClientRequestToken"] = str(named)
        return request

    def lost(self, reasons: Sequence[Wire]) -> bool:
        """Take in why it was canceled; tell whether that was our conditions alone."""
        self.cancellations += 1
        again = True
        for place, reason in enumerate(reasons):
            code = reason.get("Code", "None")
            if code == "None":
                continue
            attempt = self.attempts.get(place)
            ours = code == FAILED and attempt is not None and attempt[1].lost(reason.get("Item"))
            again = again and ours
        return again

    def cleaned(self, reasons: Sequence[Wire]) -> None:
        """Take out the items that the caller did not ask to see."""
        for place, (_, attempt) in self.attempts.items():
            if place < len(reasons) and not attempt.shows_old:
                reasons[place].pop("Item", None)


class Transaction:
    """transact_write_items of one client."""

    def __init__(self, saving: Saving, single: Single, client: Any) -> None:
        self._saving = saving
        self._single = single
        self._client = client
        self._tokens: OrderedDict[str, Sent] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, request: Wire) -> Steps:
        for part in request.get("TransactItems") or ():
            if "Put" in part:
                yield from self._single.learnt(part["Put"].get("TableName", ""))
        sent = self._sent(request)
        for _ in range(TRIES_MAX):
            try:
                answer = yield partial(self._client.transact_write_items, **sent.request())
            except ClientError as error:
                response: Wire = error.response
                reasons = response.get("CancellationReasons") or []
                if code_of(error) != CANCELED:
                    raise
                if not reasons or not sent.lost(reasons):
                    sent.cleaned(reasons)
                    raise
                last = error
            else:
                for _, attempt in sent.attempts.values():
                    attempt.done({})
                return answer
        raise OutpacedError(
            f"items of the transaction were saved by others {TRIES_MAX} times meanwhile"
        ) from last

    def _sent(self, request: Wire) -> Sent:
        """Return the transaction to send: a known token's as before, if it is the same call."""
        now = self._saving.clock()
        token = request.get("ClientRequestToken")
        if token is None:
            return Sent(request, now, self._attempts(request))
        with self._lock:
            known = self._tokens.get(token)
            if known is not None and known.given == request and now - known.at_ms < TOKEN_MS:
                return known
            copy = deepcopy(request)
            fresh = Sent(copy, now, self._attempts(copy))
            if known is None or now - known.at_ms >= TOKEN_MS:
                self._tokens[token] = fresh
                self._tokens.move_to_end(token)
            else:
                # Another call by this token: the service refuses it, under the token it knows.
                fresh.cancellations = known.cancellations
            while len(self._tokens) > TOKENS_MAX:
                self._tokens.popitem(last=False)
            return fresh

    def _attempts(self, request: Wire) -> dict[int, tuple[str, Attempt]]:
        attempts: dict[int, tuple[str, Attempt]] = {}
        for place, part in enumerate(request.get("TransactItems") or ()):
            for action, make in (("Put", Putting), ("Update", updating), ("Delete", Deleting)):
                write = part.get(action)
                target = write and self._saving.target(write.get("TableName", ""))
                if write and target is not None:
                    attempts[place] = (action, make(target, write))
        return attempts
