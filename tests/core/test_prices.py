"""Estimates are made of the service's own units and prices."""

from __future__ import annotations

import pytest

from dynamirror.core.prices import Use, read_units, write_units


@pytest.mark.parametrize(
    ("size", "units"), [(0, 1), (1, 1), (1_024, 1), (1_025, 2), (400 * 1_024, 400)]
)
def test_a_write_takes_a_unit_per_begun_kilobyte(size: int, units: int) -> None:
    """In a transaction twice that."""
    assert write_units(size) == units
    assert write_units(size, transaction=True) == 2 * units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (4_096, 1), (4_097, 2), (1_048_576, 256)])
def test_a_consistent_read_takes_a_unit_per_begun_4_kb(size: int, units: int) -> None:
    """And half of it where it need not be consistent."""
    assert read_units(size) == units
    assert read_units(size, consistent=False) == units / 2


def test_a_million_small_changes_cost_what_the_price_list_says() -> None:
    """62.5 cents for the writes, 2 for moving a gigabyte."""
    one = Use(write_units=1, bytes_moved=1_000)

    assert one.times(1_000_000).usd == pytest.approx(0.645)
    assert (one + Use(read_units=8)).usd == pytest.approx(1.645e-6)
