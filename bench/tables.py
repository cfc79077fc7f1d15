"""How figures are printed."""

from __future__ import annotations

import sys

Lines = list[list[str]]


def figure(value: float) -> str:
    """Three digits that mean something, no more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show(title: str, lines: Lines) -> None:
    """Print a Markdown table, first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print(f"\n{title}\n")
    for line in (lines[0], rule, *lines[1:]):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print(f"| {' | '.join(cells)} |")
    sys.stdout.flush()
