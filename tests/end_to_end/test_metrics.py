"""What a running engine tells whoever asks, on a real server."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parsed
from tests.storm.world import World

Make = Callable[..., World]


def test_a_running_engine_is_scraped(make_world: Make) -> None:
    """`run --metrics` serves what Prometheus reads, and counts what was written."""
    world = make_world("order")
    engine = world.start("run", "--metrics", "127.0.0.1:0", "--log-format", "json")
    for number in range(20):
        world.put(id={"S": f"secret-{number}"}, text={"S": "hush"})
    world.wait(lambda: not world.differences())
    world.wait(lambda: "metrics: " in engine.said)
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+/metrics", engine.said)

    def scraped() -> dict[str, float]:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
        found = {}
        for family in parsed(text):
            for sample in family.samples:
                if sample.labels.get("state") in (None, "ok"):
                    found[sample.name] = sample.value
        return found

    world.wait(lambda: scraped().get("dynamirror_changes_applied_total", 0) >= 20)
    found = scraped()
    assert found["dynamirror_state"] == 1
    assert found["dynamirror_records_read_total"] >= 20
    assert found["dynamirror_heartbeat_seconds"] < 60
    assert engine.terminate() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in engine.said.splitlines()]
    assert {line["event"] for line in lines} >= {"starting", "report", "stopped"}
    assert all(line["mirror"] and line["link"] for line in lines if line["event"] == "report")
    assert "secret" not in engine.said
    assert "hush" not in engine.said
