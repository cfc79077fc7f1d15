"""Where a table's exports are read from: folders of this machine, buckets of S3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from dynamirror.aws.objects import CHUNK_BYTES, Bucket
from dynamirror.config.model import Mirror
from dynamirror.engine.copying.export import Exports, MissingFileError, opened
from dynamirror.engine.source import described
from dynamirror.errors import NotFoundError
from dynamirror.wiring import Wiring


class Folder:
    """A folder; see ``engine.export.Files``."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        """See Files."""
        path = (self._path / name).resolve()
        if not await asyncio.to_thread(path.is_file):
            raise MissingFileError(f"there is no {path}")
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk


class Prefix:
    """A bucket's prefix; see ``engine.export.Files``."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        """See Files."""
        try:
            async for chunk in self._bucket.chunks(name):
                yield chunk
        except NotFoundError as error:
            raise MissingFileError(error.message) from error


async def exports_of(wiring: Wiring, mirror: Mirror, places: Sequence[str]) -> Exports:
    """Return the exports of a mirror's source that are at these paths and URLs."""
    table = await described(wiring.source(mirror), mirror.source.table, wiring.backoff)
    files = [
        Prefix(Bucket(place, mirror.source)) if place.startswith("s3://") else Folder(place)
        for place in places
    ]
    return await opened(files, table.description["TableArn"])
