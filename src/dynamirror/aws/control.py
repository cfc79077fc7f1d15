"""The port ControlPlane: botocore, in threads. Only those who deploy or check need it."""

from __future__ import annotations

import asyncio
from typing import Any

from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from dynamirror.aws.errors import named
from dynamirror.errors import AccessDeniedError, ConfigError, TransientError

ATTEMPTS = 6
CONNECT_S, ANSWER_S = 10, 60

GRANT = "Grant whoever runs this the action named above, then run the same command again."

HINT = "Mend what is named above, then run the command again."


class BotocoreControlPlane:
    """See ControlPlane. Raises ConfigError for a profile or a region that there isn't."""

    def __init__(self, region: str, profile: str | None = None) -> None:
        self._region = region
        self._whose = f"profile {profile!r}" if profile else "default credentials"
        self._clients: dict[str, Any] = {}
        self._session = Session(profile=profile)
        try:
            known = {
                each
                for partition in self._session.get_available_partitions()
                for each in self._session.get_available_regions("dynamodb", partition)
            }
        except BotoCoreError as error:  # no such profile
            raise ConfigError(f"{error} Name one of ~/.aws/config.") from error
        if region not in known:
            raise ConfigError(
                f"region = {region!r} is not one of AWS's that botocore knows: write it as AWS"
                " does, like eu-west-1, or upgrade botocore if it is new"
            )

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """See ControlPlane."""
        return await asyncio.to_thread(self._call, service, operation, parameters)

    async def close(self) -> None:
        """See ControlPlane."""
        for client in self._clients.values():
            client.close()

    def _call(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client(service), xform_name(operation))(
                **parameters
            )
        except ClientError as error:
            told = error.response.get("Error", {})
            message = f"{service}:{operation} in {self._region} with {self._whose}: "
            refusal = named(str(told.get("Code", "")), message + str(told.get("Message", error)))
            # The classes' own speak of tables.
            refusal.hint = GRANT if isinstance(refusal, AccessDeniedError) else HINT
            raise refusal from error
        except BotoCoreError as error:
            message = f"{service}:{operation} in {self._region} with {self._whose}: {error}"
            if type(error).__name__ in _OF_CREDENTIALS:
                raise ConfigError(f"{message}. Log in, or correct the profile.") from error
            raise TransientError(type(error).__name__, message) from error
        return answer

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(
                connect_timeout=CONNECT_S,
                read_timeout=ANSWER_S,
                retries={"mode": "standard", "max_attempts": ATTEMPTS},
            )
            self._clients[service] = self._session.create_client(
                service, region_name=self._region, config=config
            )
        return self._clients[service]


_OF_CREDENTIALS = {
    "CredentialRetrievalError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
