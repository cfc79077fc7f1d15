"""Steps: a call worked out as a generator of requests, carried out by whoever can wait.

A generator yields something to call and is sent what it answered, or thrown what it raised. Where
the first answer has to be awaited, the client is an asynchronous one, and so is all that follows:
then ``carried_out`` returns a coroutine in place of the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

Call = Callable[[], Any]
"""A request, ready to go: returns its answer, or an awaitable of it."""

Steps = Generator[Call, Any, Any]
"""Yields requests, is sent answers, returns the answer of the whole."""


def carried_out(steps: Steps) -> Any:
    """Take the steps and return what they come to: a coroutine if the client's answers are."""
    try:
        call = next(steps)
        while True:
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - the steps judge it, and raise it if not theirs
                call = steps.throw(error)
                continue
            if isawaitable(answer):
                return _awaited(steps, answer)
            call = steps.send(answer)
    except StopIteration as end:
        return end.value


async def _awaited(steps: Steps, pending: Awaitable[Any]) -> Any:
    """Take the steps that remain once the first answer turned out to be one to await."""
    try:
        while True:
            try:
                answer = await pending
            except Exception as error:  # noqa: BLE001 - as above
                call = steps.throw(error)
            else:
                call = steps.send(answer)
            while True:
                try:
                    pending = call()
                    break
                except Exception as error:  # noqa: BLE001 - refused before it was sent
                    call = steps.throw(error)
    except StopIteration as end:
        return end.value


@dataclass(frozen=True, slots=True)
class Together:
    """Several calls' steps as one request: its answer lists theirs. At most ``width`` at once.

    The first goes alone, for it shows whether answers are to be awaited.
    """

    steps: Sequence[Steps]
    width: int

    def __call__(self) -> Any:
        first, *rest = self.steps
        answer = carried_out(first)
        if isawaitable(answer):
            return self._gathered(answer, rest)
        if len(rest) <= 1 or self.width == 1:
            return [answer, *map(carried_out, rest)]
        with ThreadPoolExecutor(self.width) as pool:
            return [answer, *pool.map(carried_out, rest)]

    async def _gathered(self, first: Awaitable[Any], rest: Sequence[Steps]) -> list[Any]:
        room = asyncio.Semaphore(self.width)

        async def one(steps: Steps) -> Any:
            async with room:
                return await carried_out(steps)

        return [await first, *await asyncio.gather(*map(one, rest))]
