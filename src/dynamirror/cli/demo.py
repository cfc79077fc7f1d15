"""``dynamirror demo``: see a mirror at work on this machine; what ``make demo`` runs."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import click

from dynamirror.aws.client import connect
from dynamirror.aws.credentials import EnvironmentCredentials
from dynamirror.cli.arguments import open_output
from dynamirror.cli.output import Live, Output, Progressing
from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.demo.play import Script, configuration, keep_running, play
from dynamirror.demo.server import EmbeddedServer
from dynamirror.engine.backfill import Copied
from dynamirror.engine.consumer import Report
from dynamirror.engine.verify import Compared, Drift
from dynamirror.errors import Exit
from dynamirror.ports import DynamoDB
from dynamirror.runtimes.process import run
from dynamirror.wiring import Wiring

# What the embedded server takes; the user's own credentials and proxies stay out of it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

HEADER = ("mirror", "state", "written", "read", "applied", "lag ms", "in flight", "retries")

BY_HAND = """
The mirror goes on; end it with Ctrl-C. From another terminal:

  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_ENDPOINT_URL={url}
  aws dynamodb put-item --region us-east-1 --table-name Stories --item '{{"id": {{"S": "mine"}}}}'
  aws dynamodb get-item --region eu-west-1 --table-name Stories --key '{{"id": {{"S": "mine"}}}}'
  dynamirror status {config}
"""

PLAIN_TICKS = 20
"""Without a terminal, every so many looks at the engine make a line."""


class Shown:
    """Shows the demonstration in a terminal, or as plain lines elsewhere.

    One display at a time: an act's is opened when it first has something to show.
    """

    def __init__(self, output: Output, acts: contextlib.ExitStack) -> None:
        self._output = output
        self._acts = acts
        self._progress: Progressing | None = None
        self._live: Live | None = None
        self._ticks = 0

    def act(self, sentence: str) -> None:
        self._acts.close()
        self._progress = self._live = None
        self._output.say("")
        self._output.say(sentence, "bold")

    def note(self, sentence: str) -> None:
        self._output.say(f"  {sentence}")

    def copied(self, copied: Copied) -> None:
        self._far("backfill", copied.items, copied.expected_items)

    def compared(self, compared: Compared) -> None:
        self._far("verify", compared.items, compared.expected_items)

    def drift(self, drift: Drift) -> None:
        self._output.say(f"  {drift.kind} in {drift.target}: {drift.key}", "bad")

    def mirrored(self, report: Report, written: int) -> None:
        figures = (report.records, report.applied, report.lag_ms, report.in_flight, report.retries)
        cells = ("  stories", report.state, *(f"{figure:,}" for figure in (written, *figures)))
        self._ticks += 1
        if self._output.live_terminal:
            if self._live is None:
                self._live = self._acts.enter_context(self._output.live(HEADER))
            self._live.show([cells])
        elif self._ticks % PLAIN_TICKS == 1:
            told = zip(HEADER[2:], cells[2:], strict=True)
            self._output.say("  " + ", ".join(f"{name} {cell}" for name, cell in told))

    def _far(self, doing: str, done: int, expected: int) -> None:
        if self._progress is None:
            self._progress = self._acts.enter_context(self._output.progress(doing))
        self._progress.update("  stories", done, expected)


@click.command("demo")
@click.option(
    "--server-python",
    metavar="PATH",
    default=sys.executable,
    help="The Python that has the embedded server installed; `make demo` sees to it.",
)
@click.option("--serve", is_flag=True, help="Keep mirroring afterwards, to try it by hand.")
@click.option("--seconds", default=20.0, show_default=True, help="How long the application writes.")
@click.pass_context
def command(ctx: click.Context, server_python: str, *, serve: bool, seconds: float) -> None:
    """See a mirror at work: two regions on this machine, no AWS account.

    A populated table is copied from us-east-1 to eu-west-1, an application goes on writing while
    the engine follows, and at the end both tables are compared item by item. The tables live in
    an embedded server that ends with this command.

    \b
    Example:
      make demo

    Exit status: 0 both tables are equal, 1 they are not, 2 error.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=False, verbose=False)
    with EmbeddedServer(server_python) as server, tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "mirrors.toml")
        config.write_text(configuration(server.url))
        wiring = Wiring(load(str(config)), connect=connected)
        by_hand = BY_HAND.format(url=server.url, config=config) if serve else None
        ctx.exit(run(_main(wiring, output, Script(seconds=seconds), by_hand)))


async def _main(wiring: Wiring, output: Output, script: Script, by_hand: str | None) -> Exit:
    output.say("Two regions of DynamoDB run on this machine; nothing leaves it.")
    try:
        with contextlib.ExitStack() as acts:
            compared = await play(wiring, script, Shown(output, acts))
        if not compared.equal:
            output.say(
                f"NOT EQUAL: {compared.missing} missing, {compared.extra} extra, "
                f"{compared.different} different",
                "bad",
            )
            return Exit.FINDING
        output.say("")
        output.say(f"EQUAL: all {compared.items:,} items are the same in both regions.", "good")
        if by_hand is not None:
            output.say(by_hand)
            await keep_running(wiring)
    finally:
        await wiring.close()
    return Exit.DONE


def connected(place: Place, transport: Transport) -> DynamoDB:
    """Connect to the embedded server, whatever the user's environment says."""
    return connect(
        place,
        transport=transport.value,
        credentials=EnvironmentCredentials(CREDENTIALS),
        environment={},
    )
