"""Two-way mirrors with replicas on ScyllaDB Alternator: its older ways, imitated."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from tests.engine.virtual_time import now_ms, run
from tests.imitation import Imitation
from tests.simulation.test_engine import CONFIG, HYBRID, REGIONS, World, consume

from dynamirror.config.load import load
from dynamirror.config.model import Place, Transport
from dynamirror.core import pairs
from dynamirror.core.record import StreamRecord
from dynamirror.engine.retry import Backoff
from dynamirror.ports import DynamoDB
from dynamirror.wiring import Wiring

ELSEWHERE = ', endpoint_url = "http://localhost:8000", server = "alternator" }'


class Mixed(World):
    """Three regions, some of which are Alternator's."""

    def __init__(self, seed: int, odd: Sequence[str], writes: Sequence[str] = HYBRID) -> None:
        super().__init__(seed, writes)
        self.odd = {
            name: Imitation(
                self.regions[name].db, clock=now_ms, seed=seed, shards=4, visible_after_s=3
            )
            for name in odd
        }
        lines = [
            line.replace(" }", ELSEWHERE) if any(name in line for name in odd) else line
            for line in CONFIG.splitlines()
        ]
        text = "\n".join(lines)
        self.wiring = Wiring(
            load(text),
            connect=self.through,
            clock=now_ms,
            backoff=Backoff(draw=Random(seed).random),
        )

    def through(self, place: Place, transport: Transport) -> DynamoDB:
        return self.odd.get(place.region) or self.connect(place, transport)


def ended(seed: int, odd: Sequence[str], writes: Sequence[str] = HYBRID) -> list[str]:
    async def main() -> list[str]:
        world = Mixed(seed, odd, writes)
        await world.init()
        world.strike(seed, 0.05)
        await consume(world)
        assert all(one.pairs for one in world.odd.values())
        return world.complaints()

    return run(main)


@pytest.mark.parametrize("odd", [REGIONS, REGIONS[:1], REGIONS[1:]], ids=["all", "one", "two"])
@pytest.mark.parametrize("seed", range(3))
def test_replicas_end_equal_and_losers_are_kept(seed: int, odd: Sequence[str]) -> None:
    """Writers everywhere, throttles, lost answers, restarts; with as much told otherwise as can
    be: equal, every loser in a journal.
    """
    assert ended(seed, odd) == []


@pytest.mark.parametrize("seed", range(2))
def test_applications_without_versions_end_equal(seed: int) -> None:
    """An application that knows nothing of versions is mirrored there too."""
    found = ended(seed, REGIONS, ("keep", "put-plain"))

    assert [one for one in found if "differs" in one] == []


def test_half_a_put_taken_for_a_delete_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without joining the two records, saves get lost: these histories would tell."""

    def never(_: StreamRecord, __: StreamRecord) -> bool:
        return False

    monkeypatch.setattr(pairs, "is_pair", never)

    assert any(ended(seed, REGIONS) for seed in range(3))
