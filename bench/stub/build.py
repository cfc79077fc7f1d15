"""Compile the stub and the floor on demand, into bench/build/."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / "build"

# Tried in this order; the first that compiles is taken. Without OpenSSL there is no TLS, and the
# floor signs with a slower SHA-256 of its own.
VARIANTS: dict[str, list[list[str]]] = {
    "stub": [["-DUSE_OPENSSL", "-lssl", "-lcrypto"], []],
    "floor": [["-DUSE_OPENSSL", "-lssl", "-lcrypto"], []],
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
            "on Debian or Ubuntu, apt-get install gcc libc6-dev (and libssl-dev for TLS)"
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


class NoTlsError(Exception):
    """The stub can't speak TLS on this machine; the text says what is missing."""


def certificate() -> tuple[Path, Path]:
    """Return the files of a certificate for 127.0.0.1 and of its key, made unless there."""
    told = subprocess.run([built("stub"), "--features"], capture_output=True, text=True, check=True)
    if "tls" not in told.stdout:
        raise NoTlsError("the stub was built without OpenSSL: apt-get install libssl-dev")
    chain, key = BUILD / "certificate.pem", BUILD / "key.pem"
    if chain.exists() and key.exists():
        return chain, key
    openssl = shutil.which("openssl")
    if openssl is None:
        raise NoTlsError("the command openssl makes the certificate and is not there")
    words = (
        f"req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=127.0.0.1 "
        f"-addext subjectAltName=IP:127.0.0.1 -out {chain} -keyout {key}"
    )
    done = subprocess.run([openssl, *words.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoTlsError(f"openssl can't make a certificate: {done.stderr.strip()[-300:]}")
    return chain, key
