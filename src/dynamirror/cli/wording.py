"""Messages for people: commands spelled as they can be typed, lines broken between words.

Messages below the command line say CONFIG and don't know which file that is: here it is filled in,
for everything that is printed.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from typing import Any

import click

_META = "dynamirror.config"

_COMMAND = re.compile(r"(\bdynamirror [a-z]+(?: [a-z]+)? )CONFIG\b")


WIDTH_MIN = 40

GLUE = "\0"
"""Stands for a blank where no line may end."""


def remember(ctx: click.Context, _: click.Parameter, config: str) -> str:
    """Keep the configuration's path for later messages: a click callback."""
    ctx.meta[_META] = config
    return config


def typed(text: str, ctx: click.Context | None = None) -> str:
    """Return a text in which every command names the configuration that is in use."""
    ctx = ctx or click.get_current_context(silent=True)
    config = None if ctx is None else ctx.meta.get(_META)
    if config is None or "CONFIG" not in text:
        return text
    path = shlex.quote(config)
    return _COMMAND.sub(lambda found: found[1] + path, text)


def typed_members(value: Any) -> Any:
    """Return a value of JSON in which every ``hint`` and ``remedy`` is spelled like that."""
    if isinstance(value, dict):
        return {
            name: typed(member)
            if name in ("hint", "remedy") and isinstance(member, str)
            else typed_members(member)
            for name, member in value.items()
        }
    return list(map(typed_members, value)) if isinstance(value, list | tuple) else value


def wrapped(text: str, width: int, indent: int, lead: str = "") -> list[str]:
    """Break a text between words; what is to be typed, within backticks, stays in one piece."""
    whole = re.sub("`[^`]*`", lambda found: found[0].replace(" ", GLUE), text)
    lines = textwrap.wrap(
        whole,
        max(WIDTH_MIN, width),
        initial_indent=" " * indent + lead,
        subsequent_indent=" " * (indent + len(lead)),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines] or [""]


def sized(size: float) -> str:
    """Return a number of bytes as people read it: 350 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1_000:  # noqa: PLR2004 - SI
            return f"{size:,.0f} {unit}"
        size /= 1_000
    return f"{size:,.1f} TB"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 key, 2 keys."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
