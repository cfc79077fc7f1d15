"""The program as a process: exit status, streams, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dynamirror.errors import Exit

CONFIG = """
[mirrors.stories]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mirrors.toml"
    path.write_text(CONFIG)
    return path


def command_line(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real program."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from dynamirror.cli.main import main; main()",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_a_faulty_configuration_is_told_without_a_traceback(tmp_path: Path) -> None:
    """Our errors are messages for people, on stderr, with exit status 2."""
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("[mirrors.a]\nmode = 'one-way'\nsorce = 1\n")

    done = command_line("check", faulty)

    assert done.returncode == Exit.UNUSABLE
    assert "sorce" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["check"], ["check", "a", "b"], ["run", "-x"]]
)
def test_a_wrong_command_line_is_unusable(arguments: list[str]) -> None:
    """Click's own errors have our exit status."""
    assert command_line(*arguments).returncode == Exit.UNUSABLE


def test_help_is_quick() -> None:
    """The list of commands needs none of what the commands need."""
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from dynamirror.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({'rich', 'asyncio', 'botocore', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == ""


RUN = """
import sys, time
from tests.engine.regions import Regions
from dynamirror.cli.main import cli
regions = Regions()
regions.now_ms = int(time.time() * 1_000)
regions.source()
regions.init()
perform = regions.us.perform
def told(operation, request):
    if operation == "GetRecords":
        print("at work", file=sys.stderr, flush=True)
    return perform(operation, request)
regions.us.perform = told
cli(["run", sys.argv[1]], obj=regions.api_of)
"""


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.DONE)]
)
def test_a_stopped_run_ends_in_order(number: signal.Signals, end: Exit, config: Path) -> None:
    """Ctrl-C and SIGTERM both save positions; only Ctrl-C counts as interrupted."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, config],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stderr is not None
        assert "starting" in process.stderr.readline()
        while "at work" not in process.stderr.readline():
            pass
        process.send_signal(number)
        told = process.stderr.read()

    assert process.returncode == end
    assert "positions are saved" in told
    assert "Traceback" not in told


def test_the_version_is_told() -> None:
    """--version names the program and its version."""
    assert command_line("--version").stdout.startswith("dynamirror ")
