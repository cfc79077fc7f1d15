"""Reading a table's exports, from a folder or a bucket: their manifests, then line after line.

A line of a full export is an item, one of an incremental export what became of a key. Files are
checked against the sums that the manifest has of them.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from dynamirror.config.model import Mirror, Side
from dynamirror.core.exports import (
    CLOCK_MS,
    DataFile,
    Export,
    Followed,
    chained,
    created_ms,
    export_of,
    why_unsafe,
)
from dynamirror.core.one_way import LEDGER_DAYS
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire, decode, key_of
from dynamirror.engine.copying.parts import CHUNK, Pages, Part, size_of
from dynamirror.engine.copying.positions import Done
from dynamirror.engine.stream.checkpoints import Known
from dynamirror.errors import DynamirrorError

EXPORTS_MAX = 1_000
"""Exports that follow on one another; so many marks are between two attempts'."""

ROOT = "AWSDynamoDB/"
"""The folder of all exports, under whatever prefix."""

GZIP = 16 + zlib.MAX_WBITS


class MissingFileError(DynamirrorError):
    """A file of the export isn't where its manifest says."""

    hint = "Name the folder that has manifest-summary.json, of an export that is complete."


class DamagedError(DynamirrorError):
    """A file of the export isn't what its manifest says."""

    hint = "Download it again, or copy from the bucket itself."


class Files(Protocol):
    """Where an export's files are: a folder, or a bucket's prefix."""

    def chunks(self, name: str) -> AsyncIterator[bytes]:
        """Yield a file's bytes. Raises MissingFileError before the first."""
        ...


class UnsafeExportError(DynamirrorError):
    """Copying from this export could undo a change, or lack one."""


class Exports:
    """A full export of a mirror's source, and the incremental ones that follow on it."""

    def __init__(self, chain: Sequence[tuple[Files, Export]]) -> None:
        """Take them oldest first."""
        self._chain = chain
        self.id = ",".join(export.id for _, export in chain)
        self.items = chain[0][1].items
        self.bytes = chain[0][1].bytes
        self.at_ms = chain[-1][1].to_ms
        self.since_ms = self.at_ms - CLOCK_MS
        """Changes made after that must come by the stream."""

    def require_safe(
        self,
        mirror: Mirror,
        known: Known,
        stream: str,
        now_ms: int,
        reader: dict[str, Any] | None = None,
    ) -> None:
        """Raise UnsafeExportError unless copying can neither undo nor lack a change.

        ``reader``: the lease of whoever reads the stream, of whom nothing can be undone where
        copies are ranked; elsewhere he goes on from where he is, and not from his last position.
        """
        positions = known.positions.values()
        begun = known.enrolled_ms if positions else None
        why = why_unsafe(
            self.at_ms,
            Followed(
                now_ms=now_ms,
                stream_ms=created_ms(stream),
                lost=known.lost is not None,
                begun_ms=begun,
                applied_ms=max((position.read_until_ms for position in positions), default=None),
            ),
            ranked=mirror.copies_beside,
            keep_days=mirror.tombstone_days if isinstance(mirror, Side) else LEDGER_DAYS,
        )
        if isinstance(mirror, Side) and len(self._chain) > 1:
            why = "incremental exports don't tell the ranks of deletes: a two-way mirror takes a "
            why += "full export only"
        if why is None and reader is not None and not mirror.copies_beside:
            why = f"{reader['owner']} reads the stream, and this guard can't tell what he has "
            why += "applied from older copies"
        if why is not None:
            raise UnsafeExportError(f"export {self.id} can't be copied: {why}")

    def stages(
        self, names: Sequence[str], share: tuple[int, int], number: int, *, newest_first: bool
    ) -> list[list[Part]]:
        """Return what to copy, one list after the other.

        ``newest_first``: where a copy is refused if there is something already; otherwise a later
        one replaces what an earlier one put.
        """
        mine, shares = share
        stages: list[list[Part]] = []
        for place, (files, export) in enumerate(self._chain):
            chosen = export.files[mine - 1 :: shares]
            stages.append(
                [ExportFile(files, export, file, names, number - place) for file in chosen]
            )
        return stages[::-1] if newest_first else stages


async def opened(places: Sequence[Files], table: str) -> Exports:
    """Read the manifests of exports of the table of an ARN.

    Raises ConfigError where they don't belong together, MissingFileError.
    """
    found = {}
    for files in places:
        summary, listed = [
            b"".join([chunk async for chunk in files.chunks(name)])
            for name in ("manifest-summary.json", "manifest-files.json")
        ]
        export = export_of(summary, listed)
        found[export.id] = files, export
    chain = chained([export for _, export in found.values()], table)
    return Exports([found[export.id] for export in chain])


class ExportFile:
    """One data file of an export; see ``parts.Part``."""

    def __init__(
        self, files: Files, export: Export, file: DataFile, names: Sequence[str], number: int
    ) -> None:
        """``names``: the table's key attributes; ``number``: the records' sequence number."""
        self.name = f"export {export.id}/{file.key.rpartition('/')[2]}"
        self._files = files
        self._file = file
        self._names = names
        self._number = number
        self._line = _whole if export.whole else _changed

    async def pages(self, done: Done) -> Pages:
        """See Part."""
        skip, records, count = done.items, list[StreamRecord](), 0
        async for line in self._lines():
            count += 1
            if count > skip:
                records.append(self._read(line))
            if len(records) == CHUNK:
                done = _after(done, records)
                yield records, done
                records = []
        if count != self._file.items:
            raise DamagedError(f"{self._file.key} has {count} lines, not {self._file.items}")
        done = _after(done, records)
        yield records, Done(None, True, done.items, done.bytes)  # noqa: FBT003 - ``whole``

    async def _lines(self) -> AsyncIterator[bytes]:
        digest, rest = hashlib.md5(usedforsecurity=False), b""
        inflate = zlib.decompressobj(GZIP)
        packed = self._file.key.endswith(".gz")
        async for chunk in self._chunks():
            digest.update(chunk)
            text = chunk
            if packed:
                text, inflate = self._inflated(inflate, chunk)
            *lines, rest = (rest + text).split(b"\n")
            for line in lines:
                if line:
                    yield line
        if rest:
            yield rest
        found = base64.b64encode(digest.digest()).decode()
        if self._file.md5 not in ("", found):
            raise DamagedError(f"{self._file.key} has the MD5 sum {found}, not {self._file.md5}")

    def _inflated(self, inflate: Any, chunk: bytes) -> tuple[bytes, Any]:
        """Return a chunk's text, and what goes on from there: files may be of several parts."""
        try:
            text = inflate.decompress(chunk)
            while inflate.eof and inflate.unused_data:
                chunk, inflate = inflate.unused_data, zlib.decompressobj(GZIP)
                text += inflate.decompress(chunk)
        except zlib.error as error:
            raise DamagedError(f"{self._file.key}: {error}") from None
        return text, inflate

    def _read(self, line: bytes) -> StreamRecord:
        try:
            return self._line(line, self._names, self._number)
        except (ValueError, KeyError) as error:
            raise DamagedError(f"{self._file.key} has a line that is no item: {error}") from None

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Yield the file from where a copy of the export, or a part of it, may have it."""
        name = self._file.key.rpartition("/")[2]
        places = (f"data/{name}", f"../data/{name}", f"../../{_below(self._file.key)}")
        for place in places:
            try:
                async for chunk in self._files.chunks(place):
                    yield chunk
            except MissingFileError:
                if place == places[-1]:
                    raise
            else:
                return


def _below(key: str) -> str:
    return key[key.find(ROOT) :] if ROOT in key else key


def _after(done: Done, records: Sequence[StreamRecord]) -> Done:
    size = done.bytes + sum(map(size_of, records))
    return Done(None, whole=False, items=done.items + len(records), bytes=size)


class _Item(msgspec.Struct):
    Item: msgspec.Raw


class _Change(msgspec.Struct):
    Keys: Wire
    NewImage: msgspec.Raw = msgspec.Raw()


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_change = msgspec.json.Decoder(_Change).decode
_decode_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _whole(line: bytes, names: Sequence[str], number: int) -> StreamRecord:
    image = _decode_item(line).Item
    attributes = _decode_attributes(image)
    keys = {name: decode(attributes[name]) for name in names}
    return StreamRecord(number, "INSERT", key_of(keys), keys, image, None, 0.0, by_ttl=False)


def _changed(line: bytes, names: Sequence[str], number: int) -> StreamRecord:
    change = _decode_change(line)
    keys = {name: change.Keys[name] for name in names}
    image = change.NewImage if len(change.NewImage) else None
    event = "REMOVE" if image is None else "MODIFY"
    return StreamRecord(number, event, key_of(keys), keys, image, None, 0.0, by_ttl=False)
