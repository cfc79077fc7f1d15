"""Record the demonstration as a moving picture: docs/images/demo.svg, from what it really prints.

    python -m tests.docs.record

The demonstration is run once, without a terminal, so it prints plain lines; each appears in the
picture when it appeared then, long pauses shortened. Whoever asks for less motion sees the end.
"""

from __future__ import annotations

import subprocess
import sys
import time
from html import escape
from itertools import pairwise

from tests.servers import ROOT, server_python
from tests.storm.world import PROGRAM

PICTURE = ROOT / "docs" / "images" / "demo.svg"

ROWS, COLUMNS = 26, 116
LINE_PX, CHARACTER_PX, MARGIN_PX = 18, 7.9, 16
PAUSE_S_MAX = 1.2
LINE_S = 0.09
END_S = 6.0
DEMO_S = "15"

Timed = list[tuple[float, str]]
"""Seconds since the beginning, and a line."""


def recorded() -> Timed:
    """Run the demonstration and return its lines, each with when it was printed."""
    program = [sys.executable, "-u", "-c", PROGRAM, "demo"]
    words = ["--server-python", str(server_python()), "--seconds", DEMO_S]
    lines: Timed = [(0.0, "$ make demo")]
    with subprocess.Popen([*program, *words], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        began = time.monotonic()
        lines += [(time.monotonic() - began, line.rstrip("\n")[:COLUMNS]) for line in demo.stdout]
    assert demo.returncode == 0
    return lines


def paced(lines: Timed) -> Timed:
    """Return the lines at a pace for reading: no long pause, no two at once."""
    at = 0.0
    told: Timed = [(at, lines[0][1])]
    for (before, _), (now, line) in pairwise(lines):
        at += min(max(now - before, LINE_S), PAUSE_S_MAX)
        told.append((at, line))
    return told


def drawn(lines: Timed) -> str:
    """Return the picture: a window onto lines that appear, and move up once it is full."""
    whole = lines[-1][0] + END_S
    width = round(COLUMNS * CHARACTER_PX + 2 * MARGIN_PX)
    height = ROWS * LINE_PX + 2 * MARGIN_PX
    rows, moves, rules = [], ["0%{transform:none}"], []
    for number, (at, line) in enumerate(lines):
        share = 100 * at / whole
        rules.append(
            f"@keyframes l{number}{{0%,{share:.2f}%{{opacity:0}}"
            f"{share + 0.01:.2f}%,100%{{opacity:1}}}}#l{number}{{animation-name:l{number}}}"
        )
        look = (
            "good" if line.startswith("EQUAL") else "act" if line.startswith(("$", "dyn")) else ""
        )
        rows.append(
            f'<text id="l{number}" class="{look}" x="{MARGIN_PX}" '
            f'y="{MARGIN_PX + (number + 1) * LINE_PX - 5}">{escape(line)}</text>'
        )
        up = max(0, number + 1 - ROWS) * LINE_PX
        moves.append(f"{share:.2f}%{{transform:translateY(-{up}px)}}")
    up = max(0, len(lines) - ROWS) * LINE_PX
    moves.append(f"100%{{transform:translateY(-{up}px)}}")
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-labelledby="t" font-family="ui-monospace, 'DejaVu Sans Mono', monospace" font-size="13">
  <title id="t">What make demo prints: two tables copied, followed, and found equal</title>
  <style>
    .card{{fill:#10161f;stroke:#313c4d}}text{{fill:#d5dbe5;white-space:pre}}
    .act{{fill:#fff;font-weight:600}}.good{{fill:#63b98a;font-weight:600}}
    #all{{animation:move {whole:.1f}s step-end infinite;transform:translateY(-{up}px)}}
    #all text{{animation-duration:{whole:.1f}s;animation-iteration-count:infinite}}
    @keyframes move{{{"".join(moves)}}}
    {"".join(rules)}
    @media (prefers-reduced-motion: reduce){{#all,#all text{{animation:none}}}}
  </style>
  <defs><clipPath id="w"><rect x="0" y="{MARGIN_PX}" width="{width}" \
height="{ROWS * LINE_PX}"/></clipPath></defs>
  <rect class="card" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="10"/>
  <g clip-path="url(#w)"><g id="all">{"".join(rows)}</g></g>
</svg>
"""


if __name__ == "__main__":
    PICTURE.write_text(drawn(paced(recorded())), encoding="utf-8")
