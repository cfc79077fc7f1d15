"""``--deployed``: pause and resume where a Lambda function applies the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.engine.source import stream_of
from dynamirror.engine.stream.deployed import Mapping, mapping_of, mappings_of, switch
from dynamirror.errors import ConfigError, DynamirrorError, ServiceError
from dynamirror.ports import ControlPlane
from dynamirror.wiring import Wiring

F = TypeVar("F", bound=Callable[..., Any])


class NotPausedError(DynamirrorError):
    """A function may apply changes over which a backfill would write older images."""

    hint = (
        "If it applies this mirror: `dynamirror pause CONFIG --mirror NAME --deployed`, and resume "
        "after the backfill. If it does something else: --other-function FUNCTION."
    )


def function_option(command: F) -> F:
    """Add ``--deployed`` and ``--function``."""
    deployed = click.option(
        "--deployed", is_flag=True, help="It is a Lambda function that applies the stream."
    )
    named = click.option(
        "--function", metavar="NAME", help="With --deployed: which, if the stream has several."
    )
    return deployed(named(command))


async def switched(
    wiring: Wiring, mirror: Mirror, output: Output, function: str | None, *, on: bool
) -> dict[str, object]:
    """Enable or disable the mapping that delivers a mirror's stream, and tell of it.

    Raises ConfigError where Lambda can't be asked; see ``engine.deployed`` for the rest.
    """
    plane = _plane(wiring, mirror)
    stream = await stream_of(wiring.source(mirror), mirror.source.table, wiring.backoff)
    mapping = await mapping_of(plane, stream, function)
    told = "enabled" if on else "disabled"
    output.aside(f"{mirror.link}: mapping {mapping.id} of {mapping.function} is being {told}")
    await switch(plane, mapping, on=on)
    output.say(f"{mirror.link}: delivery to {mapping.function} is {told}", "good")
    return {"link": mirror.link, "paused": not on, "mapping": mapping.id}


async def holding(wiring: Wiring, mirror: Mirror, function: str | None) -> Mapping:
    """Return the mapping of the function that is to hold one target back, and can.

    Raises ConfigError where nothing can be parked, and what ``switched`` raises.
    """
    if not mirror.backlog_seconds:
        raise ConfigError(
            f"mirror {mirror.name}: with backlog_seconds = 0 a function can't park what is for one"
            " target: leave --target out, or set backlog_seconds and deploy"
        )
    stream = await stream_of(wiring.source(mirror), mirror.source.table, wiring.backoff)
    return await mapping_of(_plane(wiring, mirror), stream, function)


def _plane(wiring: Wiring, mirror: Mirror) -> ControlPlane:
    plane = wiring.plane(mirror.source)
    if isinstance(plane, str):
        raise ConfigError(f"Lambda can't be asked beside {mirror.link}: {plane}")
    return plane


async def require_paused(
    wiring: Wiring, mirror: Mirror, output: Output, others: Sequence[str]
) -> None:
    """See that no function applies the stream: unlike an engine, none can be asked to pause.

    ``others``: functions that read the stream for something else. Raises NotPausedError.
    """
    stream = await stream_of(wiring.source(mirror), mirror.source.table, wiring.backoff)
    try:
        found = await mappings_of(_plane(wiring, mirror), stream)
    except (ConfigError, ServiceError) as error:
        output.aside(
            f"{mirror.title}: Lambda doesn't tell whether a function applies the stream ({error}); "
            "if one does, disable its event source mapping first"
        )
        return
    names = {one.function for one in found if one.state not in ("Disabled", "Deleting")}
    if busy := sorted(names - set(others)):
        raise NotPausedError(f"{mirror.title}'s stream is delivered to {', '.join(busy)}")
