"""Find out which requests these credentials may send, without changing anything.

Reads are sent as they are. A write is sent on a condition that can never hold, so the service
authorises it and then refuses it: the refusal is the proof that it is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynamirror.config.model import Place
from dynamirror.core.one_way import reasons_of
from dynamirror.core.values import Wire, decode, encode
from dynamirror.engine.source import Table
from dynamirror.engine.tables.findings import Finding, Severity, found, label
from dynamirror.errors import (
    AccessDeniedError,
    ConditionFailedError,
    NotFoundError,
    ServiceError,
    TransactionCanceledError,
)
from dynamirror.ports import DynamoDB

# A key that nobody is likely to use; were it used, the condition would still not hold.
TRIAL_KEY = {"S": "dynamirror-check", "N": "-20160707", "B": "ZHluYW1pcnJvci1jaGVjaw=="}

# What the service says of a caller it doesn't know, rather than of one who may not.
UNKNOWN_CALLER = (
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
    "InvalidClientTokenId",
)


class Trials:
    """Sends requests and notes which are refused."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    async def ask(
        self, api: DynamoDB, place: Place, operation: str, request: Wire, action: str = ""
    ) -> Wire | None:
        """Return the answer, or None after noting a refusal.

        ``action`` is the permission that it takes, where that isn't the operation's name.
        NotFoundError passes: whether a table is there is another question.
        """
        try:
            return decode(await api.call(operation, encode(request)))
        except NotFoundError:
            raise
        except (ConditionFailedError, TransactionCanceledError) as error:
            if isinstance(error, TransactionCanceledError) and not reasons_of(error).stale:
                self._note(place, f"{operation} fails: {error}", "see that message")
        except AccessDeniedError as error:
            self._denied(place, action or operation, error)
        except ServiceError as error:
            self._note(place, f"{operation} fails: {error}", "see that message")
        return None

    async def writes(
        self, api: DynamoDB, place: Place, names: Sequence[str], kinds: Sequence[str]
    ) -> None:
        """Try to put and delete, given the table's key attributes and their types."""
        key = trial_key(names, kinds)
        never = never_on(names[0])
        put = {"TableName": place.table, "Item": key, **never}
        await self.ask(api, place, "PutItem", put)
        await self.ask(api, place, "DeleteItem", {"TableName": place.table, "Key": key, **never})

    async def updates(
        self, api: DynamoDB, place: Place, names: Sequence[str], kinds: Sequence[str]
    ) -> None:
        """Try to update, as the rules of two-way mirrors do."""
        never, key = never_on(names[0]), trial_key(names, kinds)
        update = {"TableName": place.table, "Key": key, "UpdateExpression": "REMOVE dynamirror"}
        await self.ask(api, place, "UpdateItem", {**update, **never})

    async def transactions(self, api: DynamoDB, place: Place, table: Table, ledger: str) -> None:
        """Try the guard ledger's transactions."""
        keys = trial_key(table.key_names, table.key_types)
        row = {"k": {"S": TRIAL_KEY["S"]}}
        item, entry = never_on(table.key_names[0]), never_on("k")
        put = {"Put": {"TableName": place.table, "Item": keys, **item}}
        delete = {"Delete": {"TableName": place.table, "Key": keys, **item}}
        mark = {"Put": {"TableName": ledger, "Item": row, **entry}}
        look = {"ConditionCheck": {"TableName": ledger, "Key": row, **entry}}
        for one, other, action in (
            (mark, put, "PutItem"),
            (mark, delete, "DeleteItem"),
            (look, put, "ConditionCheckItem"),
        ):
            request = {"TransactItems": [one, other]}
            await self.ask(api, place, "TransactWriteItems", request, f"{action} in a transaction")

    def _denied(self, place: Place, action: str, error: AccessDeniedError) -> None:
        if error.code in UNKNOWN_CALLER:
            self._note(place, f"the credentials are not accepted: {error}", "set valid credentials")
            return
        if error.code.startswith("KMS") or "kms:" in error.message:
            self._note(
                place,
                f"the table's KMS key may not be used ({error.code}: {error.message})",
                "allow kms:Decrypt, kms:DescribeKey and kms:CreateGrant on that key to these"
                " credentials, through DynamoDB; see that it is enabled",
            )
            return
        self._note(
            place,
            f"not allowed: {action} ({error.message})",
            f"allow dynamodb:{action} on {label(place)} to these credentials",
        )

    def _note(self, place: Place, what: str, remedy: str) -> None:
        self.findings.append(found(Severity.UNUSABLE, place, what, remedy))


def trial_key(names: Sequence[str], kinds: Sequence[str]) -> Wire:
    """Return a key of the given attributes and types."""
    return {name: {kind: TRIAL_KEY[kind]} for name, kind in zip(names, kinds, strict=True)}


def never_on(name: str) -> Wire:
    """Return the members of a request that make its condition one that can't hold."""
    return {
        "ConditionExpression": "attribute_exists(#k) AND attribute_not_exists(#k)",
        "ExpressionAttributeNames": {"#k": name},
    }
