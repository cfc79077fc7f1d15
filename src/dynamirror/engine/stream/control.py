"""What a person asks of a running engine, by rows beside the checkpoints that it looks at every
second: that links be paused until somebody resumes them, that targets be written no faster.

All links from a source pause by reading no further. One of several pauses by parking what is for
its target, so that the others go on; it need not be resumed before the stream is trimmed.

Whoever may write those rows may ask, from any machine; the engine need not run when it is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dynamirror.engine.stream.checkpoints import (
    LASTING_ROW,
    LIMIT_ROW,
    PAUSE_ROWS,
    TO_ROWS,
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
    checkpoints: Checkpoints,
    *,
    by: str,
    why: str,
    now_ms: int,
    until_ms: int | None = None,
    target: str | None = None,
) -> None:
    """Ask that the links be paused, or only that to ``target``, until somebody resumes them or a
    time has come.
    """
    row = _row(target)
    await checkpoints.put(row, by=by, why=why or None, since_ms=now_ms, until_ms=until_ms)


async def resume(checkpoints: Checkpoints, target: str | None = None) -> bool:
    """Take persons' pauses back, or only that of the link to ``target``; return whether there were
    any. Commands' own pauses stay.
    """
    pauses = (await _known(checkpoints)).pauses
    rows = [
        PAUSE_ROWS + name
        for name, one in pauses.items()
        if one.lasting and target in (None, one.target)
    ]
    for row in rows:
        await checkpoints.delete(row)
    return bool(rows)


async def limit(checkpoints: Checkpoints, per_second: float | None) -> None:
    """Have a running engine write at most so many items a second to each target.

    None: what is configured holds again.
    """
    if per_second is None:
        await checkpoints.delete(LIMIT_ROW)
    else:
        await checkpoints.put(LIMIT_ROW, per_second=repr(per_second))


async def obeyed(checkpoints: Checkpoints, lease: Lease, target: str | None = None) -> bool:
    """Wait until the engine has paused for a person; False: none runs.

    Raises UnansweredPauseError if one runs and doesn't say so.
    """
    name = _row(target).removeprefix(PAUSE_ROWS)
    return await _until(checkpoints, lease, lambda known: name in known.paused)


async def resumed(checkpoints: Checkpoints, lease: Lease) -> bool:
    """Wait until the engine has seen which pauses are over; False: none runs."""
    return await _until(checkpoints, lease, lambda known: set(known.paused) <= set(known.pauses))


def _row(target: str | None) -> str:
    return LASTING_ROW if target is None else TO_ROWS + target


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
