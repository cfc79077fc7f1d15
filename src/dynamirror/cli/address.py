"""HOST:PORT on the command line."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import click

LOOPBACK = "127.0.0.1"

_SPELLED = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]*):)?(?P<port>\d{1,5})")

PORT_MAX = 65_535


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """What a browser takes."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class HostPort(click.ParamType[Address]):
    """An address to listen at; this machine only, unless a host is given."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        found = _SPELLED.fullmatch(str(value).strip())
        if found is None or int(found["port"]) > PORT_MAX:
            self.fail(f"{value!r}: write HOST:PORT, as in 127.0.0.1:9464", param, ctx)
        host = (found["host"] or LOOPBACK).strip("[]")
        return Address(host, int(found["port"]))
