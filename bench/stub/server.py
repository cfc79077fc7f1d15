"""Run the stub as a child process, and ask it what it was asked."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from typing import TYPE_CHECKING, Any, Self

from bench.stub.build import built, certificate

if TYPE_CHECKING:
    from types import TracebackType

# What changes items; what each carries besides (a ledger row, a checkpoint) counts as well.
WRITES = (
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "BatchExecuteStatement",
)


class Stub:
    """The stub server, from ``with`` to its end; options as at the head of stub.c."""

    def __init__(
        self,
        *,
        cpu: int | None = None,
        tls: bool = False,
        lag: bool = False,
        **options: str | float | None,
    ) -> None:
        self._tls = tls
        self._words = [str(built("stub")), "--die-with-parent"]
        if lag:
            self._words.append("--lag")
        if tls:
            chain, key = certificate()
            self._words += ["--tls-cert", str(chain), "--tls-key", str(key)]
        for name, value in {"cpu": cpu, **options}.items():
            if value is not None:
                self._words += [f"--{name.replace('_', '-')}", str(value)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise RuntimeError("the stub has no output")
        self.port = int(self._process.stdout.readline().split()[1])
        self._control = (
            http.client.HTTPSConnection(
                "127.0.0.1",
                self.port,
                context=ssl.create_default_context(cafile=str(certificate()[0])),
            )
            if self._tls
            else http.client.HTTPConnection("127.0.0.1", self.port)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._control.close()
        self._process.kill()
        self._process.communicate()

    @property
    def endpoint(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client must be told so that it finds the stub, and trusts it."""
        told = {"AWS_ENDPOINT_URL_DYNAMODB": self.endpoint}
        return told | trust() if self._tls else told

    def reset(self) -> None:
        """Set every counter to zero."""
        self._ask("POST", "/reset")

    def stats(self) -> dict[str, Any]:
        """Return the counters: per operation requests and items; connections; bytes; CPU."""
        return self._ask("GET", "/stats")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        self._control.request(method, path)
        answer: dict[str, Any] = json.loads(self._control.getresponse().read())
        return answer


def trust() -> dict[str, str]:
    """Return the settings by which clients trust the stub's certificate."""
    chain = str(certificate()[0])
    return {"AWS_CA_BUNDLE": chain, "NODE_EXTRA_CA_CERTS": chain}


def requests(stats: dict[str, Any]) -> int:
    """Return how many requests of any kind there were."""
    return sum(counts["requests"] for counts in stats["operations"].values())


def items_written(stats: dict[str, Any]) -> int:
    """Return how many items (rows of ours included) all writes together carried."""
    return sum(stats["operations"].get(name, {"items": 0})["items"] for name in WRITES)
