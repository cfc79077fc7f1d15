"""Choices drawn from a ticket: one number, used up piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

TICKET_BITS = 96


class Ticket:
    """The choices of one step; the same number always chooses the same."""

    __slots__ = ("_left",)

    def __init__(self, number: int) -> None:
        self._left = number

    def below(self, limit: int) -> int:
        """Return a number from 0 to below the limit."""
        self._left, drawn = divmod(self._left, limit)
        return drawn

    def one(self, of: Sequence[T]) -> T:
        """Return one of several."""
        return of[self.below(len(of))]

    def hits(self, permille: int) -> bool:
        """Return True so many times out of a thousand."""
        return self.below(1_000) < permille


def tickets(seed: int, steps: int) -> list[int]:
    """Return the tickets of a history."""
    chance = Random(seed)
    return [chance.getrandbits(TICKET_BITS) for _ in range(steps)]
