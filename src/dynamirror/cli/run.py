"""``dynamirror run``: the engine in one process."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import click
import msgspec

from dynamirror.cli.address import Address, HostPort
from dynamirror.cli.arguments import open_output, reporting, wired
from dynamirror.cli.logs import FORMATS
from dynamirror.cli.output import Output
from dynamirror.cli.standing import span
from dynamirror.engine.item_log import show_keys
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.errors import Exit
from dynamirror.runtimes.process import mirror_all, run
from dynamirror.runtimes.telemetry import exported
from dynamirror.runtimes.watching import Watch
from dynamirror.web.serving import dashboard as dashboard_at
from dynamirror.web.serving import metrics_of, served
from dynamirror.wiring import Wiring

log = logging.getLogger("dynamirror")

LIVE_S = 1.0
"""Time between two looks at the consumers, on a terminal."""

REPORT_S = 5.0
"""The same with --json."""

PLAIN_S = 10.0
"""The same in a log file."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served beside the engine, and where."""

    metrics: Address | None
    dashboard: Address | None
    writes: bool
    otel: bool


HEADER = (
    "MIRROR",
    "STATE",
    "RECORDS",
    "APPLIED",
    "LAG",
    "IN FLIGHT",
    "RETRIES",
    "THROTTLES",
    "PARKED",
)


@click.command("run")
@reporting
@click.option("--once", is_flag=True, help="Stop as soon as everything is applied.")
@click.option("--metrics", type=HostPort(), help="Serve /metrics for Prometheus there.")
@click.option(
    "--otel", is_flag=True, help="Export metrics by OpenTelemetry, as the OTEL_ variables say."
)
@click.option("--dashboard", type=HostPort(), help="Serve the dashboard there.")
@click.option(
    "--dashboard-write",
    is_flag=True,
    help="Let the dashboard pause, resume, redrive and restore, with the token it prints.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="human",
    show_default=True,
    help="How log lines are spelled, on stderr.",
)
@click.option(
    "--log-keys", is_flag=True, help="Log the keys of items that are parked, refused or lose."
)
@click.pass_context
def command(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    once: bool,
    metrics: Address | None,
    otel: bool,
    dashboard: Address | None,
    dashboard_write: bool,
    log_format: str,
    log_keys: bool,
) -> None:
    """Mirror: read every source's stream and apply it to the targets.

    All mirrors of the file at once, in this process, until it is stopped with Ctrl-C or SIGTERM:
    what was read is then still applied, and how far that was is saved. After a crash it goes on
    from the last saved position. Only one process at a time can read a mirror's stream.

    \b
    Example:
      dynamirror run mirrors.toml
      dynamirror run mirrors.toml --once    # catch up, then end
      dynamirror run mirrors.toml --dashboard 127.0.0.1:8787
      dynamirror run mirrors.toml --metrics 127.0.0.1:9464 --log-format json

    Exit status: 0 done, 1 something is parked or can't be applied, 2 error, 3 history lost,
    130 stopped with Ctrl-C.
    """  # noqa: D301 - click reads the \b
    output = open_output(
        as_json=as_json, verbose=verbose, as_lines=True, level=logging.INFO, log_format=log_format
    )
    show_keys(asked=log_keys)
    wiring = wired(ctx, config)
    if dashboard_write and dashboard is None:
        raise click.UsageError("--dashboard-write needs --dashboard HOST:PORT")
    watch = Watch(wired(ctx, config, patient=True), shlex.quote(config))
    at = Serving(metrics, dashboard, writes=dashboard_write, otel=otel)
    end = run(_main(wiring, output, watch, at, once=once))
    output.line("end", exit=int(end))
    ctx.exit(end)


async def _main(wiring: Wiring, output: Output, watch: Watch, at: Serving, *, once: bool) -> Exit:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(watch.wiring.close)
        if at.metrics is not None:
            port = await stack.enter_async_context(served(metrics_of(watch), *at.metrics))
            log.info("metrics: %s/metrics", at.metrics._replace(port=port).url)
        if at.otel:
            await stack.enter_async_context(exported(watch))
        if at.dashboard is not None:
            page = dashboard_at(watch, *at.dashboard, writes=at.writes)
            log.info("dashboard: %s", await stack.enter_async_context(page))
        return await _mirror(wiring, output, watch, once=once)


async def _mirror(wiring: Wiring, output: Output, watch: Watch, *, once: bool) -> Exit:
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    showing: list[asyncio.Task[None]] = []

    def interrupt() -> None:
        # The same orderly end as SIGTERM's; only the exit status tells them apart.
        interrupted.set()
        os.kill(os.getpid(), signal.SIGTERM)

    def on_start(consumers: list[Consumer]) -> None:
        watch.attach(consumers)
        showing.append(asyncio.create_task(_show(output, consumers)))
        loop.call_soon(loop.add_signal_handler, signal.SIGINT, interrupt)

    try:
        end = await mirror_all(wiring, once=once, on_start=on_start)
    finally:
        for task in showing:
            task.cancel()
        await asyncio.gather(*showing, return_exceptions=True)
    return Exit.INTERRUPTED if interrupted.is_set() and end is Exit.DONE else end


async def _show(output: Output, consumers: Sequence[Consumer]) -> None:
    if output.as_json:
        await _show_json(output, consumers)
    elif output.live_terminal:
        await _show_live(output, consumers)
    else:
        await _show_plain(consumers)


async def _show_json(output: Output, consumers: Sequence[Consumer]) -> None:
    def tell() -> None:
        for consumer in consumers:
            report = msgspec.structs.asdict(consumer.report())
            output.line("report", mirror=consumer.links.mirror.title, **report)

    try:
        while True:
            await asyncio.sleep(REPORT_S)
            tell()
    finally:
        tell()


async def _show_live(output: Output, consumers: Sequence[Consumer]) -> None:
    with output.live(HEADER) as live:
        try:
            while True:
                live.show([_row(consumer) for consumer in consumers])
                await asyncio.sleep(LIVE_S)
        finally:
            live.show([_row(consumer) for consumer in consumers])


async def _show_plain(consumers: Sequence[Consumer]) -> None:
    def tell() -> None:
        for consumer in consumers:
            figures = zip(HEADER[1:], _row(consumer)[1:], strict=True)
            told = ", ".join(f"{name.lower()} {figure}" for name, figure in figures)
            mirror = consumer.links.mirror
            about = {"fact": "report", "mirror": mirror.title, "link": mirror.link}
            log.info("%s: %s", mirror.title, told, extra=about)

    try:
        while True:
            await asyncio.sleep(PLAIN_S)
            tell()
    finally:
        tell()


def _row(consumer: Consumer) -> tuple[str, ...]:
    report = consumer.report()
    return (
        consumer.links.mirror.title,
        report.state,
        f"{report.records:,}",
        f"{report.applied:,}",
        span(report.behind_ms),
        f"{report.in_flight:,}",
        f"{report.retries:,}",
        f"{report.throttles:,}",
        f"{report.parked_keys:,}",
    )
