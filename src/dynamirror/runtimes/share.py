"""A share of a backfill or a comparison as an AWS Lambda function, for tables that are too large
for one machine.

A state machine starts one invocation for each share, and one more that sums up what came of them:

- ``{"do": "backfill", "link": L, "share": I, "shares": N}`` copies the I-th of N shares, counted
  from 1, of the mirror with the link L. One that isn't done when the function's time is nearly up
  ends with UnfinishedError; the next invocation goes on where it stood.
- ``{"do": "verify", ...}`` compares it. One that isn't done in time ends with TooLargeError: a
  comparison keeps nothing to go on from.
- ``{"do": "conclude", "of": "backfill" or "verify", "link": L, "shares": N, "results": [...]}``
  takes what these returned, and returns their sums, with ``exit``, the status that the command
  would end with, and ``finding``, what isn't as it should be and the next step, or nothing.

A share's result has the figures of ``dynamirror backfill --json`` or ``verify --json`` that
aren't 0.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dynamirror.config.load import load
from dynamirror.config.model import Mirror
from dynamirror.engine.comparing.compared import Compared, Scope
from dynamirror.engine.copying.copier import Copied
from dynamirror.errors import ConfigError, DynamirrorError, Exit
from dynamirror.runtimes.aws_lambda import CONFIG_VARIABLE
from dynamirror.runtimes.process import backfill_of, verifier_of
from dynamirror.wiring import Wiring

RESERVE_S = 30.0
"""So long before the deadline a share is left: a page on its way must land, its position be saved.
"""

NAMED_MAX = 20
"""Shares that a message names: the results have them all."""

FIGURES: Mapping[str, type[Copied | Compared]] = {"backfill": Copied, "verify": Compared}
"""What may be done with a share, and what comes of it."""


class UnfinishedError(DynamirrorError):
    """The function's time is up before the share is copied."""

    hint = "Invoke it again with the same event: it goes on where it stood."


class TooLargeError(DynamirrorError):
    """The function's time is up before the share is compared."""

    hint = "Begin anew with more shares."


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do what the event says; see above.

    Raises UnfinishedError, TooLargeError, and what backfills and comparisons raise.
    """
    wiring = Wiring(load(os.environ[CONFIG_VARIABLE]))
    mirror = _mirror(wiring, event["link"])
    left_s = context.get_remaining_time_in_millis() / 1_000 - RESERVE_S
    do = event["do"]
    if do == "conclude":
        return asyncio.run(_closing(wiring, _concluded(wiring, mirror, event), left_s))
    if do not in FIGURES:
        raise ConfigError(f'"do" is {do!r}: write "backfill" or "verify"')
    share = int(event["share"]), int(event["shares"])
    work = {"backfill": _copied, "verify": _compared}[do](wiring, mirror, share)
    try:
        figures = asyncio.run(_closing(wiring, work, left_s))
    except TimeoutError:
        late = UnfinishedError if do == "backfill" else TooLargeError
        told = f"share {share[0]} of {share[1]} of {mirror.link}: time is up. {late.hint}"
        raise late(told) from None
    return {"share": share[0], **_spoken(figures)}


def _mirror(wiring: Wiring, link: str) -> Mirror:
    for one in wiring.config.mirrors:
        if one.link == link:
            return one
    raise ConfigError(f"no mirror of {wiring.config.path} has the link {link!r}")


async def _closing(wiring: Wiring, work: Any, left_s: float) -> Any:
    try:
        async with asyncio.timeout(left_s):
            return await work
    finally:
        await wiring.close()


async def _copied(wiring: Wiring, mirror: Mirror, share: tuple[int, int]) -> Copied:
    return await backfill_of(wiring, mirror).run(lambda _: None, share)


async def _compared(wiring: Wiring, mirror: Mirror, share: tuple[int, int]) -> Compared:
    scope = Scope(segment=share)
    return await verifier_of(wiring, mirror).run(lambda _: None, lambda _: None, scope)


async def _concluded(wiring: Wiring, mirror: Mirror, event: Mapping[str, Any]) -> dict[str, Any]:
    """Sum shares up, and leave a note of a comparison for ``status``."""
    kind, shares, results = FIGURES[event["of"]], int(event["shares"]), event["results"]
    absent = sorted({*range(1, shares + 1)} - {int(one["share"]) for one in results})
    if absent:
        raise ConfigError(f"{mirror.link}: there is no result of {_named(absent, shares)}")
    found: dict[int, Copied | Compared] = {}
    for one in results:
        found[one["share"]] = msgspec.convert(one, kind, strict=False)
    sums = {name: sum(getattr(one, name) for one in found.values()) for name in _names(kind)}
    total = kind(**sums)
    if isinstance(total, Compared):
        await verifier_of(wiring, mirror).note(wiring.checkpoints(mirror), total)
    finding = _finding(total)
    if finding:
        where = [number for number, one in sorted(found.items()) if _finding(one)]
        next_step = _NEXT[event["of"]].format(mirror.name, f"{where[0]}/{shares}")
        finding = f"{mirror.link}: {finding}, in {_named(where, shares)}. {next_step}"
    end = Exit.FINDING if finding else Exit.DONE
    told = {"link": mirror.link, "of": event["of"], "shares": shares, **sums}
    return {**told, "exit": int(end), "finding": finding}


_NEXT = {
    "backfill": "Next: mend the cause, then `dynamirror redrive CONFIG --mirror {0}`.",
    "verify": "Next, of each of them: `dynamirror verify CONFIG --mirror {0} --segment {1} --repair"
    " --yes`.",
}


def _finding(figures: Copied | Compared) -> str:
    """Say what is not as it should be; nothing where all is."""
    if isinstance(figures, Copied):
        return f"{figures.left:,} items can't be copied as they are" if figures.left else ""
    counts = [
        f"{count:,} {what}"
        for what, count in (
            ("missing", figures.missing),
            ("extra", figures.extra),
            ("different", figures.different),
            ("could not be compared", figures.in_flight),
        )
        if count
    ]
    return f"of {figures.items:,} items compared, {', '.join(counts)}" if counts else ""


def _spoken(figures: Copied | Compared) -> dict[str, Any]:
    """Return what isn't 0: the results of all shares must fit in a state of 256 KiB."""
    return {name: value for name, value in msgspec.structs.asdict(figures).items() if value}


def _names(kind: type[Copied | Compared]) -> Sequence[str]:
    return kind.__struct_fields__


def _named(shares: Sequence[int], count: int) -> str:
    more = ", ..." if len(shares) > NAMED_MAX else ""
    numbers = ", ".join(map(str, shares[:NAMED_MAX]))
    return f"{'share' if len(shares) == 1 else 'shares'} {numbers}{more} of {count}"
