"""A conflict on a real server: journaled, listed, restored, the same everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers import Server, Service

from dynamirror.core.values import Wire

TABLE = "conflicts-sessions"

CONFIG = """
[mirrors.sessions]
mode = "two-way"
replicas = [
  {{ region = "{0}", table = "{table}", endpoint_url = "{url}" }},
  {{ region = "{1}", endpoint_url = "{url}" }},
]
"""


def test_a_loser_is_listed_and_restored(server: Server, tmp_path: Path) -> None:
    """Both regions save one item at once; the loser is in the journal, and comes back if asked."""
    if server.url is None:
        pytest.skip("makes tables and leaves them: for a server on this machine")
    config = tmp_path / "mirrors.toml"
    config.write_text(CONFIG.format(*server.regions, table=TABLE, url=server.url))
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", **os.environ}

    def dynamirror(command: str, *more: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "dynamirror", *command.split(), str(config), *more],
            capture_output=True,
            check=True,
            env=environment,
            text=True,
            timeout=60,
        )
        return ended.stdout

    first, second = regions = [
        Service(lambda region=region: server.connect(region), server.profile)  # type: ignore[misc]
        for region in server.regions
    ]

    def by() -> list[Wire]:
        key = {"id": {"S": "a"}}
        return [one.ask("GetItem", TableName=TABLE, Key=key)["Item"]["by"] for one in regions]

    first.create_table(TABLE)
    dynamirror("init", "--yes")
    for region, name in ((first, "us"), (second, "eu")):
        save = {"id": {"S": "a"}, "version": {"N": "1"}, "by": {"S": name}}
        region.ask("PutItem", TableName=TABLE, Item=save)
    dynamirror("run", "--once")
    assert by() == [{"S": "us"}] * 2

    (one,) = json.loads(dynamirror("conflicts", "--json"))["conflicts"]
    assert one["images"]["loser"]["by"] == {"S": "eu"}
    dynamirror("conflicts restore", one["id"])
    assert by() == [{"S": "us"}] * 2
    dynamirror("conflicts restore", one["id"], "--yes")
    dynamirror("run", "--once")

    assert by() == [{"S": "eu"}] * 2
    assert "equal" in dynamirror("verify")
    for region in regions:
        region.__exit__()
