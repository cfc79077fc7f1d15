"""What ``pause``, ``resume`` and ``limit`` have in common: which links are meant, and who asks."""

from __future__ import annotations

import getpass
import platform

import click

from dynamirror.config.model import Config, Mirror
from dynamirror.errors import ConfigError

link_option = click.option(
    "--link",
    metavar="MIRROR/SOURCE",
    help="Only what is read from this source, as `dynamirror status` names it.",
)


def selected(config: Config, mirror: str | None, link: str | None) -> tuple[Mirror, ...]:
    """Return the links of a mirror, or the one of that name, or all.

    Raises ConfigError for an unknown name.
    """
    found = tuple(
        one for one in config.mirrors if mirror in (None, one.name) and link in (None, one.link)
    )
    if not found:
        wanted = f"mirror {mirror!r}" if link is None else f"link {link!r}"
        names = ", ".join(
            dict.fromkeys(one.name if link is None else one.link for one in config.mirrors)
        )
        raise ConfigError(f"{config.path} has no {wanted}; it has: {names}")
    return found


def links_of(mirror: Mirror) -> str:
    """Name for people what stops or flows together, for it is read together."""
    targets = ", ".join(place.name for place in mirror.targets)
    return f"{mirror.link} ({mirror.source.name} -> {targets})"


def person() -> str:
    """Return who types, as far as this machine knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = "somebody"
    return f"{name}@{platform.node()}"
