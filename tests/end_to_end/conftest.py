"""A server with an address, and worlds on it that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.servers import Server
from tests.storm.weather import Weather
from tests.storm.world import SOURCE, TARGET, World


@pytest.fixture(scope="session")
def url(server: Server) -> str:
    """The server's address, behind which the proxy can stand."""
    if server.url is None:
        pytest.skip("the fault proxy stands before a server on this machine, not before AWS")
    return server.url


@pytest.fixture
def make_world(url: str, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds: ``make_world(guard, ...)``."""
    with ExitStack() as stack:

        def make(guard: str, **options: Any) -> World:
            return stack.enter_context(World(url, tmp_path, guard, **options))

        yield make


@pytest.fixture
def weather(url: str) -> Iterator[Weather]:
    """A proxy before the server; calm."""
    with Weather(url, seed=1, source=SOURCE, target=TARGET) as one:
        yield one
