"""The tutorial does what it says, command by command, and prints what it shows."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.runbook import COMMAND_S_MAX
from tests.servers import ROOT, server_python

TUTORIAL = ROOT / "docs" / "tutorial.md"
PORT = "4566"
PROGRAMS = Path(sys.executable).parent
READY = {"ministack": "Ready", "dynamirror": "starting"}
"""What a program that is left running says when it may be relied upon."""

_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>\w+): [^>]*-->\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_EXIT = re.compile(r"# exit (\d+)")


class Terminal:
    """A shell in a folder: what is exported and where one has gone lasts."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._environment = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT / "src"),
        }
        self._left_running: list[subprocess.Popen[bytes]] = []

    @property
    def path(self) -> str:
        """Where programs are looked for."""
        return self._environment["PATH"]

    def type(self, command: str) -> tuple[int, str]:
        """Run a command; its exit status and what it printed."""
        command = self._fitted(command)
        if command.startswith("export "):
            self._environment |= dict(part.split("=", 1) for part in shlex.split(command)[1:])
            return 0, ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        return done.returncode, done.stdout or done.stderr

    def leave(self, command: str) -> None:
        """Start what goes on, and wait until it can be used."""
        program = subprocess.Popen(
            ["bash", "-c", f"exec env {self._fitted(command)}"],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._left_running.append(program)
        assert program.stdout is not None
        word = next(said for name, said in READY.items() if name in command)
        said = b""
        while word.encode() not in said:
            line = program.stdout.readline()
            assert line, said.decode()
            said += line

    def close(self) -> None:
        while self._left_running:
            program = self._left_running.pop()
            program.terminate()
            program.communicate(timeout=COMMAND_S_MAX)

    def _fitted(self, command: str) -> str:
        """Return the command for a machine where ports and environments are others'."""
        server = command.replace(".venv-server/bin/python", str(server_python()))
        return server.replace(".venv/bin", str(PROGRAMS)).replace(PORT, str(self.port))


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Terminal(folder, probe.getsockname()[1])
    try:
        yield made
    finally:
        made.close()


def same(shown: str, printed: str) -> bool:
    """Whether a line is what was printed but for numbers, which differ from run to run."""
    return _masked(shown) == _masked(printed)


def _masked(line: str) -> str:
    without_ids = re.sub(r"\b[0-9a-f]{16}\b", "ID", line.strip())
    return re.sub(r"\d+(\.\d+)?", "0", without_ids)


def follow(at: Terminal, block: str) -> None:
    """Type the commands of a block and compare what they print with what it shows."""
    printed: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            command = line[2:]
            if command.startswith((". ", "cd ")):
                continue
            status, text = at.type(command)
            expected = _EXIT.search(command)
            assert status == (int(expected[1]) if expected else 0), f"{command}\n{text}"
            printed = text.splitlines()
        elif line != "...":
            assert any(same(line, each) for each in printed), f"{line}\nnot in\n{printed}"


def test_the_tutorial_is_true(tmp_path: Path) -> None:
    """Whoever types what it says sees what it shows."""
    text = TUTORIAL.read_text(encoding="utf-8")
    with terminal(tmp_path) as at:
        for mark, kind, block in _BLOCK.findall(text):
            match kind, mark:
                case "console", "apart":
                    continue
                case "console", "here":
                    at.leave(block.removeprefix("$ ").strip())
                case "console", _:
                    follow(at, block)
                case _:
                    name = block.splitlines()[0].removeprefix("# ")
                    (at.folder / name).write_text(block, encoding="utf-8")
