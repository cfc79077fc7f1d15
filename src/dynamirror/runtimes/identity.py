"""Who this process is, in words that tell other processes whether it still lives."""

from __future__ import annotations

import os
import platform
from itertools import count
from pathlib import Path

_numbers = count(1)


def me() -> str:
    """Return a new name for something of this process that holds a lease.

    For example ``build-7 process 4711 (9f3c...:4026531836:88231:1)``.
    """
    pid = os.getpid()
    return f"{platform.node()} process {pid} ({_machine()}:{_started(pid)}:{next(_numbers)})"


def is_dead(owner: str) -> bool:
    """Tell whether a process has surely ended: it was of this machine, and is there no more."""
    try:
        name, mark = owner.rsplit(" (", 1)
        pid = int(name.rsplit(" ", 1)[1])
        machine, started, _ = mark.rstrip(")").rsplit(":", 2)
    except ValueError:
        return False
    return machine == _machine() and _started(pid) != started


def _machine() -> str:
    """Name the running kernel and the process-id namespace: containers share a kernel, not pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:  # not Linux
        return platform.node()
    return f"{boot}:{namespace}"


def _started(pid: int) -> str:
    """Tell when a process began, so that another with its number isn't taken for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc").exists():
            return "gone"
        return _alive_without_proc(pid)
    state, *fields = stat.rpartition(")")[2].split()
    # A process that nobody has reaped yet still has its entry, but does nothing any more.
    return "gone" if state in ("Z", "X") else fields[18]


def _alive_without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"
