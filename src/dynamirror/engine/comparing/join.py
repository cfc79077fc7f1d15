"""Bring the items of two tables together by key, in whatever order they come.

An item waits until the other table's of its key comes. Tables that are scanned side by side mostly
give their items in a like order (nothing promises it), so few wait at a time. Where too many do,
they go to files by the hash of their key, as digests; in the end each file is joined by itself.
So memory stays bounded whatever the order, and an item is read once.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from dynamirror.core.drift import End, Sight
from dynamirror.core.values import Key, Wire, encode
from dynamirror.engine.reads import Item

WAITING_BYTES_MAX = 32 * 1024 * 1024
"""Of items that wait in memory, about."""

ITEM_BYTES = 600
"""What a waiting item takes beyond its JSON: its key, twice, and the objects around."""

FILES = 256
"""At 100,000 items a file, 25 million items in a foreign order take no more memory than this."""

BUFFER_BYTES_MAX = 4 * 1024 * 1024
"""Of records that are not written yet, of all files together."""


class _Record(msgspec.Struct, array_like=True, gc=False):
    """An item in a file."""

    end: int
    key: Key
    keys: Wire
    digest: bytes
    origin: Wire | None


class Join:
    """Pairs two tables' items; use as a context, for the files."""

    def __init__(self, sight: Sight, waiting_bytes_max: int = WAITING_BYTES_MAX) -> None:
        self.spilled = 0
        """Items that went to files."""
        self._sight = sight
        self._most = waiting_bytes_max
        self._waiting: tuple[dict[Key, Item], dict[Key, Item]] = ({}, {})
        self._bytes = 0
        self._files: _Files | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._files is not None:
            self._files.close()

    def add(self, end: End, page: Sequence[Item]) -> list[Item]:
        """Take items of one table; return those whose partner is there and not the same."""
        mine, theirs = self._waiting[end], self._waiting[end.other]
        same, unlike = self._sight.same, list[Item]()
        for item in page:
            other = theirs.pop(item.key, None)
            if other is None:
                # A copy, lest one item keep its whole page in memory.
                mine[item.key] = Item(item.key, item.keys, item.image.copy(), item.origin)
                self._bytes += len(item.image) + ITEM_BYTES
                continue
            self._bytes -= len(other.image) + ITEM_BYTES
            pair = (item, other) if end is End.SOURCE else (other, item)
            if not same(pair[0].image, pair[1].image):
                unlike.append(item)
        if self._bytes > self._most:
            self._spill()
        return unlike

    def rest(self) -> Iterator[list[Item]]:
        """Yield what is left in the end: items without a partner, or with one that differs."""
        if self._files is not None:
            self._spill()
            yield from self._files.joined(self._sight)
            return
        for end in End:
            if end is End.SOURCE or self._sight.extras:
                yield list(self._waiting[end].values())
            self._waiting[end].clear()

    def _spill(self) -> None:
        if self._files is None:
            self._files = _Files()
        for end in End:
            for item in self._waiting[end].values():
                digest = self._sight.digest(item.image, end)
                self._files.add(_Record(end, item.key, item.keys, digest, item.origin))
                self.spilled += 1
            self._waiting[end].clear()
        self._bytes = 0


class _Files:
    """Records by the hash of their key."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dynamirror-verify-")
        self._buffers = [bytearray() for _ in range(FILES)]
        self._buffered = 0

    def close(self) -> None:
        self._folder.cleanup()

    def add(self, record: _Record) -> None:
        line = encode(record)
        self._buffers[zlib.crc32(encode(record.key)) % FILES] += line + b"\n"
        self._buffered += len(line)
        if self._buffered > BUFFER_BYTES_MAX:
            self._flush()

    def joined(self, sight: Sight) -> Iterator[list[Item]]:
        self._flush()
        for number in range(FILES):
            yield list(self._joined(number, sight))

    def _joined(self, number: int, sight: Sight) -> Iterator[Item]:
        waiting: tuple[dict[Key, _Record], dict[Key, _Record]] = ({}, {})
        path = self._path(number)
        if not path.exists():
            return
        with path.open("rb") as lines:
            for line in lines:
                record = _decode(line)
                other = waiting[1 - record.end].pop(record.key, None)
                if other is None:
                    waiting[record.end][record.key] = record
                elif other.digest != record.digest:
                    yield _item(record)
        path.unlink()
        for end in End:
            if end is End.SOURCE or sight.extras:
                yield from map(_item, waiting[end].values())

    def _flush(self) -> None:
        for number, buffer in enumerate(self._buffers):
            if buffer:
                with self._path(number).open("ab") as file:
                    file.write(buffer)
                buffer.clear()
        self._buffered = 0

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number:03d}"


def _item(record: _Record) -> Item:
    return Item(record.key, record.keys, msgspec.Raw(), record.origin)


_decode = msgspec.json.Decoder(_Record).decode
