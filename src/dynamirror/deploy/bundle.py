"""The zip that a function runs: our code and the wheels it needs, for any target, the same bytes
each time.

Names are sorted, times and permissions fixed, versions those of this environment. Wheels come from
the index that this interpreter's pip is set to. botocore stays out: Lambda's runtime brings it, and
only roles and profiles need it.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import dynamirror
from dynamirror.deploy.template import Runtime
from dynamirror.errors import DynamirrorError

NEEDED = ("httptools", "msgspec")
"""Distributions that the handler imports; neither needs another."""

NEVER_IMPORTED = ("cli", "demo", "deploy", "memory", "simulation", "writer")
"""Parts of ours that no function imports."""

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""What Lambda's architectures are called in a wheel's tag."""

GLIBC_OLD, GLIBC_NEW = ("2_17",), ("2_17", "2_28")
"""Wheels of these fit Amazon Linux 2, with glibc 2.26, and Amazon Linux 2023, with 2.34."""

AMAZON_LINUX_2023 = (3, 12)
"""The first Python on it (AWS Lambda Developer Guide, 'Lambda runtimes')."""

BYTES_MAX = 3_000_000

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can tell
_FILE, _LIBRARY = 0o100644, 0o100755
_DOWNLOAD_S_MAX = 300
_SAID_CHARS_MAX = 1_000


class PackageError(DynamirrorError):
    """The zip can't be made."""

    hint = (
        "See that pip reaches an index with wheels for the target (pip config list), or choose"
        " another --python or --arch."
    )


def bundle(runtime: Runtime, modules: Iterable[str] = ()) -> bytes:
    """Return the zip for a target, with modules of the user's that mirrors call.

    Raises PackageError where pip can't bring the wheels, or a module isn't there.
    """
    users = dict(pair for name in modules for pair in _users(name))
    return zipped({**users, **_ours(), **_theirs(runtime.architecture, runtime.python)})


def digest(zipped: bytes) -> str:
    """Return what tells one zip from another."""
    return hashlib.sha256(zipped).hexdigest()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return files by their paths as a zip that depends on nothing else."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever this runs
            mode = _LIBRARY if name.endswith(".so") else _FILE
            entry.external_attr = mode << 16
            archive.writestr(entry, files[name])
    return out.getvalue()


def _ours() -> dict[str, bytes]:
    root = Path(dynamirror.__file__).parent
    return {
        f"dynamirror/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.suffix in (".py", ".typed")
        and path.relative_to(root).parts[0] not in NEVER_IMPORTED
    }


def _users(module: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a module; of a package, of the whole of it."""
    top = module.partition(".")[0]
    spec = find_spec(top)
    if spec is None or not spec.has_location or spec.origin is None:
        raise PackageError(
            f"the module {top!r} can't be packed: it isn't one of files on Python's path here"
        )
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        yield origin.name, origin.read_bytes()
        return
    for path in origin.parent.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            yield f"{top}/{path.relative_to(origin.parent).as_posix()}", path.read_bytes()


def _theirs(architecture: str, python: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="dynamirror-package-") as folder:
        _download(Path(folder), architecture, python)
        wheels = sorted(Path(folder).glob("*.whl"))
        return dict(pair for wheel in wheels for pair in _unpacked(wheel))


def _download(folder: Path, architecture: str, python: str) -> None:
    number = tuple(int(part) for part in python.split("."))
    glibcs = GLIBC_NEW if number >= AMAZON_LINUX_2023 else GLIBC_OLD
    machine = MACHINES[architecture]
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in glibcs] + [f"manylinux2014_{machine}"]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--implementation=cp"),
        f"--python-version={python}",
        *(f"--platform={platform}" for platform in platforms),
        f"--dest={folder}",
        *(f"{name}=={_version(name)}" for name in NEEDED),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, capture_output=True, text=True, timeout=_DOWNLOAD_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"pip did not bring the wheels in {_DOWNLOAD_S_MAX} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-_SAID_CHARS_MAX:]
        raise PackageError(f"no wheels for Python {python} on {architecture}:\n{said}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise PackageError(f"{name} is not installed here, so its version is open") from None


def _unpacked(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what a wheel installs, without what only type checkers and tests read."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            source = path.suffix in (".pyi", ".pyx", ".pxd", ".c", ".h")
            listing = path.name in ("RECORD", "top_level.txt")
            if not (name.endswith("/") or source or listing or "tests" in path.parts):
                yield name, archive.read(name)
