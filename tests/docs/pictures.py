"""Draw the pictures of docs/concepts.md: what happens in two regions, one above the other in time.

To renew them: python -m tests.docs.pictures
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from tests.servers import ROOT

IMAGES = ROOT / "docs" / "images"

WIDTH = 760
LANES = {"us-east-1": 210, "eu-west-1": 550}
TOP = 84
STEP = 62
BOX = (230, 40)

# The card has a ground of its own, for the page's may be light where the reader's system is dark.
STYLE = """
    .card{fill:#fbfcfe;stroke:#d4dbe6}
    .lane{stroke:#9aa7ba;stroke-width:1.3}
    .save{fill:#fff;stroke:#2b5797;stroke-width:1.6}
    .kept{fill:#e8f3ec;stroke:#2f7d4f;stroke-width:1.6}
    .lost{fill:#fdf0ea;stroke:#b4521e;stroke-width:1.6;stroke-dasharray:5 3}
    .go{stroke:#2f7d4f;stroke-width:1.8;fill:none}
    .no{stroke:#b4521e;stroke-width:1.8;fill:none;stroke-dasharray:5 4}
    text{fill:#1d2733}.small{font-size:12px;fill:#4a5668}.head{font-weight:600}
    @media (prefers-color-scheme: dark){
      .card{fill:#131a24;stroke:#313c4d}.lane{stroke:#5a677c}
      .save{fill:#10161f;stroke:#7aa7e6}.kept{fill:#14291d;stroke:#63b98a}
      .lost{fill:#2c1a12;stroke:#e08a58}.go{stroke:#63b98a}.no{stroke:#e08a58}
      text{fill:#e6ebf2}.small{fill:#aab6c6}
    }"""


class Here(NamedTuple):
    """Something that happens in a region: two lines of text; ``look`` is a class of STYLE."""

    lane: str
    row: float
    look: str
    says: str
    why: str = ""


class Sent(NamedTuple):
    """A change on its way to the other region; ``go`` or ``no``: whether it is applied."""

    lane: str
    row: float
    arrives: float
    look: str
    says: str


class Picture(NamedTuple):
    title: str
    tells: str
    parts: tuple[Here | Sent, ...]


US, EU = LANES

PICTURES = {
    "rank": Picture(
        "Two saves of one item, neither of which knew the other",
        "Both regions save version 2 of an item. The save of us-east-1 has the higher rank, for"
        " that replica is first in the configuration. It replaces the other in eu-west-1, whose"
        " save is kept in the journal there and is refused in us-east-1.",
        (
            Here(US, 0, "kept", "Boston, version 2", "rank (2, us-east-1)"),
            Here(EU, 0, "lost", "Dublin, version 2", "rank (2, eu-west-1)"),
            Sent(US, 0, 1.5, "go", "higher: put"),
            Sent(EU, 0, 1.5, "no", "lower: refused"),
            Here(US, 1.9, "kept", "Boston"),
            Here(EU, 1.9, "kept", "Boston", "Dublin is in the journal here"),
        ),
    ),
    "tombstone": Picture(
        "A delete is remembered",
        "eu-west-1 deletes version 5 of an item: the delete has version 6 and leaves a tombstone"
        " in the ledgers of both regions. A save of version 5 that us-east-1 made before, and"
        " that was long on its way, finds the tombstone and does not bring the item back.",
        (
            Here(US, 0, "lost", "a save, version 5", "its request is long on its way"),
            Here(EU, 0.6, "kept", "delete of version 5", "tombstone: version 6"),
            Sent(EU, 0.6, 1.9, "go", "tombstone, then the delete"),
            Sent(US, 0, 2.5, "no", "6 is above 5: refused"),
            Here(US, 2.4, "kept", "no item", "tombstone: version 6, for 7 days"),
            Here(EU, 3.0, "kept", "no item", "nothing comes back"),
        ),
    ),
    "journal": Picture(
        "A loser comes back",
        "Dublin lost to Boston and is whole in the journal of eu-west-1. conflicts restore saves"
        " it there again with a higher version, which is mirrored as any save is.",
        (
            Here(EU, 0, "lost", "journal: Dublin, version 2", "lost to 2 of us-east-1"),
            Here(US, 0, "kept", "Boston, version 2"),
            Here(EU, 1.0, "save", "conflicts restore", "saved again, a higher version"),
            Sent(EU, 1.0, 2.1, "go", "higher: put"),
            Here(US, 2.4, "kept", "Dublin"),
            Here(EU, 2.4, "kept", "Dublin"),
        ),
    ),
}


def drawn(picture: Picture) -> str:
    """Return a picture as SVG."""
    last = max(part.row if isinstance(part, Here) else part.arrives for part in picture.parts)
    height = TOP + round(last * STEP) + 60
    arrows = [_sent(part) for part in picture.parts if isinstance(part, Sent)]
    boxes = [_here(part) for part in picture.parts if isinstance(part, Here)]
    lanes = [
        f'<text class="head" x="{x}" y="38" text-anchor="middle">{lane}</text>'
        f'<path class="lane" d="M{x} 50V{height - 14}"/>'
        for lane, x in LANES.items()
    ]
    body = "\n  ".join([*lanes, *arrows, *boxes])
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" \
aria-labelledby="t d" font-family="ui-sans-serif, system-ui, sans-serif" font-size="14">
  <title id="t">{escape(picture.title)}</title>
  <desc id="d">{escape(picture.tells)}</desc>
  <style>{STYLE}
  </style>
  <defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 10 5 0 10z" fill="context-stroke"/></marker></defs>
  <rect class="card" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="10"/>
  {body}
</svg>
"""


def _here(part: Here) -> str:
    width, tall = BOX
    x, y = LANES[part.lane], TOP + part.row * STEP
    first = f'<text x="{x}" y="{y + (-1 if part.why else 5):.0f}" text-anchor="middle">'
    return (
        f'<rect class="{part.look}" x="{x - width / 2:.0f}" y="{y - tall / 2:.0f}" '
        f'width="{width}" height="{tall}" rx="6"/>{first}{escape(part.says)}</text>'
        f'<text class="small" x="{x}" y="{y + 14:.0f}" text-anchor="middle">'
        f"{escape(part.why)}</text>"
    )


def _sent(part: Sent) -> str:
    width, tall = BOX
    other = next(lane for lane in LANES if lane != part.lane)
    way = 1 if LANES[other] > LANES[part.lane] else -1
    x, y = LANES[part.lane] + way * (width / 2 - 30), TOP + part.row * STEP + tall / 2
    end_x, end_y = LANES[other] - way * 6, TOP + part.arrives * STEP - tall / 2 + 6
    near = 0.8
    return (
        f'<path class="{part.look}" marker-end="url(#a)" '
        f'd="M{x:.0f} {y:.0f}L{end_x:.0f} {end_y:.0f}"/>'
        f'<text class="small" x="{x + (end_x - x) * near:.0f}" '
        f'y="{y + (end_y - y) * near - 9:.0f}" text-anchor="middle">{escape(part.says)}</text>'
    )


if __name__ == "__main__":
    for name, picture in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(drawn(picture), encoding="utf-8")
