"""dynamirror's backfill and verify, as their commands run them.

``work`` takes ``config`` (TOML) and ``task``: ``backfill`` or ``verify``.
"""

from __future__ import annotations

from typing import Any

from bench.job import Meter

from dynamirror.config.load import load
from dynamirror.config.model import Mirror
from dynamirror.runtimes.process import backfill_of, run, verifier_of
from dynamirror.wiring import Wiring


def work(ask: dict[str, Any]) -> dict[str, Any]:
    wiring = Wiring(load(ask["config"]))
    (mirror,) = wiring.config.mirrors
    task = _backfill if ask["task"] == "backfill" else _verify
    with Meter() as meter:
        items = run(task(wiring, mirror))
    return meter.cost(items)


async def _backfill(wiring: Wiring, mirror: Mirror) -> int:
    try:
        return (await backfill_of(wiring, mirror).run(lambda _: None)).items
    finally:
        await wiring.close()


async def _verify(wiring: Wiring, mirror: Mirror) -> int:
    try:
        compared = await verifier_of(wiring, mirror).run(lambda _: None, lambda _: None)
    finally:
        await wiring.close()
    if not compared.equal:
        raise RuntimeError(f"the tables differ: {compared}")
    return compared.items
