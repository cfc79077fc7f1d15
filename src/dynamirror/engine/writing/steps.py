"""The steps of a rule, sent one by one to wherever they belong."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from dynamirror.core.mesh import Answer, Ask
from dynamirror.core.values import Wire, decode, encode
from dynamirror.errors import ConditionFailedError, ServiceError
from dynamirror.ports import DynamoDB


class Part:
    """The steps of a record at one place. What may pass leaves it where it was, to go on later."""

    __slots__ = ("_answer", "_ask", "_steps")

    def __init__(self, steps: Generator[Ask, Answer, Any]) -> None:
        self._steps = steps
        self._ask: Ask | None = None
        self._answer: Answer | None = None

    async def carry_out(self, apis: Mapping[str, DynamoDB]) -> Any:
        """Send its requests until it ends, and return what it returns."""
        try:
            while True:
                if self._ask is None:
                    answer, self._answer = self._answer, None
                    self._ask = next(self._steps) if answer is None else self._steps.send(answer)
                self._answer = await answered(apis, self._ask)
                self._ask = None
        except StopIteration as end:
            return end.value


def may_pass(error: BaseException) -> bool:
    """Tell whether trying again may help."""
    return isinstance(error, ServiceError) and error.retryable


async def answered(apis: Mapping[str, DynamoDB], ask: Ask) -> Answer:
    """Send one request of the rules, and return what came of it. Raises ServiceError."""
    try:
        answer = await apis[ask.replica].call(ask.operation, encode(ask.request))
    except ConditionFailedError as error:
        return Answer(held=False, item=_item(error.body))
    return Answer(held=True, item=_item(answer))


def _item(body: bytes) -> Wire | None:
    """Return the item in an answer, whichever operation's it is; None where there is none."""
    if b'"Item"' not in body and b'"Attributes"' not in body:
        return None
    answer = decode(body)
    item: Wire | None = answer.get("Item") or answer.get("Attributes")
    return item
