"""Exports as DynamoDB makes them, of tables in memory."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from dynamirror.core.values import Wire
from dynamirror.engine.copying.export import MissingFileError

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/Stories"


class Made:
    """An export's files by their names; ``id`` names its folder."""

    def __init__(
        self,
        identity: str,
        lines: list[Wire],
        at_ms: int,
        *,
        from_ms: int | None = None,
        files: int = 3,
        **other: object,
    ) -> None:
        self.id = identity
        whole = from_ms is None
        where = (
            f"some/prefix/AWSDynamoDB/{identity}/data" if whole else "some/prefix/AWSDynamoDB/data"
        )
        self.files: dict[str, bytes] = {}
        listed = []
        for number in range(files):
            part = lines[number::files]
            # In two gzip members, as large files are.
            text = [json.dumps(line).encode() + b"\n" for line in part]
            body = gzip.compress(b"".join(text[:2])) + gzip.compress(b"".join(text[2:]))
            name = f"{identity}-{number}.json.gz"
            self.files[f"data/{name}" if whole else f"../data/{name}"] = body
            md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            listed.append(
                {
                    "itemCount": len(part),
                    "md5Checksum": md5,
                    "etag": "x-1",
                    "dataFileS3Key": f"{where}/{name}",
                }
            )
        summary = {
            "version": "2020-06-30" if whole else "2023-08-01",
            "exportArn": f"{ARN}/export/{identity}",
            "tableArn": ARN,
            "outputFormat": "DYNAMODB_JSON",
            "itemCount": len(lines),
            "billedSizeBytes": 0,
            "s3SseKmsKeyId": None,
            **({"exportTime": _iso(at_ms)} if whole else {}),
            **(
                {}
                if whole
                else {"exportType": "INCREMENTAL_EXPORT", "outputView": "NEW_AND_OLD_IMAGES"}
            ),
            **(
                {}
                if from_ms is None
                else {"exportFromTime": _iso(from_ms), "exportToTime": _iso(at_ms)}
            ),
            **other,
        }
        self.files["manifest-summary.json"] = json.dumps(summary).encode()
        self.files["manifest-files.json"] = b"".join(
            json.dumps(line).encode() + b"\n" for line in listed
        )

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        if name not in self.files:
            raise MissingFileError(name)
        body = self.files[name]
        for at in range(0, len(body), 100):
            yield body[at : at + 100]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat().replace("+00:00", "Z")
