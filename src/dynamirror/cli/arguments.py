"""What commands have in common: CONFIG, --mirror, --json, --verbose, and what they stand for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from dynamirror.cli.logs import LogHandler
from dynamirror.cli.output import Output
from dynamirror.cli.wording import remember
from dynamirror.config.load import load
from dynamirror.config.model import Config, Mirror, Place, Transport
from dynamirror.engine.patience import Patient
from dynamirror.engine.retry import Backoff
from dynamirror.errors import ConfigError, DynamirrorError, Exit
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import SEVERITY, run
from dynamirror.wiring import Connect, Wiring, connected, controlled

F = TypeVar("F", bound=Callable[..., Any])

config_argument = click.argument("config", metavar="CONFIG", callback=remember)

mirror_option = click.option(
    "--mirror", metavar="NAME", help="Only this mirror of the file; without it, every one."
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of text; docs/cli.md has its shape."
)

verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Say more of what is done, on stderr."
)

_ARCHITECTURES = ("arm64", "x86_64")


def runtime_options(command: F) -> F:
    """Add what every command about functions has: what they run on."""
    arch = click.option(
        "--arch",
        type=click.Choice(_ARCHITECTURES),
        default=_ARCHITECTURES[0],
        show_default=True,
        help="The processor that functions run on.",
    )
    python = click.option(
        "--python",
        default="3.14",
        show_default=True,
        help="The Python that functions run on: one of Lambda's.",
    )
    return arch(python(command))


def reporting(command: F) -> F:
    """Add what every command that reports has."""
    return config_argument(json_option(verbose_option(command)))


def open_output(
    *,
    as_json: bool,
    verbose: bool,
    as_lines: bool = False,
    level: int = logging.WARNING,
    log_format: str = "human",
) -> Output:
    """Return where to print, and send log lines there too.

    ``as_lines``: JSON is an object a line, as things happen, rather than one document.
    """
    output = Output(as_json=as_json, as_lines=as_lines)
    logger = logging.getLogger("dynamirror")
    logger.setLevel(logging.DEBUG if verbose else level)
    logger.handlers = [LogHandler(output, as_json=log_format == "json")]
    logger.propagate = False
    return output


def wired(ctx: click.Context, config: str, *, patient: bool = False) -> Wiring:
    """Return the wiring of a configuration file.

    ``patient``: give up on a service that doesn't answer, for commands that only look.
    ``ctx.obj`` may bring another way to connect than the network.
    """
    loaded = load(config)
    given: Connect | None = ctx.obj
    control = controlled if given is None else _tables_only
    connect = given or connected
    if loaded.patterns:
        loaded = run(_enrolled(Wiring(loaded, connect=connect, control=control)))
    return Wiring(loaded, connect=patiently(connect) if patient else connect, control=control)


def _tables_only(_: Place) -> str:
    return "only a connection to the tables is given"


async def _enrolled(wiring: Wiring) -> Config:
    try:
        return await wiring.enroll()
    finally:
        await wiring.close()


def patiently(connect: Connect) -> Connect:
    """Return what connects to a service and gives up on one that doesn't answer."""

    def connect_patiently(place: Place, transport: Transport) -> DynamoDB:
        return Patient(connect(place, transport), Backoff())

    return connect_patiently


def chosen(config: Config, name: str | None) -> tuple[Mirror, ...]:
    """Return the mirror of that name, or all. Raises ConfigError for an unknown name."""
    found = tuple(
        mirror
        for mirror in config.mirrors
        if name in (None, mirror.name) or mirror.name.startswith(f"{name}.")
    )
    if not found:
        names = ", ".join(mirror.name for mirror in config.mirrors)
        raise ConfigError(f"{config.path} has no mirror {name!r}; it has: {names}")
    return found


def perform(
    wiring: Wiring,
    output: Output,
    mirrors: Sequence[Mirror],
    work: Callable[[Mirror], Awaitable[Exit]],
) -> Exit:
    """Do the work for every mirror at once, and return the gravest of their ends.

    A mirror whose work fails is told of and does not stop the others'.
    """
    return run(performed(wiring, output, mirrors, work))


async def performed(
    wiring: Wiring,
    output: Output,
    mirrors: Sequence[Mirror],
    work: Callable[[Mirror], Awaitable[Exit]],
) -> Exit:
    """Do it within a loop; see ``perform``. The wiring is closed afterwards."""

    async def one(mirror: Mirror) -> Exit:
        try:
            return await work(mirror)
        except* DynamirrorError as group:
            error = _first(group)
            output.failure(mirror.title, error)
            end = error.exit_status
        return end

    try:
        ends = await asyncio.gather(*(one(mirror) for mirror in mirrors))
    finally:
        await wiring.close()
    return max(ends, key=SEVERITY.index)


def _first(group: ExceptionGroup[DynamirrorError]) -> DynamirrorError:
    """Return the first of several tasks' errors; the others mostly follow from it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, DynamirrorError):
        raise error
    return error
