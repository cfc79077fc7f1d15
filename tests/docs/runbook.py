"""Carry out a runbook as it is written: its files, its commands, and what people do between them.

In ``docs/runbooks/``, a ``toml`` block that begins with ``# NAME`` is a file; a line of a
``console`` block that begins with ``$`` is a command, whose exit status is 0 unless ``# exit N``
says otherwise; ``dynamirror run`` is left running, in a terminal of its own; and
``<!-- here: WORDS -->`` is something that people do, which the test does for them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.servers import ROOT
from tests.storm.world import PROGRAM

BOOKS = ROOT / "docs" / "runbooks"

COMMAND_S_MAX = 120.0

_STEP = re.compile(
    r"^ *<!-- here: (?P<here>.*?) -->$|^ *```(?P<kind>toml|console)\n(?P<block>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_EXIT = re.compile(r"# exit (\d+)")


class Step(NamedTuple):
    """One thing to do: ``kind`` is ``here``, ``file`` or ``command``."""

    kind: str
    text: str
    exit: int = 0


def steps_of(name: str) -> list[Step]:
    """Return what a runbook says is to be done, in its order."""
    steps: list[Step] = []
    for found in _STEP.finditer((BOOKS / f"{name}.md").read_text()):
        if found["here"]:
            steps.append(Step("here", found["here"]))
            continue
        block = textwrap.dedent(found["block"])
        if found["kind"] == "toml":
            steps.append(Step("file", block))
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                command, _, comment = line[2:].partition("#")
                exits = _EXIT.search(f"#{comment}")
                steps.append(Step("command", command.strip(), int(exits[1]) if exits else 0))
    return steps


class Desk:
    """Where somebody sits who follows a runbook: a folder, and terminals in which engines run."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder = folder
        kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        profiles = folder / "config"
        profiles.write_text(
            "[profile new]\naws_access_key_id = 222222222222\naws_secret_access_key = test\n"
        )
        self._environment = {
            **kept,
            "AWS_ACCESS_KEY_ID": "111111111111",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": str(profiles),
            "AWS_ENDPOINT_URL_DYNAMODB": url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._engines: list[subprocess.Popen[bytes]] = []

    def follow(self, name: str, here: Mapping[str, Callable[[], None]]) -> None:
        """Do everything that a runbook says; ``here``: what people do between its commands."""
        for step in steps_of(name):
            match step.kind:
                case "here":
                    here[step.text]()
                case "file":
                    heading = step.text.splitlines()[0].removeprefix("# ")
                    (self._folder / heading).write_text(step.text)
                case _:
                    self.command(step.text, step.exit)

    def command(self, text: str, status: int = 0) -> None:
        """Run one command, which must end with that status."""
        program, *words = shlex.split(text)
        assert program == "dynamirror", text
        if words[0] == "run" and "--once" not in words:
            self._start(words)
            return
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        assert done.returncode == status, f"{text}\n{done.stdout}\n{done.stderr}"

    def stop(self) -> None:
        """Stop what runs in the other terminals, as Ctrl-C does."""
        while self._engines:
            engine = self._engines.pop()
            engine.terminate()
            assert engine.wait(COMMAND_S_MAX) in {0, 130}

    def _start(self, words: list[str]) -> None:
        log = (self._folder / f"engine{len(self._engines)}.log").open("wb")
        with log:
            self._engines.append(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *words],
                    cwd=self._folder,
                    env=self._environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
