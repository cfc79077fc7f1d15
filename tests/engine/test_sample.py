from __future__ import annotations

import pytest
from tests.engine.regions import Regions

from dynamirror.config.model import Guard, Place
from dynamirror.core.values import Wire
from dynamirror.engine import sample
from dynamirror.memory import items


def test_the_cost_follows_the_guard() -> None:
    """A write per change with order and item, a transaction of two with ledger; times targets."""
    other = Place(region="us-east-1", table="Copy", name="copy")
    one, ledger = Regions(), Regions(guard=Guard.LEDGER)

    assert sample.cost(one.mirror, []).total_usd == pytest.approx(0.654)
    assert sample.cost(ledger.mirror, []).writes_usd == pytest.approx(2.5)
    both = one.with_mirror(targets=(*one.mirror.targets, other))
    assert sample.cost(both, []).writes_usd == pytest.approx(1.25)
    assert sample.cost(both, []).transfer_usd == pytest.approx(0.019)


def test_items_are_measured_as_the_service_does() -> None:
    """Sizes are those that count against 400 KB, to within a byte per number."""
    item: Wire = {
        "id": {"S": "ä"},
        "n": {"N": "-12.50"},
        "b": {"B": "AP8="},
        "l": {"L": [{"BOOL": True}, {"NULL": True}, {"NS": ["1", "22"]}]},
        "m": {"M": {"x": {"SS": ["a", "bb"]}, "y": {"BS": ["AP8=", "AA=="]}}},
    }

    assert abs(sample.item_bytes(item) - items.item_bytes(item)) <= 3
