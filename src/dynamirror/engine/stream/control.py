"""What a person asks of a running engine, by rows beside the checkpoints that it looks at every
second: that a link be paused until somebody resumes it, that targets be written no faster.

Whoever may write those rows may ask, from any machine; the engine need not run when it is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dynamirror.engine.stream.checkpoints import (
    LASTING_ROW,
    LIMIT_ROW,
    PAUSE_ROWS,
    Checkpoints,
    Known,
)
from dynamirror.engine.stream.lease import Lease
from dynamirror.errors import DynamirrorError

ANSWER_S = 45.0
"""How long a running engine may take to obey: it finishes what it has read."""

ASK_S = 0.2


class UnansweredPauseError(DynamirrorError):
    """An engine runs and does not say that it has paused."""

    hint = "It will once it can: `dynamirror status CONFIG` shows it. A target may be away."


async def pause(
    checkpoints: Checkpoints, *, by: str, why: str, now_ms: int, until_ms: int | None = None
) -> None:
    """Ask that the link be paused, until somebody resumes it or a time has come."""
    await checkpoints.put(LASTING_ROW, by=by, why=why or None, since_ms=now_ms, until_ms=until_ms)


async def resume(checkpoints: Checkpoints) -> bool:
    """Take a person's pause back; whether there was one. Commands' own pauses stay."""
    there = LASTING_ROW.removeprefix(PAUSE_ROWS) in (await _known(checkpoints)).pauses
    await checkpoints.delete(LASTING_ROW)
    return there


async def limit(checkpoints: Checkpoints, per_second: float | None) -> None:
    """Have a running engine write at most so many items a second to each target.

    None: what is configured holds again.
    """
    if per_second is None:
        await checkpoints.delete(LIMIT_ROW)
    else:
        await checkpoints.put(LIMIT_ROW, per_second=repr(per_second))


async def obeyed(checkpoints: Checkpoints, lease: Lease) -> bool:
    """Wait until the engine has paused for a person; False: none runs.

    Raises UnansweredPauseError if one runs and doesn't say so.
    """
    name = LASTING_ROW.removeprefix(PAUSE_ROWS)
    return await _until(checkpoints, lease, lambda known: name in known.paused)


async def resumed(checkpoints: Checkpoints, lease: Lease) -> bool:
    """Wait until the engine has seen that a person's pause is over; False: none runs."""
    name = LASTING_ROW.removeprefix(PAUSE_ROWS)
    return await _until(checkpoints, lease, lambda known: name not in known.paused)


async def _until(checkpoints: Checkpoints, lease: Lease, done: Callable[[Known], bool]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            while True:
                known = await _known(checkpoints)
                if lease.is_free(known.lease):
                    return False
                if done(known):
                    return True
                await asyncio.sleep(ASK_S)
    except TimeoutError:
        raise UnansweredPauseError(
            f"the engine that reads {checkpoints.link} has not answered in {ANSWER_S:.0f} s"
        ) from None


async def _known(checkpoints: Checkpoints) -> Known:
    return await checkpoints.load(positions=False)
