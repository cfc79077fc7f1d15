"""The demonstration, played small on the embedded server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.servers import server_python

from dynamirror.cli.demo import connected
from dynamirror.config.load import load
from dynamirror.demo.play import Ended, Row, Script, configuration, play
from dynamirror.demo.server import EmbeddedServer
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.copying.copier import Copied
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.wiring import Wiring

SCRIPT = Script(stories=50, sessions=40, seconds=4.0, session_writes_per_second=25.0)


class Seen:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.notes: list[str] = []
        self.drifts: list[Drift] = []
        self.titles: dict[str, set[str]] = defaultdict(set)

    def act(self, sentence: str) -> None:
        self.acts.append(sentence)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def running(self, consumers: Sequence[Consumer]) -> None:
        self.titles["running"] |= {one.links.mirror.title for one in consumers}

    def copied(self, title: str, _: Copied) -> None:
        self.titles["copied"].add(title)

    def mirrored(self, rows: Sequence[Row]) -> None:
        self.titles["mirrored"] |= {row.title for row in rows}

    def compared(self, title: str, _: Compared) -> None:
        self.titles["compared"].add(title)

    def drift(self, _: str, drift: Drift) -> None:
        self.drifts.append(drift)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ended, Seen]]:
    """A server of its own: the demonstration makes tables under fixed names."""
    with EmbeddedServer(server_python()) as server:
        path = Path(tmp_path_factory.mktemp("demo"), "mirrors.toml")
        path.write_text(configuration(server.url))
        seen = Seen()

        async def main() -> Ended:
            wiring = Wiring(load(str(path)), connect=connected)
            try:
                return await play(wiring, SCRIPT, seen)
            finally:
                await wiring.close()

        yield asyncio.run(main()), seen


def test_both_mirrors_end_equal(played: tuple[Ended, Seen]) -> None:
    """One-way and two-way: every item is compared, and none differs, in rank neither."""
    ended, seen = played

    assert seen.drifts == []
    assert sorted(ended.compared) == ["sessions", "stories"]
    assert all(one.equal and one.items for one in ended.compared.values())


def test_true_conflicts_are_journaled(played: tuple[Ended, Seen]) -> None:
    """Both regions write a few items at once: some writes lose, and the count is told."""
    ended, _ = played

    assert sum(ended.conflicts.values()) > 0


def test_every_side_is_shown(played: tuple[Ended, Seen]) -> None:
    """The display has a row per consumer: one-way mirrors one, two-way mirrors one per replica."""
    _, seen = played

    assert seen.titles["running"] == seen.titles["mirrored"]
    assert seen.titles["mirrored"] == {"stories", "sessions/us-east-1", "sessions/eu-west-1"}
    assert len(seen.acts) == 5
