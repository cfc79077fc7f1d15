"""The main table as a picture, SVG or PNG by the file's ending; run in the peers' environment.

.venv-bench/bin/python -m bench.plot FIGURES.json PICTURE.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "dynamirror"

from matplotlib import pyplot as plt  # noqa: E402

OURS, THEIRS, FLOOR = "#d9480f", "#868e96", "#343a40"


def main_scenario(found: dict[str, Any]) -> dict[str, Any]:
    """Return the scenario that stands for all: batches of 1,000, unique keys, no round trip."""
    wanted = {"batch": 1_000, "keys": "unique", "item_bytes": 300, "delay_ms": 0, "tls": False}
    for scenario in found["apply"]:
        if all(scenario[name] == value for name, value in wanted.items()):
            return dict(scenario)
    return dict(found["apply"][0])


def colour(contender: str) -> str:
    if contender.startswith("dynamirror"):
        return OURS
    return FLOOR if contender.startswith("floor") else THEIRS


def draw(found: dict[str, Any], picture: Path) -> None:
    scenario = main_scenario(found)
    rows = [row for row in scenario["rows"] if "fault" not in row]
    rows.sort(key=lambda row: -row["cpu_us_per_change_min"])
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.6), layout="constrained")
    values = [row["cpu_us_per_change_min"] for row in rows]
    names = [row["contender"] for row in rows]
    bars = axes.barh(names, values, color=[colour(name) for name in names])
    axes.bar_label(bars, labels=[f"{value:,.3g}" for value in values], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 3)
    axes.set_xlabel("CPU µs per change (least of the rounds, logarithmic)")
    axes.set_title(
        f"Applying a change: {scenario['batch']:,} to an event, {scenario['keys']} keys, "
        f"{scenario['item_bytes']:,} bytes, round trip {scenario['delay_ms']:g} ms",
        loc="left",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    machine, versions = found["machine"], found["versions"]
    figure.supxlabel(
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_1_min']}; "
        f"Python {versions['python']}, dynamirror {versions['dynamirror']}, "
        f"boto3 {versions.get('boto3 (peer)', 'absent')}, node {versions.get('node', 'absent')}",
        fontsize=8,
        color=THEIRS,
    )
    figure.savefig(picture, dpi=160, metadata={"Date": None} if picture.suffix == ".svg" else None)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
