"""Where it ran: cores, versions, and the virtual environment that holds the peers."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-bench"
PEERS_PYTHON = PEERS / "bin" / "python"
PEER_PACKAGES = ["boto3", "aiobotocore"]

OUR_PACKAGES = ["dynamirror", "msgspec", "httptools", "uvloop", "botocore"]

_VERSIONS = (
    "import importlib.metadata as m, json, sys;"
    "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
)


@cache
def cores() -> tuple[int, int]:
    """Return the core of what is measured and the core of the stub; the same if there is one.

    Asked once, before anyone is pinned.
    """
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def make_peers() -> None:
    """Install the peers into a virtual environment of their own, unless they are there."""
    ready = PEERS / "ready"
    if ready.exists():
        return
    print(f"setting up {PEERS.name} ...", file=sys.stderr, flush=True)
    venv.create(PEERS, with_pip=True, clear=True)
    (PEERS / ".gitignore").write_text("*\n")
    done = subprocess.run(
        [PEERS_PYTHON, "-m", "pip", "install", "--quiet", *PEER_PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"pip can't install {', '.join(PEER_PACKAGES)}: {done.stderr[-500:]}")
    ready.touch()


def versions() -> dict[str, str]:
    """Return the versions of everything measured."""
    found = {"python": platform.python_version()}
    for name in OUR_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    if (PEERS / "ready").exists():
        done = subprocess.run(
            [PEERS_PYTHON, "-c", _VERSIONS, *PEER_PACKAGES, "botocore", "aiohttp"],
            capture_output=True,
            check=True,
        )
        found |= {f"{name} (peer)": version for name, version in json.loads(done.stdout).items()}
    return found


def machine() -> dict[str, str | int]:
    """Return what may explain a figure: processor, cores, kernel."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "cores_used": len(set(cores())),
        "kernel": platform.release(),
        "load_1_min": f"{os.getloadavg()[0]:.1f}",
    }
