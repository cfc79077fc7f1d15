"""What a million changes cost is told for the mirror as it is, and beside it for what it isn't."""

from __future__ import annotations

import pytest
from tests.engine.regions import SOURCE, TARGET, Regions

from dynamirror.config.model import Guard, Place, Side
from dynamirror.core.values import Wire
from dynamirror.engine.tables.charges import GLOBAL_TABLES, TWO_WAY, cost


def test_the_cost_follows_the_guard() -> None:
    """A write per change with order and item, a transaction of two with ledger; times targets."""
    other = Place(region="us-east-1", table="Copy", name="copy")
    one, ledger = Regions(), Regions(guard=Guard.LEDGER)

    assert cost(one.mirror, []).total_usd == pytest.approx(0.652, abs=0.001)
    assert cost(ledger.mirror, []).writes_usd == pytest.approx(2.5)
    both = one.with_mirror(targets=(*one.mirror.targets, other))
    assert cost(both, []).writes_usd == pytest.approx(1.25)
    assert cost(both, []).transfer_usd == cost(one.mirror, []).transfer_usd


def test_every_other_way_stands_beside_it() -> None:
    """The mirror's own way is among them, at its own price; a global table has no function."""
    for guard in Guard:
        told = cost(Regions(guard=guard).mirror, [])
        assert set(told.others_usd) == {*Guard, TWO_WAY, GLOBAL_TABLES}
        assert told.others_usd[guard] == pytest.approx(told.total_usd, abs=0.002)
        assert told.others_usd[GLOBAL_TABLES] < told.others_usd[Guard.ORDER]


def test_saves_without_a_version_cost_more_in_a_two_way_mirror() -> None:
    """Each is raised where it was made: one more write of the item, and one of the ledger."""
    side = Side(name="stories", source=SOURCE, targets=(TARGET,), replicas=(SOURCE, TARGET))
    item: Wire = {"id": {"S": "a"}}
    versioned = {**item, "version": {"N": "1"}}

    assert cost(side, [versioned]).writes_usd == pytest.approx(0.625)
    assert cost(side, [item]).writes_usd == pytest.approx(3 * 0.625)
    assert cost(side, [item, versioned]).writes_usd == pytest.approx(2 * 0.625)
