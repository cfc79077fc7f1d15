"""What ``pause``, ``resume`` and ``limit`` have in common: which links are meant, and who asks.

They act at once, without a question: they are what is typed in an emergency, each says what it has
done, and each is undone by one more command.
"""

from __future__ import annotations

import getpass
import platform
from collections.abc import Awaitable, Callable
from typing import Any

import click

from dynamirror.cli.arguments import perform
from dynamirror.cli.output import Output
from dynamirror.config.model import Config, Mirror
from dynamirror.errors import ConfigError, Exit
from dynamirror.wiring import Wiring

link_option = click.option(
    "--link",
    metavar="MIRROR/SOURCE",
    help="Only what is read from this source, as `dynamirror status` names it.",
)

target_option = click.option(
    "--target", metavar="NAME", help="Only what is written to this place; its short name."
)

Work = Callable[[Mirror], Awaitable[dict[str, Any]]]
"""Does it for one source's links, and returns what ``--json`` tells of it."""


def controlled(
    wiring: Wiring,
    output: Output,
    work: Work,
    *,
    mirror: str | None,
    link: str | None,
    target: str | None = None,
) -> Exit:
    """Do it for the links that are meant, and tell of it as JSON where that is wanted.

    Raises ConfigError for an unknown name.
    """
    meant = selected(wiring.config, mirror, link, target)
    done: dict[str, dict[str, Any]] = {}

    async def one(of: Mirror) -> Exit:
        done[of.link] = await work(of)
        return Exit.DONE

    end = perform(wiring, output, meant, one)
    if output.as_json:
        output.document({"links": [done[of.link] for of in meant if of.link in done]})
    return end


def selected(
    config: Config, mirror: str | None, link: str | None, target: str | None
) -> tuple[Mirror, ...]:
    """Return the mirrors, or a two-way mirror's sides, whose links are meant.

    Raises ConfigError for an unknown name.
    """
    every = config.mirrors
    named: dict[str, tuple[str | None, Callable[[Mirror], list[str]]]] = {
        "mirror": (mirror, lambda one: [one.name]),
        "link": (link, lambda one: [one.link]),
        "target": (target, lambda one: [place.name for place in one.targets]),
    }
    for what, (wanted, names_of) in named.items():
        found = tuple(one for one in every if wanted is None or wanted in names_of(one))
        if not found:
            names = ", ".join(dict.fromkeys(name for one in every for name in names_of(one)))
            raise ConfigError(f"{config.path} has no {what} {wanted!r}; it has: {names}")
        every = found
    return every


def links_of(mirror: Mirror, target: str | None = None) -> str:
    """Name the links for people, which stop or flow together unless ``target`` names one."""
    targets = target or ", ".join(place.name for place in mirror.targets)
    return f"{mirror.link} ({mirror.source.name} -> {targets})"


def person() -> str:
    """Return who types, as far as this machine knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = "somebody"
    return f"{name}@{platform.node()}"
