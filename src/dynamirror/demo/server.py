"""The embedded DynamoDB-compatible server: a child process on this machine, gone when we are.

It serves every region on one port, told apart by the credentials' region, and keeps all it holds in
memory. It listens on the loopback interface only. It lives in a Python environment of its own, for
it pins versions that must not decide ours.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from dynamirror.errors import DynamirrorError

PACKAGE = "ministack==1.5.33"

HOST = "127.0.0.1"
START_S_MAX = 30.0
"""Until it answers. Half a second is usual; a busy machine takes its time."""

STOP_S_MAX = 3.0
ATTEMPTS = 3
"""Another process may take the port between our finding it free and the server's taking it."""

_LOG_BYTES_SHOWN = 2_000
_POLL_S = 0.05
_OK = 200

# Nothing of the caller's settings (other servers', AWS's) may decide what this one does.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "LD_LIBRARY_PATH")

# Ends with us, however we end: our end of its standard input closes with our process.
_PROGRAM = """
import os, runpy, shutil, threading

def end_with_the_parent():
    os.read(0, 1)
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)

threading.Thread(target=end_with_the_parent, daemon=True).start()
runpy.run_module("ministack", run_name="__main__")
"""


class ServerError(DynamirrorError):
    """The embedded server does not run; the text has what it said last."""

    hint = f"Set it up with `make demo`, or: pip install {PACKAGE}"


class EmbeddedServer:
    """The server, running while in its context.

    ``python`` is the interpreter that has it installed, ``settings`` more of its environment.
    Raises ServerError if it does not start.
    """

    def __init__(
        self, python: str | Path = sys.executable, settings: Mapping[str, str] | None = None
    ) -> None:
        self._python = str(python)
        self._settings = dict(settings or {})
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.url if self.running else 'stopped'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self.running:
            return
        for attempt in range(1, ATTEMPTS + 1):
            self._spawn()
            try:
                self._wait()
            except ServerError as error:
                self.stop()
                if attempt == ATTEMPTS or "already in use" not in str(error):
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """End it, if it runs; what it held is gone."""
        process, self._process = self._process, None
        folder, self._folder = self._folder, None
        if process is not None:
            process.terminate()
            try:
                process.communicate(timeout=STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        if folder is not None:
            folder.cleanup()

    def _spawn(self) -> None:
        self._port = _free_port()
        self._folder = tempfile.TemporaryDirectory(
            prefix="dynamirror-server-", ignore_cleanup_errors=True
        )
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(self._port),
            "LOG_LEVEL": "WARNING",
            "TMPDIR": self._folder.name,
            "PYTHONUNBUFFERED": "1",
            **self._settings,
        }
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603  # our own program
                    [self._python, "-c", _PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    # Ctrl-C is for us: the engine's last writes still need the server.
                    start_new_session=True,
                )
        except OSError as error:
            self.stop()
            raise ServerError(f"the server's Python can't be run: {error}") from None

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not _answers(self._port):
            if not self.running:
                said = self._said()
                if "No module named" in said:
                    raise ServerError(f"{self._python} has no {PACKAGE.partition('=')[0]}")
                raise ServerError(f"the embedded server ended at once:\n{said}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the embedded server did not answer in {START_S_MAX:.0f} s:\n{self._said()}"
                )
            time.sleep(_POLL_S)

    @property
    def _log(self) -> Path:
        return Path(self._folder.name if self._folder else "") / "log"

    def _said(self) -> str:
        """Return the last of what it wrote."""
        return self._log.read_bytes()[-_LOG_BYTES_SHOWN:].decode(errors="replace").strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
