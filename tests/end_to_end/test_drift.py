"""Drift on a real server: verify finds exactly what was done behind the mirror's back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.storm.drift import DriftPlan, drift_storm
from tests.storm.world import World

Make = Any


@pytest.mark.parametrize("guard", ["order", "item", "ledger"])
def test_seeded_drift_is_found_and_repaired_exactly_under_live_load(
    guard: str, url: str, tmp_path: Path
) -> None:
    """Nothing that is on its way is told, values spelled otherwise are none, and afterwards the
    tables are equal by a comparison that owes nothing to ours.
    """
    drift_storm(DriftPlan(guard=guard, items=1_000, drifts=60), url, tmp_path).require_exact()


def test_binary_keys(make_world: Make) -> None:
    world: World = make_world("order", keys=("B", "B"))
    for number in range(12):
        put: dict[str, Any] = {"id": {"B": bytes([number, 255 - number])}, "n": {"N": str(number)}}
        if number != 3:
            world.put(**put)
        if number != 4:
            spelled = {**put, "n": {"N": f"{number}.0" if number != 5 else "9"}}
            world.target.put_item(TableName=world.table, Item=spelled)
    status, said = world.command("verify", "--json", "--settle", "1")
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    kinds = {one["key"]["id"]["B"]: one["kind"] for one in told if one["event"] == "drift"}
    assert status == 1
    assert kinds == {"A/w=": "extra", "BPs=": "missing", "Bfo=": "different"}

    assert world.command("verify", "--repair", "--yes", "--settle", "1")[0] == 0
    assert world.differences() == []
