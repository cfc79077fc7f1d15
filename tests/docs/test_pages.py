"""What the manual's other pages show is so: prices, pictures, files, code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.docs.pictures import IMAGES, PICTURES, drawn

from dynamirror.config.load import load
from dynamirror.engine.tables.charges import GLOBAL_TABLES, TWO_WAY, cost

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ITEM = {"id": {"S": "a"}, "text": {"S": "x" * 900}}

CONFIGURATIONS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    )
    if "[mirrors." in block and "..." not in block
]


def test_the_prices_are_those_of_check() -> None:
    """The table in choosing.md is what ``dynamirror check`` reckons with such items."""
    places = (
        '{ region = "us-east-1", table = "Stories" }',
        '{ region = "eu-west-1", table = "Stories" }',
    )
    (one_way,) = load(
        f'[mirrors.a]\nmode = "one-way"\nsource = {places[0]}\ntargets = [{places[1]}]'
    ).mirrors
    two_way, _ = load(f'[mirrors.a]\nmode = "two-way"\nreplicas = [{", ".join(places)}]').mirrors
    usual = cost(one_way, [ITEM]).others_usd
    told = {
        "global tables": usual[GLOBAL_TABLES],
        "one-way, guard `order`": usual["order"],
        "one-way, guard `item`": usual["item"],
        "one-way, guard `ledger`": usual["ledger"],
        "two-way, saves that raise a version": usual[TWO_WAY],
        "two-way, saves that don't": cost(two_way, [ITEM]).others_usd[TWO_WAY],
    }
    table = (DOCS / "choosing.md").read_text().split("<!-- prices -->")[1].split("\n\n")[0]

    assert re.findall(r"^\| (.+?) \| ([\d.]+) \|$", table, re.MULTILINE) == [
        (how, f"{usd:.2f}") for how, usd in told.items()
    ]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_as_drawn(name: str) -> None:
    drawing = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")

    assert drawing == drawn(PICTURES[name]), "renew it: python -m tests.docs.pictures"


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_configuration_can_be_pasted(text: str) -> None:
    """Every whole mirror that a page shows is without a fault."""
    assert load(text).mirrors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        ast.parse(block)
