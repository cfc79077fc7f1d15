"""How much of a stream may be on its way: read, and not yet applied at every target."""

from __future__ import annotations

import asyncio

from dynamirror.core.record import Page

RECORD_BYTES = 2_000
"""What a record takes beside its images: itself, its keys, its place in each target's line."""

IMAGE_COPIES = 2
"""An answer is kept as long as any of its records is; a put with a stamp is an image more."""


def weight_of(page: Page) -> int:
    """Return about how many bytes of memory an answer takes until all of it is applied."""
    return IMAGE_COPIES * page.size + RECORD_BYTES * len(page.records)


class Room:
    """Space for what is on its way, shared by all shards of a stream; who asks first has it first.

    One target that takes nothing holds up the others once it is full, and not before.
    """

    def __init__(self, most_bytes: int) -> None:
        self.taken = 0
        self._most = most_bytes
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, weight: int) -> None:
        """Wait until there is space for so much; there always is where nothing else is."""
        async with self._turn:
            while self.taken and self.taken + weight > self._most:
                self._freed.clear()
                await self._freed.wait()
            self.taken += weight

    def give(self, weight: int) -> None:
        """Give so much of it back."""
        self.taken -= weight
        self._freed.set()
