"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers import Server, running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this session: the embedded one, unless the environment names another."""
    with running() as one:
        yield one
