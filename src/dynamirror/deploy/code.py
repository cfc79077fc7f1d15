"""The functions' code in S3: a bucket in each account and region, a folder for each stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from dynamirror.deploy.bundle import digest
from dynamirror.deploy.formation import StackError
from dynamirror.deploy.stacks import Site
from dynamirror.errors import ServiceError
from dynamirror.ports import ControlPlane

MISSING = ("404", "NoSuchBucket", "NotFound", "NoSuchKey")
KEYS_MAX = 1_000
"""That one request deletes (S3 API Reference, 'DeleteObjects')."""

_HOME_OF_S3 = "us-east-1"
_DIGEST_CHARACTERS = 32


class Bucket:
    """A bucket; no request ever goes to one of another account."""

    def __init__(self, control: ControlPlane, site: Site, name: str) -> None:
        self._control = control
        self._site = site
        self.name = name

    async def exists(self) -> bool:
        """Tell whether it is there, and ours. Raises StackError where it is another's."""
        try:
            await self._call("HeadBucket")
        except ServiceError as error:
            if error.code in MISSING:
                return False
            raise StackError(f"{self._site}: the bucket {self.name}: {error}", DENIED) from error
        return True

    async def create(self) -> None:
        """Make it."""
        region = self._site.region
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await self._control.call(
            "s3", "CreateBucket", Bucket=self.name, **({} if region == _HOME_OF_S3 else where)
        )

    async def holds(self, key: str) -> bool:
        """Tell whether it has an object of that name."""
        try:
            await self._call("HeadObject", Key=key)
        except ServiceError as error:
            if error.code not in MISSING:
                raise
            return False
        return True

    async def put(self, key: str, body: bytes) -> None:
        """Write an object."""
        await self._call("PutObject", Key=key, Body=body)

    async def empty(self, prefix: str = "") -> int:
        """Delete every object under a prefix; return how many there were."""
        count = 0
        async for keys in self._pages(prefix):
            gone = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            await self._call("DeleteObjects", Delete=gone)
            count += len(keys)
        return count

    async def is_empty(self) -> bool:
        """Tell whether it has no object."""
        async for _ in self._pages(""):
            return False
        return True

    async def delete(self) -> None:
        """Delete it, which must be empty."""
        await self._call("DeleteBucket")

    async def _pages(self, prefix: str) -> AsyncIterator[list[str]]:
        more: dict[str, Any] = {}
        while True:
            page = await self._call("ListObjectsV2", Prefix=prefix, MaxKeys=KEYS_MAX, **more)
            if keys := [each["Key"] for each in page.get("Contents", ())]:
                yield keys
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._control.call(
            "s3",
            operation,
            Bucket=self.name,
            ExpectedBucketOwner=self._site.account,
            **parameters,
        )


DENIED = "Grant whoever deploys the s3 actions on this bucket, or see whose it is."


def code_bucket(control: ControlPlane, site: Site) -> Bucket:
    """Return the bucket for code of an account and region."""
    return Bucket(control, site, bucket_name(site))


def bucket_name(site: Site) -> str:
    """Return what the bucket for code is called: names are all the world's, so with the account."""
    return f"dynamirror-{site.account}-{site.region}"


def object_url(site: Site, bucket: str, key: str) -> str:
    """Return where CloudFormation finds an object, written as the AWS CLI does."""
    domain = "amazonaws.com.cn" if site.region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{site.region}.{domain}/{bucket}/{key}"


def code_key(stack: str, zipped: bytes) -> str:
    """Return where a zip lies, by its content: the same zip is the same key."""
    return f"{stack}/{digest(zipped)[:_DIGEST_CHARACTERS]}.zip"


async def discard(bucket: Bucket, stack: str) -> None:
    """Delete a stack's code, and the bucket if nothing else is in it."""
    if not await bucket.exists():
        return
    await bucket.empty(f"{stack}/")
    if await bucket.is_empty():
        await bucket.delete()
