"""The zip that functions run: small, the same each time, and all that the handler needs."""

from __future__ import annotations

import io
import platform
import struct
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from dynamirror.deploy.bundle import BYTES_MAX, PackageError, bundle
from dynamirror.deploy.template import ARCHITECTURE, PYTHON, Runtime

HOST = ".".join(platform.python_version_tuple()[:2])
HOST_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())

AARCH64, X86_64 = 183, 62
"""Machines as ELF's header names them, in the two bytes from 18."""


@cache
def made(architecture: str, python: str) -> bytes:
    return bundle(Runtime(architecture=architecture, python=python))


def opened(zipped: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(zipped))


def test_the_zip_of_this_machine_runs_with_nothing_else(tmp_path: Path) -> None:
    """A bare interpreter with the zip's content alone on its path imports the handler."""
    opened(made(HOST_ARCHITECTURE, HOST)).extractall(tmp_path)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n"
        "from dynamirror.runtimes import aws_lambda\n"
        "print(aws_lambda.__file__)\n"
        "assert not any('site-packages' in each for each in sys.path), sys.path\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout.strip(), done.stderr) == (
        str(tmp_path / "dynamirror/runtimes/aws_lambda.py"),
        "",
    )


@pytest.mark.parametrize(
    ("architecture", "python", "machine"),
    [(ARCHITECTURE, PYTHON, AARCH64), ("x86_64", PYTHON, X86_64), ("arm64", "3.11", AARCH64)],
)
def test_a_zip_is_of_its_target_alone(architecture: str, python: str, machine: int) -> None:
    """Every wheel and every library is for the processor and the Python that were asked for."""
    archive = opened(made(architecture, python))
    libraries = [name for name in archive.namelist() if name.endswith(".so")]
    wheels = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
    tag = f"cp{python.replace('.', '')}"

    assert len(libraries) >= 3
    for name in libraries:
        (found,) = struct.unpack_from("<H", archive.read(name), 18)
        assert found == machine, name
        assert f"cpython-{tag[2:]}-" in name
    assert len(wheels) == 2
    for name in wheels:
        told = archive.read(name).decode()
        assert f"Tag: {tag}-{tag}-manylinux" in told


def test_the_same_source_gives_the_same_bytes() -> None:
    """Whoever builds it again gets what was deployed."""
    assert bundle(Runtime()) == made(ARCHITECTURE, PYTHON)


def test_the_zip_is_small() -> None:
    """Under 3 MB, and nothing in it that no function imports."""
    zipped = made(ARCHITECTURE, PYTHON)
    tops = {name.split("/")[0] for name in opened(zipped).namelist()}
    parts = {name.split("/")[1] for name in opened(zipped).namelist() if "/" in name}

    assert len(zipped) < BYTES_MAX
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "dynamirror",
        "httptools",
        "msgspec",
    }
    assert not parts & {"cli", "demo", "deploy", "simulation", "tests"}


def test_a_target_without_wheels_is_refused_with_the_remedy() -> None:
    """A Python that nobody builds for."""
    with pytest.raises(PackageError, match=r"no wheels for Python 3\.2 on arm64") as caught:
        bundle(Runtime(python="3.2"))
    assert "--python" in caught.value.hint
