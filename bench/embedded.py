"""The embedded server on the stub's core, and tables in it to be measured on."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Self

from bench.machine import ROOT, cores
from bench.settings import configuration

from dynamirror.aws.client import Client, connect
from dynamirror.aws.credentials import EnvironmentCredentials
from dynamirror.config.model import Place
from dynamirror.demo.server import EmbeddedServer, ServerError

PYTHON_VARIABLE = "DYNAMIRROR_SERVER_PYTHON"


class NoServerError(Exception):
    """The embedded server does not run; the text says why."""


class Embedded:
    """The embedded server, running while in its context."""

    def __init__(self) -> None:
        python = Path(os.environ.get(PYTHON_VARIABLE, ROOT / ".venv-server" / "bin" / "python"))
        self._server = EmbeddedServer(python if python.is_absolute() else ROOT / python)
        self._numbers = count(1)

    def __enter__(self) -> Self:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cores()[1]})  # which the server inherits
        try:
            self._server.start()
        except ServerError as error:
            raise NoServerError(str(error)) from None
        finally:
            os.sched_setaffinity(0, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The credentials it takes, and where it is."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_SESSION_TOKEN": "",
            "AWS_ENDPOINT_URL_DYNAMODB": self._server.url,
        }

    @property
    def url(self) -> str:
        return self._server.url

    def client(self, region: str) -> Client:
        """Return a client of ours for one of its regions."""
        place = Place(region=region, table="", name=region, endpoint_url=self.url)
        return connect(place, credentials=EnvironmentCredentials(self.environment))

    def new_table(self) -> str:
        """Return a table's name that no other run uses."""
        return f"Bench{next(self._numbers)}"

    def configuration(self, guard: str, table: str) -> str:
        """Return the configuration of a one-way mirror of a table, both regions on this server."""
        return configuration(guard, table=table, source_url=self.url, target_urls=[self.url])
