"""The shell completes commands and options."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "from dynamirror.cli.main import main; main()"


@pytest.mark.parametrize(
    ("typed", "offered"), [("dynamirror pa", "pause"), ("dynamirror run x --dash", "--dashboard")]
)
def test_the_shell_is_offered_what_fits(typed: str, offered: str) -> None:
    """As docs/cli.md sets it up for bash."""
    words = typed.split()
    environment = {
        **os.environ,
        "_DYNAMIRROR_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert f"plain,{offered}" in done.stdout.splitlines()
