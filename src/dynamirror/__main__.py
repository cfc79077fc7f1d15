"""``python -m dynamirror``: the command line."""

from __future__ import annotations

from dynamirror.cli.main import main

main()
