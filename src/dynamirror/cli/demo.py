"""``dynamirror demo``: see a mirror at work on this machine; what ``make demo`` runs."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from dynamirror.aws.client import connect
from dynamirror.aws.credentials import EnvironmentCredentials
from dynamirror.cli.address import Address, HostPort
from dynamirror.cli.arguments import open_output, patiently
from dynamirror.cli.output import Live, Output, Progressing
from dynamirror.cli.wording import counted
from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.demo.play import Ended, Row, Script, configuration, keep_running, play
from dynamirror.demo.server import EmbeddedServer
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.errors import Exit
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import run
from dynamirror.runtimes.watching import Watch
from dynamirror.web.serving import AddressError
from dynamirror.web.serving import dashboard as dashboard_at
from dynamirror.wiring import Wiring

# What the embedded server takes; the user's own credentials and proxies stay out of it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

HEADER = ("  mirror", "state", "written", "read", "applied", "lag ms", "in flight", "retries")

DASHBOARD = "127.0.0.1:8787"

BY_HAND = """
The mirrors go on; end them with Ctrl-C. From another terminal:

  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_ENDPOINT_URL={url}
  aws dynamodb put-item --region us-east-1 --table-name Stories --item '{{"id": {{"S": "mine"}}}}'
  aws dynamodb get-item --region eu-west-1 --table-name Stories --key '{{"id": {{"S": "mine"}}}}'
  {program} status {config}
  {program} conflicts {config}
"""

PLAIN_TICKS = 30
"""Without a terminal, every so many looks at the engine make a line."""


class Shown:
    """Shows the demonstration in a terminal, or as plain lines elsewhere.

    One display at a time: an act's is opened when it first has something to show.
    """

    def __init__(
        self, output: Output, acts: contextlib.ExitStack, watch: Watch | None = None
    ) -> None:
        self._output = output
        self._watch = watch
        self._acts = acts
        self._progress: Progressing | None = None
        self._live: Live | None = None
        self._ticks = 0

    def running(self, consumers: Sequence[Consumer]) -> None:
        if self._watch is not None:
            self._watch.attach(consumers)

    def act(self, sentence: str) -> None:
        self._acts.close()
        self._progress = self._live = None
        self._output.say("")
        self._output.say(sentence, "bold")

    def note(self, sentence: str) -> None:
        self._output.say(f"  {sentence}")

    def copied(self, title: str, copied: Copied) -> None:
        self._far("backfill", title, copied.items, copied.expected_items)

    def compared(self, title: str, compared: Compared) -> None:
        self._far("verify", title, compared.items, compared.expected_items)

    def drift(self, title: str, drift: Drift) -> None:
        where = f" in {', '.join(drift.attributes)}" if drift.attributes else ""
        self._output.say(f"  {title}: {drift.kind} at {drift.target}: {drift.key}{where}", "bad")

    def mirrored(self, rows: Sequence[Row]) -> None:
        self._ticks += 1
        lines = [_cells(row) for row in rows]
        if self._output.live_terminal:
            if self._live is None:
                self._live = self._acts.enter_context(self._output.live(HEADER))
            self._live.show(lines)
        elif self._ticks % PLAIN_TICKS == 1:
            self._output.table(HEADER, lines)

    def _far(self, doing: str, title: str, done: int, expected: int) -> None:
        if self._progress is None:
            self._progress = self._acts.enter_context(self._output.progress(doing))
        self._progress.update(title, done, expected)


def _cells(row: Row) -> tuple[str, ...]:
    report = row.report
    figures = (report.records, report.applied, report.lag_ms, report.in_flight, report.retries)
    return f"  {row.title}", report.state, *(f"{figure:,}" for figure in (row.written, *figures))


@click.command("demo")
@click.option(
    "--server-python",
    metavar="PATH",
    default=sys.executable,
    help="The Python that has the embedded server installed; `make demo` sees to it.",
)
@click.option(
    "--serve", is_flag=True, help="Serve the dashboard, and keep mirroring to try it by hand."
)
@click.option(
    "--dashboard",
    type=HostPort(),
    default=DASHBOARD,
    show_default=True,
    help="Where --serve serves it; a free port if that one is taken.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3_600),
    default=20.0,
    show_default=True,
    help="How long applications write.",
)
@click.pass_context
def command(
    ctx: click.Context, server_python: str, *, serve: bool, dashboard: Address, seconds: float
) -> None:
    """See a mirror at work: two regions on this machine, no AWS account.

    Two populated tables are copied from us-east-1 to eu-west-1, applications go on writing while
    the engine follows, and at the end all tables are compared item by item. Stories is mirrored
    one-way; Sessions two-way, and written in both regions at once, with true conflicts. The tables
    live in an embedded server that ends with this command.

    \b
    Example:
      make demo

    Exit status: 0 all tables are equal, 1 they are not, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=False, verbose=False)
    # SIGTERM ends it as Ctrl-C does, so that server and folder go with it.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with (
        EmbeddedServer(server_python) as server,
        tempfile.TemporaryDirectory(prefix="dynamirror-demo-") as folder,
    ):
        config = Path(folder, "mirrors.toml")
        config.write_text(configuration(server.url))
        wiring = Wiring(load(str(config)), connect=connected)
        script = Script(seconds=seconds)
        if not serve:
            ctx.exit(run(_main(wiring, output, script, None)))
        looking = Wiring(load(str(config)), connect=patiently(connected))
        watch = Watch(looking, shlex.quote(str(config)))
        by_hand = _by_hand(server.url, config)
        ctx.exit(run(_served(wiring, output, script, watch, at=dashboard, by_hand=by_hand)))


def _by_hand(url: str, config: Path) -> str:
    """Say what to type, with the program where it is: ``make demo`` puts it on nobody's path."""
    return BY_HAND.format(url=url, config=config, program=Path(sys.argv[0]).resolve())


async def _served(
    wiring: Wiring,
    output: Output,
    script: Script,
    watch: Watch,
    *,
    at: Address,
    by_hand: str,
) -> Exit:
    """Play beside a dashboard that may do everything: nothing here is anybody's."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(watch.wiring.close)
        try:
            page = await stack.enter_async_context(dashboard_at(watch, *at, writes=True))
        except AddressError:
            elsewhere = at._replace(port=0)
            page = await stack.enter_async_context(dashboard_at(watch, *elsewhere, writes=True))
        output.say(f"The dashboard: {page}", "bold")
        return await _main(wiring, output, script, watch, by_hand)


async def _main(
    wiring: Wiring,
    output: Output,
    script: Script,
    watch: Watch | None,
    by_hand: str = "",
) -> Exit:
    output.say("Two regions of DynamoDB run on this machine; nothing leaves it.")
    try:
        with contextlib.ExitStack() as acts:
            ended = await play(wiring, script, Shown(output, acts, watch))
        if not _told(output, ended):
            return Exit.FINDING
        if watch is not None:
            output.say(by_hand)
            await keep_running(wiring, script, Shown(output, contextlib.ExitStack(), watch))
    finally:
        await wiring.close()
    return Exit.DONE


def _told(output: Output, ended: Ended) -> bool:
    """Tell what came of it; whether all is equal."""
    output.say("")
    for name, compared in ended.compared.items():
        if compared.equal:
            told = f"EQUAL: {name}: all {compared.items:,} items are the same in both regions."
            output.say(told, "good")
        else:
            told = f"{compared.missing} missing, {compared.extra} extra"
            output.say(f"NOT EQUAL: {name}: {told}, {compared.different} different", "bad")
    _tell_conflicts(output, ended)
    return all(compared.equal for compared in ended.compared.values())


def _tell_conflicts(output: Output, ended: Ended) -> None:
    one = ended.example
    if one is None:
        output.say("No two regions changed the same session at once this time: no conflicts.")
        return
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in ended.conflicts.items())
    lost = counted(sum(ended.conflicts.values()), "write")
    output.say(f"Both regions changed the same session at once: {lost} lost ({reasons}).")
    output.say(
        f"For instance {one.key['id']['S']}: version {one.loser.version} of {one.loser.origin} was"
        f" {one.reason} by version {one.winner.version} of {one.winner.origin}."
        if one.reason != "unversioned"
        else f"For instance {one.key['id']['S']}, saved without a version in {one.replica}."
    )
    output.say("Each is kept whole in a journal: `dynamirror conflicts CONFIG` lists them, and")
    output.say("`dynamirror conflicts restore CONFIG ID` brings one back (`make demo SERVE=1`).")


def connected(place: Place, transport: Transport) -> DynamoDB:
    """Connect to the embedded server, whatever the user's environment says."""
    return connect(
        place,
        transport=transport.value,
        credentials=EnvironmentCredentials(CREDENTIALS),
        environment={},
    )
