"""The browser that tests drive: one that is there, or one that is fetched now.

    python -m tests.web.browser     see that there is one, and install it if not

DYNAMIRROR_TEST_BROWSER    the browser's program, if it is none of those that we look for
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

REMEDY = (
    "the dashboard's tests need a Chromium: apt-get install chromium, "
    "python -m playwright install chromium, or DYNAMIRROR_TEST_BROWSER=/path/to/it"
)


def found() -> str | None:
    """Return a browser's program; None: there is none."""
    named = os.environ.get("DYNAMIRROR_TEST_BROWSER")
    if named is not None:
        return named
    for name in NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
        return path if Path(path).exists() else None


def install() -> bool:
    """Fetch one by whatever works here; whether there is one now."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        apt = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu"]
        commands = [["apt-get", "update"], apt, *commands]
    for command in commands:
        if found() is None:
            subprocess.run(command, check=False, **quiet)  # type: ignore[call-overload]
    return found() is not None


if __name__ == "__main__":
    if found() is None:
        print("fetching a browser for the dashboard's tests ...", flush=True)  # noqa: T201
    if found() is None and not install():
        sys.exit(REMEDY)
