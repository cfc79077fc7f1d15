"""What the environment says about the way to a host: proxies, and whose certificates to trust."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from dynamirror.aws.endpoints import Endpoint
from dynamirror.errors import ConfigError


def proxy_variable(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the variable that puts a proxy before an endpoint, or None.

    As curl and Python's urllib read them: lower case goes before upper case, an empty value is
    none, NO_PROXY lists host names with everything under them. A loopback address is never meant,
    for the proxy's loopback is another machine.
    """
    if _is_loopback(endpoint.host) or _excluded(endpoint, environment):
        return None
    for variable in (f"{endpoint.scheme}_proxy", "all_proxy"):
        for name in (variable, variable.upper()):
            if name in environment:
                if environment[name]:
                    return name
                break
    return None


def refuse_proxy(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError where a proxy is set for the endpoint: the native transport knows none."""
    name = proxy_variable(endpoint, environment)
    if name is None:
        return
    behind = ""
    if name.lower() == "all_proxy":
        behind = f" and name the proxy in {endpoint.scheme.upper()}_PROXY"
    raise ConfigError(
        f"{name} puts a proxy before {endpoint.url}, and the native transport speaks to no proxy. "
        f'Set transport = "botocore"{behind} to go through it, '
        f"or NO_PROXY={endpoint.host} to go past it."
    )


def tls_context(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return the TLS settings for every endpoint: the bundle's authorities, or the system's.

    Raises ConfigError where the bundle is no file of certificates.
    """
    return _context(*ca_bundle(environment))


def ca_bundle(environment: Mapping[str, str] = os.environ) -> tuple[str, str | None]:
    """Return the variable that names a file of authorities, and the file, as botocore has it."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        if environment.get(name):
            return name, environment[name]
    return "", None


@lru_cache(maxsize=4)  # reading a system's authorities takes 50 ms
def _context(variable: str, bundle: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, host names too
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # AWS's own minimum
    if bundle is not None:
        try:
            context.load_verify_locations(cafile=bundle)
        except OSError as error:  # no such file, or no certificates in it
            raise ConfigError(
                f"{variable} = {bundle!r}: {error}. Name a file of certificates in PEM form."
            ) from error
        return context
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        context.load_default_certs()
    else:
        # Python from python.org brings no authorities on macOS; botocore does. It is found
        # without being imported.
        botocore = importlib.util.find_spec("botocore")
        for folder in (botocore and botocore.submodule_search_locations) or ():
            context.load_verify_locations(cafile=Path(folder) / "cacert.pem")
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _excluded(endpoint: Endpoint, environment: Mapping[str, str]) -> bool:
    listed = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    if listed.strip() == "*":
        return True
    hosts = endpoint.host, f"{endpoint.host}:{endpoint.port}"
    names = (name.strip().lstrip(".").lower() for name in listed.split(","))
    return any(
        host == name or host.endswith(f".{name}") for name in names if name for host in hosts
    )
