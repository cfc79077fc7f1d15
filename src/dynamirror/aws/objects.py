"""Files in a bucket of S3, by botocore, in threads: a table's exports, and batches that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from posixpath import normpath
from typing import Any

from dynamirror.aws.client import Place
from dynamirror.aws.credentials import CredentialSource, credential_source
from dynamirror.aws.endpoints import parse
from dynamirror.errors import AccessDeniedError, NotFoundError, TransientError

CHUNK_BYTES = 256 * 1024

GONE = frozenset({"NoSuchKey", "NoSuchBucket", "404"})


class Bucket:
    """What lies under one prefix of a bucket; ``s3://bucket/prefix``."""

    def __init__(self, url: str, place: Place, credentials: CredentialSource | None = None) -> None:
        """``place``: whose credentials and region to use, and, for a server that isn't AWS's, its
        address.
        """
        self._bucket, _, self._prefix = url.removeprefix("s3://").rstrip("/").partition("/")
        self._place = place
        self._source = credentials or credential_source(
            region=place.region,
            profile=place.profile,
            role_arn=place.role_arn,
            external_id=place.external_id,
        )
        self._client: Any = None

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object's bytes. Raises NotFoundError before the first, AccessDeniedError."""
        key = normpath(f"{self._prefix}/{name}")
        body = await asyncio.to_thread(self._open, key, await self._opened())
        try:
            while chunk := await asyncio.to_thread(body.read, CHUNK_BYTES):
                yield chunk
        finally:
            body.close()

    async def keys(self) -> AsyncIterator[str]:
        """Yield the keys of all objects below the prefix, in their order, whole.

        Raises NotFoundError without such a bucket, AccessDeniedError.
        """
        client = await self._opened()
        below = f"{self._prefix}/" if self._prefix else ""
        more: dict[str, str] = {}
        while True:
            listed = partial(client.list_objects_v2, Bucket=self._bucket, Prefix=below, **more)
            page = await self._asked(listed, below)
            for each in page.get("Contents", ()):
                yield each["Key"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def read(self, key: str) -> bytes:
        """Return an object whole. Raises NotFoundError, AccessDeniedError."""
        client = await self._opened()
        body: bytes = await asyncio.to_thread(lambda: self._open(key, client).read())
        return body

    async def move(self, key: str, to: str) -> None:
        """Give an object another key: there is no moment at which it is under neither."""
        client = await self._opened()
        source = {"Bucket": self._bucket, "Key": key}
        await self._asked(
            lambda: client.copy_object(Bucket=self._bucket, Key=to, CopySource=source), to
        )
        await self._asked(lambda: client.delete_object(Bucket=self._bucket, Key=key), key)

    async def _asked(self, call: Callable[[], Any], key: str) -> Any:
        return await asyncio.to_thread(self._answered, call, key)

    async def _opened(self) -> Any:
        if self._client is None:
            credentials = await self._source.current()
            self._client = await asyncio.to_thread(self._connect, credentials)
        return self._client

    def _connect(self, credentials: Any) -> Any:
        import botocore.session  # noqa: PLC0415 - slow import
        from botocore.config import Config  # noqa: PLC0415

        url = self._place.endpoint_url
        own = None if url is None or parse(url, "endpoint_url").is_aws else url
        return botocore.session.get_session().create_client(
            "s3",
            region_name=self._place.region,
            endpoint_url=own,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
            config=Config(
                s3={"addressing_style": "path"} if own else {}, retries={"mode": "standard"}
            ),
        )

    def _open(self, key: str, client: Any) -> Any:
        return self._answered(lambda: client.get_object(Bucket=self._bucket, Key=key)["Body"], key)

    def _answered(self, call: Callable[[], Any], key: str) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        where = f"s3://{self._bucket}/{key}"
        try:
            return call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in GONE:
                raise NotFoundError(code, f"there is no {where}") from None
            raise AccessDeniedError(code, f"{where}: {error}") from None
        except BotoCoreError as error:
            raise TransientError(type(error).__name__, f"{where}: {error}") from error
