"""``dynamirror status --wait-drained``: the barrier, as its waiter sees it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from dynamirror.cli.output import PLAIN_S, Output
from dynamirror.engine.stream.barrier import Barrier, Gate, Standing, rounds_of
from dynamirror.errors import DynamirrorError, Exit
from dynamirror.runtimes.process import SEVERITY, run
from dynamirror.wiring import Wiring


def wait_drained(
    wiring: Wiring, output: Output, *, timeout_s: float | None, settle_s: float
) -> Exit:
    """Wait until every mirror is drained, tell how that ended, and return the exit status."""
    return run(_wait(wiring, output, timeout_s, settle_s))


async def _wait(wiring: Wiring, output: Output, timeout_s: float | None, settle_s: float) -> Exit:
    mirrors, began_ms = wiring.config.mirrors, wiring.clock()
    gates = [
        Gate(
            mirror,
            wiring.source(mirror),
            wiring.checkpoints(mirror),
            wiring.links(mirror).parking_of(epoch=1),
            clock=wiring.clock,
            backoff=wiring.backoff,
        )
        for mirror in mirrors
    ]
    barrier = Barrier(gates, rounds_of(mirrors), settle_s)
    ends = [Exit.FINDING]  # given up before the first look was over
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await barrier.wait(_Progress(output))
    except DynamirrorError as error:
        output.failure(", ".join(mirror.title for mirror in mirrors), error)
        ends = [error.exit_status]
    else:
        ends = [standing.exit for standing in barrier.standings] or ends
    finally:
        await wiring.close()
    waited_ms = wiring.clock() - began_ms
    _tell(output, barrier.standings, waited_ms)
    if output.as_json:
        mirrors_told = [_shape(standing) for standing in barrier.standings]
        document = {"drained": all(end is Exit.DONE for end in ends), "mirrors": mirrors_told}
        output.document({**document, "began_at_ms": began_ms, "waited_ms": waited_ms})
    return max(ends, key=SEVERITY.index)


class _Progress:
    """A line for each mirror whenever something changes, and every few seconds."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: list[str] = []
        self._told_s = 0.0

    def __call__(self, standings: Sequence[Standing]) -> None:
        told = [f"{one.mirror}: {one.why}" for one in standings if one.why]
        now_s = time.monotonic()
        if told != self._told or now_s - self._told_s >= PLAIN_S:
            self._told, self._told_s = told, now_s
            for line in told:
                self._output.aside(line)


def _tell(output: Output, standings: Sequence[Standing], waited_ms: int) -> None:
    for standing in standings:
        if standing.drained:
            output.say(f"{standing.mirror}: drained, after {waited_ms / 1_000:.1f} s", "good")
            continue
        output.paragraph(f"{standing.mirror}: not drained: {standing.why}", style="bad")
        if standing.hint:
            output.paragraph(standing.hint, 2)


def _shape(standing: Standing) -> dict[str, object]:
    return {
        "mirror": standing.mirror,
        "drained": standing.drained,
        "why": standing.why,
        "hint": standing.hint,
        "shards_behind": standing.shards_behind,
        "parked_keys": standing.parked_keys,
        "exit": standing.exit,
    }
