"""Where the APIs are, held against botocore's own rules."""

from __future__ import annotations

import re

import pytest
from botocore.loaders import create_loader

from dynamirror.aws.endpoints import Endpoint, endpoints, parse, resolved
from dynamirror.errors import ConfigError

PARTITIONS = create_loader().load_data("partitions")["partitions"]
REGIONS = [
    region
    for partition in PARTITIONS
    for region in partition["regions"]
    if re.fullmatch(partition["regionRegex"], region)  # the others are not places
]
LOCAL = "http://127.0.0.1:8000"
VPC = "https://vpce-1a2b-3c4d.dynamodb.eu-west-1.vpce.amazonaws.com"
VPC_STREAMS = "https://vpce-1a2b-3c4d.streams-dynamodb.eu-west-1.vpce.amazonaws.com"
TABLES = "https://dynamodb.eu-west-1.amazonaws.com"
STREAMS = "https://streams.dynamodb.eu-west-1.amazonaws.com"


def found(
    endpoint_url: str | None = None, region: str = "eu-west-1", **environment: str
) -> tuple[str, str]:
    tables, streams = endpoints(region, endpoint_url, environment)
    return tables.url, streams.url


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_is_where_botocore_finds_it(region: str) -> None:
    """In every region of every partition requests go where boto3's would go."""
    assert endpoints(region, None, {}) == resolved(region, fips=False, dual_stack=False)


def test_the_common_partitions_need_no_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region of aws, aws-cn or aws-us-gov costs a cold start nothing."""
    monkeypatch.setattr("dynamirror.aws.endpoints.resolved", None)
    for partition in PARTITIONS:
        if partition["id"] in {"aws", "aws-cn", "aws-us-gov"}:
            for region in set(partition["regions"]) & set(REGIONS):
                assert endpoints(region, None, {}).tables.is_aws


def test_a_region_newer_than_botocore() -> None:
    """A region that opens tomorrow works tomorrow."""
    assert found(region="eu-central-9")[0] == "https://dynamodb.eu-central-9.amazonaws.com"


@pytest.mark.parametrize(
    ("environment", "tables"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb-fips.us-east-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "TRUE"}, "https://dynamodb.us-east-1.api.aws"),
        ({"AWS_USE_FIPS_ENDPOINT": "false"}, "https://dynamodb.us-east-1.amazonaws.com"),
    ],
)
def test_fips_and_dual_stack(environment: dict[str, str], tables: str) -> None:
    """The two switches of every AWS tool work here."""
    assert found(region="us-east-1", **environment)[0] == tables


@pytest.mark.parametrize(
    "region", ["", "eu-west", "eu west-1", "EU-WEST-1", "ireland", "eu-west-1.evil.example"]
)
def test_a_region_that_is_none(region: str) -> None:
    """A misspelt region is a fault of the configuration, told before anything is sent."""
    with pytest.raises(ConfigError, match="eu-west-1"):
        endpoints(region, None, {})


def test_a_region_with_an_endpoint_is_only_a_name() -> None:
    """With an endpoint of one's own any region will do that can stand in a signature."""
    assert found(LOCAL, region="local") == (LOCAL, LOCAL)
    with pytest.raises(ConfigError):
        found(LOCAL, region="no/region")


@pytest.mark.parametrize(
    ("endpoint_url", "environment", "expected"),
    [
        (None, {}, (TABLES, STREAMS)),
        (LOCAL, {}, (LOCAL, LOCAL)),
        (LOCAL + "/", {}, (LOCAL, LOCAL)),
        (VPC, {}, (VPC, STREAMS)),
        (VPC_STREAMS, {}, (TABLES, VPC_STREAMS)),
        (None, {"AWS_ENDPOINT_URL": LOCAL}, (LOCAL, LOCAL)),
        (None, {"AWS_ENDPOINT_URL_DYNAMODB": LOCAL}, (LOCAL, LOCAL)),
        (None, {"AWS_ENDPOINT_URL_DYNAMODB_STREAMS": LOCAL}, (LOCAL, LOCAL)),
        (None, {"AWS_ENDPOINT_URL_DYNAMODB": VPC}, (VPC, STREAMS)),
        (
            None,
            {"AWS_ENDPOINT_URL_DYNAMODB": VPC, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": VPC_STREAMS},
            (VPC, VPC_STREAMS),
        ),
        (VPC, {"AWS_ENDPOINT_URL_DYNAMODB_STREAMS": VPC_STREAMS}, (VPC, VPC_STREAMS)),
        (LOCAL, {"AWS_ENDPOINT_URL_DYNAMODB_STREAMS": VPC_STREAMS}, (LOCAL, LOCAL)),
        (LOCAL, {"AWS_ENDPOINT_URL": "http://other:1"}, (LOCAL, LOCAL)),
        (
            None,
            {"AWS_ENDPOINT_URL_DYNAMODB": LOCAL, "AWS_ENDPOINT_URL": "http://other:1"},
            (LOCAL, LOCAL),
        ),
        (
            None,
            {"AWS_ENDPOINT_URL": LOCAL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            (TABLES, STREAMS),
        ),
    ],
)
def test_a_configured_endpoint(
    endpoint_url: str | None, environment: dict[str, str], expected: tuple[str, str]
) -> None:
    """The place's own endpoint goes before the service's variable, that before the general one,
    that before AWS; one that isn't AWS's serves both APIs."""
    assert found(endpoint_url, **environment) == expected


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://localhost:port",
        "http://localhost:99999",
        "http://localhost/path",
        "http://localhost?a=b",
        "http://user@localhost",
    ],
)
def test_an_endpoint_that_is_none(url: str) -> None:
    """A URL we can't send to is a fault of the configuration that says what to write."""
    with pytest.raises(ConfigError, match="Write http://host:port"):
        endpoints("eu-west-1", url, {})
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL = "):
        endpoints("eu-west-1", None, {"AWS_ENDPOINT_URL": url})


@pytest.mark.parametrize(
    ("url", "endpoint", "authority"),
    [
        ("http://[::1]:8000", Endpoint("http", "::1", 8000), "[::1]:8000"),
        ("https://Host:443", Endpoint("https", "host", 443), "host"),
        ("http://host", Endpoint("http", "host", 80), "host"),
        ("https://host:80/", Endpoint("https", "host", 80), "host:80"),
    ],
)
def test_the_host_header(url: str, endpoint: Endpoint, authority: str) -> None:
    """A port is named exactly where it isn't the scheme's own, as every HTTP client does."""
    assert parse(url, "endpoint_url") == endpoint
    assert endpoint.authority == authority
    assert parse(endpoint.url, "endpoint_url") == endpoint


def test_only_awss_own_hosts_are_awss() -> None:
    """A host that merely looks like AWS's is not: it serves both APIs, as its owner configured."""
    fake = "https://dynamodb.eu-west-1.amazonaws.com.example"
    assert found(fake) == (fake, fake)
    fake = "https://notamazonaws.com"
    assert found(fake) == (fake, fake)
