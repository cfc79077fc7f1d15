"""The manual of the command line is true.

To renew the help texts in it: python -m tests.docs.test_cli
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from dynamirror.cli.main import COMMANDS, cli
from dynamirror.core.facts import (
    Copying,
    LinkReport,
    Pause,
    Report,
    ShardFacts,
    ShardReport,
    Verified,
)
from dynamirror.engine.comparing.compared import Compared, Estimate
from dynamirror.engine.comparing.mended import Mended
from dynamirror.engine.comparing.one_item import ItemAt, OneItem, ParkedChange
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.held.redrive import Redriven
from dynamirror.engine.journal import Conflict
from dynamirror.engine.tables.charges import Cost
from dynamirror.engine.tables.findings import Finding
from dynamirror.observe.status import Link, Status

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"

UNLIKE = {
    "demo": "make demo",
    "package": "dynamirror package --output",
    "replica": "dynamirror replica add mirrors.toml",
}
"""How the examples of commands begin that have words before CONFIG, or none."""

BLOCK = re.compile(r"<!-- help: ?([\w ]*?) -->\n(?:\n```console\n.*?\n```\n)?", re.DOTALL)


def help_of(command: str) -> str:
    """Return the block that shows a command's help; without a name, the program's."""
    arguments = [*command.split(), "--help"] if command else ["--help"]
    result = CliRunner().invoke(cli, arguments, prog_name="dynamirror", terminal_width=80)
    told = "\n".join(line.rstrip() for line in result.output.rstrip().splitlines())
    return f"```console\n$ dynamirror {' '.join(arguments)}\n{told}\n```"


def renewed(text: str) -> str:
    return BLOCK.sub(
        lambda found: f"<!-- {f'help: {found[1]}'.strip()} -->\n\n{help_of(found[1])}\n", text
    )


def test_the_manual_shows_the_real_help() -> None:
    """What docs/cli.md shows of a command's help is what the command prints."""
    text = MANUAL.read_text()

    assert renewed(text) == text, "renew it: python -m tests.docs.test_cli"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_manual(command: str) -> None:
    """A command that the manual never shows does not exist for a user."""
    assert f"\n## {command}\n\n<!-- help: {command} -->" in MANUAL.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example_and_its_exit_status(command: str) -> None:
    """A newcomer learns from --help what to type, and a script what to expect."""
    told = help_of(command)

    example = UNLIKE.get(command, f"dynamirror {command} mirrors.toml")
    assert f"  Example:\n    {example}" in told
    assert "Exit status: 0" in told


@pytest.mark.parametrize(("command", "does"), COMMANDS.items())
def test_the_overview_says_what_the_command_says(command: str, does: str) -> None:
    """The line in the list of commands is the first line of the command's own help."""
    found = cli.get_command(cli.make_context("dynamirror", [], resilient_parsing=True), command)

    assert found is not None
    assert found.help is not None
    assert found.help.splitlines()[0] == does


@pytest.mark.parametrize(
    "shape",
    [
        Copied,
        Drift,
        Compared,
        Estimate,
        Mended,
        OneItem,
        ItemAt,
        ParkedChange,
        Redriven,
        Finding,
        Cost,
        Conflict,
        Report,
        LinkReport,
        ShardReport,
        Status,
        Link,
        Pause,
        ShardFacts,
        Copying,
        Verified,
    ],
)
def test_every_member_of_the_json_is_in_the_manual(shape: type[msgspec.Struct]) -> None:
    """Whoever reads our JSON finds each member's name in the manual."""
    text = MANUAL.read_text()

    assert [name for name in shape.__struct_fields__ if f'"{name}"' not in text] == []


if __name__ == "__main__":
    MANUAL.write_text(renewed(MANUAL.read_text()))
