"""Proxies and certificates, as the environment has them."""

from __future__ import annotations

import ssl
from pathlib import Path
from unittest import mock
from urllib.request import (  # type: ignore[attr-defined]  # typeshed lacks the second
    getproxies_environment,
    proxy_bypass_environment,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.aws.place import ENVIRONMENT, APlace, Certificates

from dynamirror.aws.client import connect
from dynamirror.aws.endpoints import parse
from dynamirror.aws.network import _context, proxy_variable, tls_context
from dynamirror.errors import ConfigError

PROXY = "http://proxy.example:3128"
URLS = [
    "https://dynamodb.eu-west-1.amazonaws.com",
    "https://streams.dynamodb.eu-west-1.amazonaws.com",
    "http://dynamo.example:8000",
]
SETTINGS = st.sampled_from(["", PROXY])
LISTS = st.lists(
    st.sampled_from(
        [
            *("amazonaws.com", ".amazonaws.com", "AMAZONAWS.COM", "eu-west-1.amazonaws.com"),
            *("dynamo.example:8000", "dynamo.example", "amo.example", "*", "", "localhost"),
        ]
    ),
    max_size=3,
).map(", ".join)


@given(
    url=st.sampled_from(URLS),
    environment=st.dictionaries(
        st.sampled_from(["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"]), SETTINGS
    ),
    excluded=st.dictionaries(st.sampled_from(["no_proxy", "NO_PROXY"]), LISTS),
)
def test_proxies_are_read_as_python_reads_them(
    url: str, environment: dict[str, str], excluded: dict[str, str]
) -> None:
    """A proxy is set for an endpoint exactly where boto3 would take one."""
    environment = environment | excluded
    endpoint = parse(url, "test")
    with mock.patch.dict("os.environ", environment, clear=True):
        proxies = getproxies_environment()
        host = f"{endpoint.host}:{endpoint.port}"
        expected = proxies.get(endpoint.scheme) and not proxy_bypass_environment(host, proxies)
    found = proxy_variable(endpoint, environment)
    assert bool(found) == bool(expected)
    if found:
        assert environment[found] == PROXY


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_native_transport_refuses_a_proxy(variable: str) -> None:
    """A proxy is told at the start, with both ways out, instead of time-outs later."""
    environment = {**ENVIRONMENT, variable: PROXY}
    with pytest.raises(ConfigError, match="NO_PROXY") as caught:
        connect(APlace(), environment=environment)
    assert variable in str(caught.value)
    assert 'transport = "botocore"' in str(caught.value)
    connect(APlace(), environment=environment | {"NO_PROXY": ".amazonaws.com"})
    connect(APlace(), environment=environment, transport="botocore")


def test_the_other_schemes_proxy_is_no_matter() -> None:
    """HTTP_PROXY is not for https."""
    assert proxy_variable(parse(URLS[0], "test"), {"HTTP_PROXY": PROXY}) is None


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "a.localhost"])
def test_this_machine_has_no_proxy(host: str) -> None:
    """A server on this machine is reached directly whatever proxy is set: the demo runs behind
    every company's proxy."""
    everywhere = {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}
    connect(APlace(endpoint_url=f"http://{host}"), environment=ENVIRONMENT | everywhere)


def test_a_ca_bundle_that_is_none(tmp_path: Path) -> None:
    """A wrong AWS_CA_BUNDLE is a fault of the configuration, told at the start."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for bundle in (tmp_path / "absent.pem", empty):
        with pytest.raises(ConfigError, match="AWS_CA_BUNDLE"):
            tls_context({"AWS_CA_BUNDLE": str(bundle)})


def test_requests_ca_bundle_is_read_too(certificates: Certificates) -> None:
    """The second variable that botocore reads; the first goes before it."""
    ours = {"REQUESTS_CA_BUNDLE": str(certificates.authority)}
    assert tls_context(ours).cert_store_stats()["x509_ca"] == 1
    with pytest.raises(ConfigError, match="AWS_CA_BUNDLE"):
        tls_context(ours | {"AWS_CA_BUNDLE": "/absent"})


def test_a_system_without_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no authorities, botocore's are trusted, and never none or any."""
    none = ssl.get_default_verify_paths()._replace(cafile="", capath="")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: none)
    _context.cache_clear()
    try:
        context = tls_context({})
    finally:
        _context.cache_clear()
    assert context.cert_store_stats()["x509_ca"] > 50
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_an_unknown_transport() -> None:
    """A misspelt transport is a fault that names the right ones."""
    with pytest.raises(ConfigError, match='"native" or "botocore"'):
        connect(APlace(), environment=ENVIRONMENT, transport="nativ")  # type: ignore[arg-type]
