"""The code's own style, where it can be measured."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "dynamirror"

MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60

# What is larger, each a debt with a name: the sets must match exactly, so they only shrink.
OVERSIZED: set[str] = set()
OVERLONG: set[str] = set()

VAGUE = {"base", "common", "handler", "helper", "helpers", "manager", "misc", "util", "utils"}

DEBT = re.compile(r"#\s*(TODO|FIXME|XXX)(?!\([a-z][\w-]*\): \S)", re.IGNORECASE)


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(SRC.rglob("*.py")):
        yield str(path.relative_to(SRC)), path.read_text(encoding="utf-8")


def test_a_module_is_read_in_one_sitting() -> None:
    sizes = {name: len(text.splitlines()) for name, text in modules()}

    assert {name for name, lines in sizes.items() if lines > MODULE_LINES_MAX} == OVERSIZED


def test_a_function_fits_a_screen() -> None:
    found = {
        f"{name}:{node.name}"
        for name, text in modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    }

    assert found == OVERLONG


def test_a_modules_name_says_what_is_in_it() -> None:
    parts = {part for name, _ in modules() for part in Path(name).with_suffix("").parts}

    assert parts & VAGUE == set()


def test_a_debt_has_a_name() -> None:
    """``TODO(name): what is owed``."""
    places = [
        f"{name}:{number}"
        for name, text in modules()
        for number, line in enumerate(text.splitlines(), 1)
        if DEBT.search(line)
    ]

    assert places == []


def test_a_module_with_anything_in_it_says_what_its_rules_are() -> None:
    silent = [name for name, text in modules() if text and not ast.get_docstring(ast.parse(text))]

    assert silent == []
