"""How Sphinx builds the manual; ``make docs`` runs it, with warnings as errors."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any

project = "dynamirror"
author = "the dynamirror authors"
project_copyright = "the dynamirror authors, Apache-2.0"
release = installed("dynamirror")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

# A command may go over several lines, which the highlighter of consoles doesn't follow.
suppress_warnings = ["misc.highlighting_failure"]

# Headings can be linked to as on GitHub, where the same pages are read as they are.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "fieldlist"]

# `one backtick` in our docstrings is a command or a value, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"

# A page fetches nothing from elsewhere, so that it reads the same without a network.
html_theme = "furo"
html_title = f"dynamirror {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

INCLUDED = {
    "../bench/README.md": "benchmarks.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "security.md",
    "../CHANGELOG.md": "changelog.md",
}
"""Files that are read on GitHub where they are, and here as pages that include them."""


def lead_to_pages(_: Any, __: str, source: list[str]) -> None:
    """Let a link to a file outside docs/ lead to the page that includes it."""
    for outside, page in INCLUDED.items():
        source[0] = source[0].replace(f"]({outside}", f"]({page}")


def setup(app: Any) -> None:
    app.connect("source-read", lead_to_pages)
