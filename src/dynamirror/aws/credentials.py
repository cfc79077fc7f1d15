"""Whose requests these are. botocore knows every kind of credentials; we know one, the fastest.

The three environment variables are what AWS Lambda sets, and reading them is all that its hot
path does; botocore's import alone would cost a cold start 170 ms. Everything else (profiles,
roles, SSO, containers, instance metadata) is botocore's, imported when first asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from dynamirror.aws.errors import named
from dynamirror.errors import ConfigError, TransientError

MANDATORY_S = 60
"""So near their end credentials are waited for; before that the refresh runs beside requests."""


class Credentials(NamedTuple):
    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, ...)"  # logs must never hold the rest


class CredentialSource(Protocol):
    async def current(self) -> Credentials:
        """Return the credentials to use now, the same object as long as they don't change.

        Raises ConfigError where there are none, TransientError where they can't be had just now.
        """
        ...

    async def renewed(self, refused: Credentials) -> Credentials | None:
        """Return others than those, which the service called expired, or None."""
        ...


class EnvironmentCredentials:
    """Those of the environment variables, read again only when the service refuses them."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._held = _of_environment(environment)

    async def current(self) -> Credentials:
        return self._held

    async def renewed(self, refused: Credentials) -> Credentials | None:
        found = _of_environment(self._environment)
        if found != self._held:
            self._held = found
        return self._held if self._held != refused else None


class BotocoreCredentials:
    """Those that botocore finds for a profile (or by default), or of the role they may assume."""

    def __init__(
        self,
        *,
        region: str,
        profile: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
    ) -> None:
        self._region = region
        self._profile = profile
        self._role_arn = role_arn
        self._external_id = external_id
        self._source: Any = None
        self._held: Credentials | None = None
        self._fetching: asyncio.Future[Credentials] | None = None

    async def current(self) -> Credentials:
        if self._fetching is None and self._ends_within(None):
            self._fetch()
        if self._fetching is not None and self._ends_within(MANDATORY_S):
            # Shielded, for others wait for the same.
            await asyncio.shield(self._fetching)
        if self._held is None:
            raise AssertionError("fetched, or raised")
        return self._held

    async def renewed(self, refused: Credentials) -> Credentials | None:
        if self._held is refused:
            if self._fetching is None:
                self._source = None
                self._fetch()
            if self._fetching is not None:
                await asyncio.shield(self._fetching)
        return self._held if self._held != refused else None

    def _ends_within(self, seconds: int | None) -> bool:
        """Tell whether a refresh is due; None stands for botocore's own notice, 15 minutes."""
        if self._held is None or self._source is None:
            return True
        refresh_needed = getattr(self._source, "refresh_needed", None)  # static ones lack it
        return refresh_needed is not None and bool(refresh_needed(seconds))

    def _fetch(self) -> None:
        # In a thread: it may ask STS, the instance's metadata or a process.
        self._fetching = asyncio.ensure_future(asyncio.to_thread(self._fetched))
        self._fetching.add_done_callback(self._settle)

    def _settle(self, fetching: asyncio.Future[Credentials]) -> None:
        self._fetching = None
        # A failure reaches those who wait for it. If nobody does, the old credentials still
        # serve, botocore has logged it, and the next second asks again.
        if not fetching.cancelled() and fetching.exception() is None:
            found = fetching.result()
            if found != self._held:
                self._held = found

    def _fetched(self) -> Credentials:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # slow import

        try:
            if self._source is None:
                self._source = self._found()
            frozen = self._source.get_frozen_credentials()
        except ClientError as error:
            fault = error.response.get("Error", {})
            raise named(fault.get("Code", ""), f"{self}: {fault.get('Message', error)}") from error
        except BotoCoreError as error:
            raise self._translated(error) from error
        return checked(Credentials(frozen.access_key, frozen.secret_key, frozen.token), str(self))

    def _found(self) -> Any:
        from botocore.session import Session  # noqa: PLC0415  # slow import

        session = Session(profile=self._profile)
        # Until botocore 1.40 the default was the one global STS, in us-east-1.
        session.set_config_variable("sts_regional_endpoints", "regional")
        found = session.get_credentials()
        if found is None:
            raise ConfigError(
                f"{self}: no credentials found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or name a profile of ~/.aws/config."
            )
        return self._assuming(session, found) if self._role_arn else found

    def _assuming(self, session: Any, own: Any) -> Any:
        from botocore.credentials import (  # noqa: PLC0415  # slow import
            AssumeRoleCredentialFetcher,
            DeferredRefreshableCredentials,
        )

        def client(service: str, **arguments: Any) -> Any:
            return session.create_client(service, region_name=self._region, **arguments)

        extra = {"RoleSessionName": "dynamirror"}
        if self._external_id is not None:
            extra["ExternalId"] = self._external_id
        fetcher = AssumeRoleCredentialFetcher(client, own, self._role_arn, extra_args=extra)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    def _translated(self, error: Exception) -> Exception:
        from botocore.exceptions import (  # noqa: PLC0415  # slow import
            ConnectionError as UnreachableError,
        )
        from botocore.exceptions import (  # noqa: PLC0415
            CredentialRetrievalError,
            HTTPClientError,
            MetadataRetrievalError,
        )

        passing = (
            UnreachableError,
            HTTPClientError,
            CredentialRetrievalError,
            MetadataRetrievalError,
        )
        if isinstance(error, passing):
            return TransientError("CredentialsUnavailable", f"{self}: {error}")
        return ConfigError(f"{self}: {error} Log in again, or correct the profile.")

    def __str__(self) -> str:
        whose = f"profile {self._profile!r}" if self._profile else "default credentials"
        return f"role {self._role_arn} through {whose}" if self._role_arn else whose


def credential_source(
    *,
    region: str,
    profile: str | None,
    role_arn: str | None,
    external_id: str | None,
    environment: Mapping[str, str] = os.environ,
) -> CredentialSource:
    """Return where a place's credentials come from. As in botocore, a profile that is named
    goes before the environment's, and these before everything else.
    """
    if profile is None and role_arn is None and environment.get("AWS_ACCESS_KEY_ID"):
        return EnvironmentCredentials(environment)
    return BotocoreCredentials(
        region=region, profile=profile, role_arn=role_arn, external_id=external_id
    )


def checked(credentials: Credentials, source: str) -> Credentials:
    """Return them; raise ConfigError where they can't stand in a header, as after a bad paste."""
    for name, value in zip(credentials._fields, credentials, strict=True):
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            raise ConfigError(
                f"{source}: the {name.replace('_', ' ')} holds a space, a line break or a "
                "character that none has. Set it again, without them."
            )
    return credentials


def _of_environment(environment: Mapping[str, str]) -> Credentials:
    access_key = environment.get("AWS_ACCESS_KEY_ID", "")
    secret_key = environment.get("AWS_SECRET_ACCESS_KEY", "")
    if not access_key or not secret_key:
        raise ConfigError(
            "environment: one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is not set. "
            "Set both, or neither."
        )
    # botocore still reads the second name, older than the first.
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN") or None
    return checked(Credentials(access_key, secret_key, token), "environment")
