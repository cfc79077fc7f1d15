"""The README is whole."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_is_left_to_fill_in() -> None:
    assert re.findall(r"@[A-Z]+@", (ROOT / "README.md").read_text()) == []


def test_every_page_that_is_named_is_there() -> None:
    """A link that leads nowhere is worse than none."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    missing = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert missing == []
