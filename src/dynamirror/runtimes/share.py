"""One share of a backfill as an AWS Lambda function, for tables that one machine copies too slowly.

A state machine starts one invocation for each share. A share that isn't done when the function's
time is nearly up ends with UnfinishedError; the next invocation goes on where it stood.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec

from dynamirror.config.load import load
from dynamirror.engine.copying.copier import Copied
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.runtimes.aws_lambda import CONFIG_VARIABLE
from dynamirror.runtimes.process import backfill_of
from dynamirror.wiring import Wiring

RESERVE_S = 30.0
"""So long before the deadline a share is left: a page on its way must land, its position be saved.
"""


class UnfinishedError(DynamirrorError):
    """The function's time is up before the share is copied."""

    hint = "Invoke it again with the same event: it goes on where it stood."


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Copy the share ``event["share"]`` of ``event["shares"]``, counted from 1, of the mirror with
    the link ``event["link"]``; return what was copied, as ``dynamirror backfill --json`` tells it.

    Raises UnfinishedError where time is up, and what a backfill raises.
    """
    wiring = Wiring(load(os.environ[CONFIG_VARIABLE]))
    left_s = context.get_remaining_time_in_millis() / 1_000 - RESERVE_S
    share = int(event["share"]), int(event["shares"])
    copied = asyncio.run(_copy(wiring, event["link"], share, left_s))
    return msgspec.structs.asdict(copied)


async def _copy(wiring: Wiring, link: str, share: tuple[int, int], left_s: float) -> Copied:
    mirror = next((one for one in wiring.config.mirrors if one.link == link), None)
    if mirror is None:
        raise ConfigError(f"no mirror of {wiring.config.path} has the link {link!r}")
    try:
        async with asyncio.timeout(left_s):
            return await backfill_of(wiring, mirror).run(lambda _: None, share)
    except TimeoutError:
        raise UnfinishedError(f"share {share[0]} of {share[1]} of {link}: time is up") from None
    finally:
        await wiring.close()
