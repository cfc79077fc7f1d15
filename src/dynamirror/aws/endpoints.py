"""Where a region's two APIs are, tables and streams.

The three partitions that follow one pattern are spelled here; FIPS, dual-stack and the isolated
partitions are asked of botocore, which knows their exceptions. Tests compare both for every region
that botocore knows.

One rule is ours. DynamoDB-compatible servers answer both APIs on one address, AWS never does. So
a configured endpoint that isn't AWS's serves both, one that is (a VPC endpoint) serves the API
it was configured for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from dynamirror.errors import ConfigError

_PARTITIONS = (
    # botocore's partitions.json: a region's pattern, the domain of its services.
    (re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+"), "amazonaws.com"),
    (re.compile(r"us-gov-[a-z]+-\d+"), "amazonaws.com"),
    (re.compile(r"cn-[a-z]+-\d+"), "amazonaws.com.cn"),
)
_AWS_DOMAINS = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
    "api.aws.ic.gov",
    "api.aws.scloud",
    "api.cloud-aws.adc-e.uk",
    "api.aws.hci.ic.gov",
)
_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Scheme, host and port: all that tells one address from another, for we have one path."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the Host header: with the port where it isn't the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def is_aws(self) -> bool:
        return any(self.host.endswith(f".{domain}") for domain in _AWS_DOMAINS)


class Endpoints(NamedTuple):
    tables: Endpoint
    streams: Endpoint


def parse(url: str, setting: str) -> Endpoint:
    """Return the endpoint that a setting names; raise ConfigError unless it is scheme and host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{setting} = {url!r}: {error}. Write http://host:port.") from None
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in _PORTS or not parts.hostname or extra:
        raise ConfigError(
            f"{setting} = {url!r}: an endpoint is a scheme and a host, perhaps a port, and "
            "nothing else. Write http://host:port or https://host."
        )
    return Endpoint(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def endpoints(
    region: str, endpoint_url: str | None = None, environment: Mapping[str, str] = os.environ
) -> Endpoints:
    """Return both endpoints of a place: its own setting first, then botocore's environment
    variables (the service's before the general one), then AWS's.

    Raises ConfigError for a region or a URL that can't be one.
    """
    tables, streams, general = _configured(endpoint_url, environment)
    if not (tables and streams) and general:
        tables, streams = tables or general, streams or general
    if tables and streams:
        if not _LABEL.fullmatch(region):
            raise ConfigError(_no_region(region))
        return Endpoints(tables, streams)
    aws = _of_region(region, environment)
    return Endpoints(tables or aws.tables, streams or aws.streams)


def _configured(
    endpoint_url: str | None, environment: Mapping[str, str]
) -> tuple[Endpoint | None, Endpoint | None, Endpoint | None]:
    def variable(name: str) -> Endpoint | None:
        value = environment.get(name)
        return parse(value, name) if value and not ignored else None

    ignored = _is_true(environment, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    tables = variable("AWS_ENDPOINT_URL_DYNAMODB")
    streams = variable("AWS_ENDPOINT_URL_DYNAMODB_STREAMS")
    if endpoint_url:
        own = parse(endpoint_url, "endpoint_url")
        if not own.is_aws:
            return own, own, None
        if "streams" in re.split(r"[.-]", own.host):
            streams = own
        else:
            tables = own
    either = next((found for found in (tables, streams) if found and not found.is_aws), None)
    return tables or either, streams or either, variable("AWS_ENDPOINT_URL")


def _of_region(region: str, environment: Mapping[str, str]) -> Endpoints:
    fips = _is_true(environment, "AWS_USE_FIPS_ENDPOINT")
    dual_stack = _is_true(environment, "AWS_USE_DUALSTACK_ENDPOINT")
    if not fips and not dual_stack:
        for pattern, domain in _PARTITIONS:
            if pattern.fullmatch(region):
                host = f"dynamodb.{region}.{domain}"
                return Endpoints(
                    Endpoint("https", host, 443), Endpoint("https", f"streams.{host}", 443)
                )
    return resolved(region, fips=fips, dual_stack=dual_stack)


def resolved(region: str, *, fips: bool, dual_stack: bool) -> Endpoints:
    """Return AWS's endpoints as botocore's rules have them. Slow: imports botocore."""
    from botocore.endpoint_provider import EndpointProvider  # noqa: PLC0415  # slow import
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.loaders import create_loader  # noqa: PLC0415

    loader = create_loader()
    partitions = loader.load_data("partitions")
    # botocore takes a region it can't place for one of the partition aws.
    patterns = [partition["regionRegex"] for partition in partitions["partitions"]]
    if not any(re.fullmatch(pattern.strip("^$"), region) for pattern in patterns):
        raise ConfigError(_no_region(region))

    def endpoint(service: str) -> Endpoint:
        rules = loader.load_service_model(service, "endpoint-rule-set-1")
        found = EndpointProvider(rules, partitions).resolve_endpoint(
            Region=region, UseFIPS=fips, UseDualStack=dual_stack
        )
        return parse(found.url, "botocore")

    try:
        return Endpoints(endpoint("dynamodb"), endpoint("dynamodbstreams"))
    except BotoCoreError as error:
        raise ConfigError(
            f"region {region!r} has no such endpoint: {error} "
            "Unset AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT."
        ) from error


def _no_region(region: str) -> str:
    return f"region = {region!r} is not one of AWS's. Write it as AWS does, like eu-west-1."


def _is_true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() == "true"  # as botocore's ensure_boolean
