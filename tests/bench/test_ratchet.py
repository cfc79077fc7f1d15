"""A change may not cost more than it did: work counted, not timed, so that any machine can judge.

The figures are in ratchet.toml. Counted on a fixed event are: calls of functions (Python's and C's,
as the interpreter's profiler tells them), requests, and bytes sent. The network is the only thing
left out: it answers at once. Python versions count differently, so each has figures of its own.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.settings import configuration
from bench.workload import STREAM_ARN, Context, Events, Load

from dynamirror.aws import client as client_module
from dynamirror.aws.client import Client
from dynamirror.aws.credentials import EnvironmentCredentials
from dynamirror.aws.native import NativeTransport
from dynamirror.aws.signing import Signer
from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.core.record import page_of
from dynamirror.core.values import encode
from dynamirror.engine.stream.deliver import Outcome, deliver
from dynamirror.runtimes.aws_lambda import Function
from dynamirror.wiring import Wiring

RATCHET = Path(__file__).with_name("ratchet.toml")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TOLERANCE = 0.03
CHANGES = 1_000
AT_S = 1_767_225_600

CREDENTIALS = EnvironmentCredentials(
    {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_SESSION_TOKEN": "T" * 356,
    }
)

Counts = dict[str, float]
Work = Callable[[], object]


class Net:
    """Stands for a pool of connections: counts what is sent, and answers at the next turn."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0

    async def exchange(self, message: bytes) -> tuple[int, bytes, bytes]:
        self.requests += 1
        self.bytes += len(message)
        await asyncio.sleep(0)
        if b".BatchWriteItem\r\n" in message[:400]:
            return 200, b'{"UnprocessedItems":{}}', b""
        if b".Query\r\n" in message[:400]:
            return 200, b'{"Items":[],"Count":0,"ScannedCount":0}', b""
        return 200, b"{}", b""

    async def close(self) -> None:
        pass

    def connect(self, place: Place, transport: Transport) -> Client:  # noqa: ARG002 - Connect's
        signer = Signer(region=place.region, host=f"dynamodb.{place.region}.amazonaws.com")
        carrier = NativeTransport(self, signer)  # type: ignore[arg-type]
        return Client(carrier, carrier, CREDENTIALS, scans=lambda: carrier)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    # A second that begins while we count would sign anew what is signed once a second.
    monkeypatch.setattr(client_module, "time", lambda: AT_S)
    return Net()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def counted(net: Net, warm_up: Work, work: Work) -> Counts:
    """Return what one call of ``work`` takes, per change."""
    warm_up()
    net.requests = net.bytes = 0
    calls = 0

    def note(frame: Any, event: str, argument: Any) -> None:  # noqa: ARG001 - sys.setprofile's
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return {
        "calls": calls / CHANGES,
        "requests": net.requests / CHANGES,
        "bytes": net.bytes / CHANGES,
    }


def handler_counts(net: Net, guard: str) -> Counts:
    """Count the Lambda handler's work on an event."""
    function = Function(configuration(guard))
    function.wiring = Wiring(load(configuration(guard)), connect=net.connect)
    events = Events(Load(batch=CHANGES))

    def prepared() -> Work:
        event, _ = events.next()
        return lambda: function.invoke(event, Context().get_remaining_time_in_millis)

    try:
        # Twice: the number of requests at once grows until it suits the first events.
        prepared()()
        return counted(net, prepared(), prepared())
    finally:
        function.close()


def engine_counts(net: Net, guard: str, loop: asyncio.AbstractEventLoop) -> Counts:
    """Count the local engine's work on a page of GetRecords, from its bytes on."""
    wiring = Wiring(load(configuration(guard)), connect=net.connect)
    links = wiring.links(wiring.config.mirrors[0])
    events = Events(Load(batch=CHANGES))

    async def apply(answer: bytes) -> None:
        outcome = Outcome()
        appliers = await links.open(1, outcome.failed)
        delivery = await deliver(appliers, links.wanted(page_of(answer).records), outcome, 60)
        assert delivery.lowest_unapplied is None

    def prepared() -> Work:
        event, _ = events.next()
        answer = encode({"Records": event["Records"], "NextShardIterator": STREAM_ARN})
        return lambda: loop.run_until_complete(apply(answer))

    prepared()()
    return counted(net, prepared(), prepared())


def judge(path: str, guard: str, found: Counts, capsys: pytest.CaptureFixture[str]) -> None:
    """Fail where a change costs more than it did; where it costs less, say what to write down."""
    figures: dict[str, dict[str, Counts]] = tomllib.loads(RATCHET.read_text()).get(PYTHON, {})
    spelled = f'["{PYTHON}".{path}]\n{guard} = {toml(found)}'
    if not figures:
        pytest.skip(f"no figures for Python {PYTHON}; these are they:\n{spelled}")
    held = figures[path][guard]
    worse = [name for name in held if found[name] > held[name] * (1 + TOLERANCE)]
    better = [name for name in held if found[name] < held[name] * (1 - TOLERANCE)]
    assert not worse, (
        f"{path}, guard {guard}: {', '.join(worse)} per change rose by over {TOLERANCE:.0%}, from "
        f"{toml(held)}. If that is worth it, say why in the commit, and have {RATCHET.name} say:\n"
        f"{spelled}"
    )
    if better:
        with capsys.disabled():
            print(f"\n{', '.join(better)} fell: keep it so, have {RATCHET.name} say:\n{spelled}")  # noqa: T201 - the one way to be read


def toml(found: Counts) -> str:
    return "{ " + ", ".join(f"{name} = {value:.3f}" for name, value in found.items()) + " }"


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_handler_costs_no_more_per_change_than_it_did(
    net: Net, guard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("handler", guard, handler_counts(net, guard), capsys)


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_engine_costs_no_more_per_change_than_it_did(
    net: Net, guard: str, loop: asyncio.AbstractEventLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("engine", guard, engine_counts(net, guard, loop), capsys)


def test_counting_twice_gives_the_same(net: Net) -> None:
    first, second = handler_counts(net, "order"), handler_counts(net, "order")
    assert second["calls"] == pytest.approx(first["calls"], rel=0.01)
    assert (second["requests"], second["bytes"]) == (first["requests"], first["bytes"])
