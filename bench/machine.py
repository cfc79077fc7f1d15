"""Where it ran: cores, versions, and the virtual environment that holds the peers."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-bench"
PEERS_PYTHON = PEERS / "bin" / "python"
PEER_PACKAGES = ["aiobotocore", "matplotlib"]
# boto3 comes afterwards, of the botocore's version that aiobotocore takes: told both at once, pip
# searches for minutes. dynamodump wants a boto3 of its own, and runs with this one as well.
LONE_PACKAGES = ["dynamodump==1.11.1", "six"]
NODE_MODULES = ROOT / "bench" / "build" / "node" / "node_modules"
NODE_PACKAGES = ["@aws-sdk/client-dynamodb@3", "copy-dynamodb-table@2.2.1"]

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
    wanted = " ".join([*PEER_PACKAGES, "boto3", *LONE_PACKAGES])
    if ready.exists() and ready.read_text() == wanted:
        return
    print(f"setting up {PEERS.name} ...", file=sys.stderr, flush=True)
    venv.create(PEERS, with_pip=True, clear=True)
    (PEERS / ".gitignore").write_text("*\n")
    _pip(*PEER_PACKAGES)
    _pip(f"boto3=={_peer_version('botocore')}")
    _pip("--no-deps", *LONE_PACKAGES)
    ready.write_text(wanted)


def _pip(*words: str) -> None:
    done = subprocess.run(
        [PEERS_PYTHON, "-m", "pip", "install", "--quiet", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"pip can't install {', '.join(words)}: {done.stderr[-500:]}")


def _peer_version(name: str) -> str:
    program = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([PEERS_PYTHON, "-c", program], capture_output=True, check=True)
    return done.stdout.decode().strip()


def node() -> str:
    """Return the path of Node, or a name that is no path where there is none."""
    return shutil.which("node") or "node"


def make_node_peers() -> None:
    """Install the peers written for Node, unless they are there."""
    folder = NODE_MODULES.parent
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == " ".join(NODE_PACKAGES):
        return
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise RuntimeError("the commands node and npm are not there (Node 20 or newer)")
    print(f"setting up {folder.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", *NODE_PACKAGES],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"npm can't install {', '.join(NODE_PACKAGES)}: {done.stderr[-500:]}")
    ready.write_text(" ".join(NODE_PACKAGES))


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
            [
                PEERS_PYTHON,
                "-c",
                _VERSIONS,
                "boto3",
                "botocore",
                "aiobotocore",
                "aiohttp",
                "dynamodump",
            ],
            capture_output=True,
            check=True,
        )
        found |= {f"{name} (peer)": version for name, version in json.loads(done.stdout).items()}
    if (NODE_MODULES.parent / "ready").exists():
        said = subprocess.run([node(), "--version"], capture_output=True, check=True).stdout
        found["node"] = said.decode().strip().lstrip("v")
        for name in ("@aws-sdk/client-dynamodb", "copy-dynamodb-table"):
            package = json.loads((NODE_MODULES / name / "package.json").read_text())
            found[name] = package["version"]
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
