"""What a piece of work consumes of a table, told by the service itself, and kept to a rate.

Scans wait for their turn here. Writes wait where they are handed out (``Budget``, a Pace), since
one that has left its queue must go out at once, while it is still known to be allowed.
"""

from __future__ import annotations

import msgspec

from dynamirror.core.prices import read_units, write_units
from dynamirror.engine.writing.limiter import Pace
from dynamirror.errors import ConditionFailedError, ThrottledError, TransactionCanceledError
from dynamirror.ports import DynamoDB

READS = frozenset({"Scan", "Query", "GetItem", "BatchGetItem"})
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})

_ASK = b'"ReturnConsumedCapacity":"TOTAL"'


class Budget(Pace):
    """At most so many write units per second, however many an item takes."""

    def __init__(self, per_second: float, each: float = 1.0) -> None:
        """``each``: the units that an item takes, until that is known."""
        super().__init__(per_second)
        self.within: Pace | None = None
        """Another pace that must be kept too."""
        self._each = each
        self._units = 0.0
        self._items = 0

    async def take(self, items: float) -> None:
        """Wait until this many items may be sent."""
        if self.within is not None:
            await self.within.take(items)
        await super().take(items * self._each)

    def charge(self, units: float, items: int) -> None:
        """Note what a request has consumed, and how many items it brought."""
        self._units += units
        self._items += items
        if self._items:
            self._each = self._units / self._items


class Meter:
    """A port that counts what requests consume."""

    def __init__(
        self, api: DynamoDB, *, scans: Pace | None = None, budget: Budget | None = None
    ) -> None:
        """Take the rate at which ``scans`` may be sent, in read units, and writes' ``budget``."""
        self.read_units = 0.0
        self.write_units = 0.0
        self.throttles = 0
        self.refused = 0
        """Puts whose condition did not hold."""
        self._api = api
        self._scans = scans
        self._budget = budget
        self._page_units = 0.0

    async def call(self, operation: str, request: bytes) -> bytes:
        """See ports.DynamoDB."""
        reads = operation in READS
        if not reads and operation not in WRITES:
            return await self._api.call(operation, request)
        if self._scans is not None and operation == "Scan":
            await self._scans.take(self._page_units)
        try:
            if _ASK not in request:
                request = b"%b,%b}" % (request[:-1], _ASK)
            answer = await self._api.call(operation, request)
        except (ConditionFailedError, TransactionCanceledError):
            self.refused += operation == "PutItem"
            # A refused write costs what it would have.
            self._wrote(operation, request, _guess(operation, request))
            raise
        except ThrottledError:
            self.throttles += 1
            raise
        units = _consumed(answer)
        if reads:
            units = read_units(len(answer)) if units is None else units
            self.read_units += units
            self._page_units = units
        else:
            guess = _guess(operation, request) if units is None else units
            self._wrote(operation, request, guess)
        return answer

    async def close(self) -> None:
        """See ports.DynamoDB; the connections are another's."""

    def _wrote(self, operation: str, request: bytes, units: float) -> None:
        self.write_units += units
        if self._budget is not None:
            self._budget.charge(units, _items(operation, request))


def _guess(operation: str, request: bytes) -> float:
    """Return about what a write takes, where the service doesn't tell."""
    if operation == "TransactWriteItems":
        return 2 * max(request.count(b'"TableName"'), write_units(len(request)))
    return max(_items(operation, request), write_units(len(request)))


def _items(operation: str, request: bytes) -> int:
    """Return how many items a write brings; one of our own rows, in an update, is none."""
    if operation == "BatchWriteItem":
        return request.count(b'Request":{')
    return operation != "UpdateItem"


class _Capacity(msgspec.Struct):
    CapacityUnits: float = 0.0


class _Answer(msgspec.Struct):
    ConsumedCapacity: _Capacity | list[_Capacity] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def _consumed(answer: bytes) -> float | None:
    """Return the units that an answer tells of, all its tables together."""
    told = _decode(answer).ConsumedCapacity
    if isinstance(told, list):
        return sum(capacity.CapacityUnits for capacity in told)
    return None if told is None else told.CapacityUnits
