"""Compile the stub and the floor on demand, into bench/build/."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / "build"

# Tried in this order; the first that compiles is taken. Only the floor signs anything.
VARIANTS: dict[str, list[list[str]]] = {
    "stub": [[]],
    "floor": [["-DUSE_OPENSSL", "-lcrypto"], []],
}


class NoCompilerError(Exception):
    """The stub can't be compiled on this machine; the text says what is missing."""


def built(name: str) -> Path:
    """Return the path of a program, compiled now if its source is newer."""
    source, program = SOURCES / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError(
            "a C compiler is needed to build the stub server and 'cc' is not there: "
            "on Debian or Ubuntu, apt-get install gcc libc6-dev (and libssl-dev for the floor)"
        )
    BUILD.mkdir(exist_ok=True)
    fault = ""
    for flags in VARIANTS[name]:
        done = subprocess.run(
            [compiler, "-O2", "-o", program, source, *flags],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return program
        fault = done.stderr
    raise NoCompilerError(f"{compiler} can't compile {source} (it is for Linux only):\n{fault}")
