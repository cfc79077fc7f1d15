"""``--deployed``: pause and resume where a Lambda function applies the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dynamirror.cli.output import Output
from dynamirror.config.model import Mirror
from dynamirror.engine.source import stream_of
from dynamirror.errors import DynamirrorError
from dynamirror.wiring import Wiring

if TYPE_CHECKING:
    from dynamirror.aws.mappings import Mapping

F = TypeVar("F", bound=Callable[..., Any])


class WhichFunctionError(DynamirrorError):
    """It isn't clear which function's mapping is meant."""

    hint = "Name the function: --function NAME."


class NotPausedError(DynamirrorError):
    """A function may apply changes over which a backfill would write older images."""

    hint = (
        "If it applies this mirror: `dynamirror pause CONFIG --mirror NAME --deployed`, and resume "
        "after the backfill. If it does something else: --other-function FUNCTION."
    )


def function_option(command: F) -> F:
    """Add ``--deployed`` and ``--function``."""
    deployed = click.option(
        "--deployed", is_flag=True, help="Switch the Lambda function's event source mapping."
    )
    named = click.option(
        "--function", metavar="NAME", help="With --deployed: which, if the stream has several."
    )
    return deployed(named(command))


async def switch(
    wiring: Wiring, mirror: Mirror, output: Output, function: str | None, *, on: bool
) -> dict[str, object]:
    """Enable or disable the mapping that delivers a mirror's stream, and tell of it.

    Raises WhichFunctionError unless it is clear which: other functions may read the stream too.
    """
    from dynamirror.aws.mappings import Mappings  # noqa: PLC0415 - it imports botocore

    stream = await stream_of(wiring.source(mirror), mirror.source.table, wiring.backoff)
    mappings = Mappings(mirror.source)
    found = [one for one in await mappings.of(stream) if function in (None, _name(one))]
    if len(found) != 1:
        names = ", ".join(sorted(map(_name, found))) or "none"
        raise WhichFunctionError(f"functions that {mirror.link} is delivered to: {names}")
    (mapping,) = found
    told = "enabled" if on else "disabled"
    output.say(f"{mirror.link}: event source mapping {mapping.id} of {_name(mapping)}: {told} ...")
    await mappings.switch(mapping, on=on)
    output.say(f"{mirror.link}: {told}", "good")
    return {"link": mirror.link, "paused": not on, "mapping": mapping.id}


def _name(mapping: Mapping) -> str:
    return mapping.function.split(":")[6]


async def require_paused(
    wiring: Wiring, mirror: Mirror, output: Output, others: Sequence[str]
) -> None:
    """See that no function applies the stream: unlike an engine, none can be asked to pause.

    ``others``: functions that read the stream for something else. Raises NotPausedError.
    """
    from dynamirror.aws.mappings import MappingError, Mappings  # noqa: PLC0415 - imports botocore

    stream = await stream_of(wiring.source(mirror), mirror.source.table, wiring.backoff)
    try:
        found = await Mappings(mirror.source).of(stream)
    except MappingError as error:
        output.aside(
            f"{mirror.title}: Lambda doesn't tell whether a function applies the stream ({error}); "
            "if one does, disable its event source mapping first"
        )
        return
    names = {_name(one) for one in found if one.state not in ("Disabled", "Deleting")}
    if busy := sorted(names - set(others)):
        raise NotPausedError(f"{mirror.title}'s stream is delivered to {', '.join(busy)}")
