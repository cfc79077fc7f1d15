"""dynamirror's backfill and verify, as their commands run them.

``work`` takes ``config`` (TOML) and ``task``: ``backfill``, ``verify``, or ``lookup``, which
verifies by looking items up.
"""

from __future__ import annotations

from typing import Any

from bench.job import Meter

from dynamirror.config.load import load
from dynamirror.config.model import Mirror
from dynamirror.engine.comparing.compared import Method, Scope
from dynamirror.runtimes.process import backfill_of, run, verifier_of
from dynamirror.wiring import Wiring


def work(ask: dict[str, Any]) -> dict[str, Any]:
    wiring = Wiring(load(ask["config"]))
    (mirror,) = wiring.config.mirrors
    with Meter() as meter:
        if ask["task"] == "backfill":
            items = run(_backfill(wiring, mirror))
        else:
            method = Method.SCAN if ask["task"] == "verify" else Method.LOOKUP
            items = run(_verify(wiring, mirror, method))
    return meter.cost(items)


async def _backfill(wiring: Wiring, mirror: Mirror) -> int:
    try:
        return (await backfill_of(wiring, mirror).run(lambda _: None)).items
    finally:
        await wiring.close()


async def _verify(wiring: Wiring, mirror: Mirror, method: Method) -> int:
    try:
        verifier, scope = verifier_of(wiring, mirror), Scope(method=method)
        compared = await verifier.run(lambda _: None, lambda _: None, scope)
    finally:
        await wiring.close()
    if not compared.equal:
        raise RuntimeError(f"the tables differ: {compared}")
    return compared.items
