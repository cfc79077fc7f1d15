"""What a page can have done, where that is allowed: the same as the commands of these names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from dynamirror.config.model import Config, Mirror, Side
from dynamirror.engine.held.redrive import Redriven
from dynamirror.engine.stream.control import pause, resume
from dynamirror.errors import ConfigError
from dynamirror.runtimes.process import journal_of, redriver_of
from dynamirror.runtimes.watching import Watch
from dynamirror.wiring import Wiring

BY = "the dashboard"


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was asked for."""

    link: str
    target: str | None = None
    """Only the link to this place; null: all from the link's source."""
    why: str = ""
    conflict: str = ""


class Actions:
    """Carries out what is asked for, over connections that give up."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._redriving: set[str] = set()

    @property
    def named(self) -> dict[str, Callable[[Asked], Awaitable[dict[str, Any]]]]:
        """Every action by its name."""
        return {
            "pause": self._pause,
            "resume": self._resume,
            "redrive": self._redrive,
            "restore": self._restore,
        }

    async def _pause(self, asked: Asked) -> dict[str, Any]:
        wiring = self._watch.wiring
        checkpoints, name = wiring.checkpoints(_mirror(wiring, asked)), _named(asked)
        now_ms, target = wiring.clock(), asked.target
        await pause(checkpoints, by=BY, why=asked.why, now_ms=now_ms, target=target)
        return {"done": f"{name} is asked to pause"}

    async def _resume(self, asked: Asked) -> dict[str, Any]:
        wiring = self._watch.wiring
        checkpoints = wiring.checkpoints(_mirror(wiring, asked))
        was = await resume(checkpoints, asked.target)
        told = "is resumed" if was else "was not paused by a person"
        return {"done": f"{_named(asked)} {told}"}

    async def _redrive(self, asked: Asked) -> dict[str, Any]:
        mirror = link_of(self._watch.wiring.config, asked.link)
        left: list[str] = []
        redriven: Redriven = await redriver_of(self._watch.wiring, mirror).run(
            lambda _: None, lambda _, error: left.append(str(error))
        )
        told = f"{asked.link}: {redriven.keys:,} keys redriven"
        if left:
            told += f", {redriven.left:,} left: {left[0]}"
        return {"done": told}

    async def _restore(self, asked: Asked) -> dict[str, Any]:
        mirror = link_of(self._watch.wiring.config, asked.link)
        if not isinstance(mirror, Side):
            raise ConfigError(f"mirror {mirror.name!r} is one-way: it has no conflicts")
        journal = journal_of(self._watch.wiring, mirror)
        restoring = await journal.restoring(asked.conflict)
        await asyncio.shield(journal.restore(restoring))
        return {"done": f"the loser of {asked.conflict} is a new version of its item"}


def _mirror(wiring: Wiring, asked: Asked) -> Mirror:
    return link_of(wiring.config, asked.link, asked.target)


def _named(asked: Asked) -> str:
    return asked.link if asked.target is None else f"{asked.link} to {asked.target}"


def link_of(config: Config, link: str, target: str | None = None) -> Mirror:
    """Return the consumer of that name. Raises ConfigError if there is none, or if it doesn't write
    to ``target``.
    """
    for mirror in config.mirrors:
        if mirror.link == link:
            if target not in (None, *(place.name for place in mirror.targets)):
                raise ConfigError(f"{link} has no target {target!r}")
            return mirror
    raise ConfigError(f"{config.path} has no link {link!r}")
