"""Simulated histories of the whole one-way engine, under every guard, through views; and the engine
broken on purpose: each piece is shown to matter, and a checker to notice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.simulation.test_histories import BASE, SEEDS

from dynamirror.core import one_way
from dynamirror.core.progress import Progress
from dynamirror.core.record import StreamRecord
from dynamirror.core.values import Wire
from dynamirror.core.view.lens import Lens
from dynamirror.engine.stream.hold import Hold
from dynamirror.engine.writing.links import Links
from dynamirror.engine.writing.targets import CopyTarget, LedgerTarget, OrderTarget
from dynamirror.simulation import histories
from dynamirror.simulation.link import VIEWS
from dynamirror.simulation.one_way import OneWaySetting
from dynamirror.simulation.profiles import ONE_WAY

EACH = max(1, SEEDS // 5)
"""Histories per profile: the whole engine takes its time."""


@pytest.mark.parametrize("profile", ONE_WAY)
def test_whatever_happens_a_target_ends_as_the_view_of_its_source(profile: str) -> None:
    """Under kills, replays, lost and late requests, backfills, repairs and redrives beside: nothing
    missing, nothing extra, nothing written that the view never made, and verify agrees.
    """
    failures = histories.sweep(range(BASE, BASE + EACH), profile=profile)

    told = [
        f"python -m dynamirror.simulation --seed {seed} --profile {profile}: {failure.complaints}"
        for seed, failure in failures.items()
    ]
    assert told == []


def test_every_view_is_looked_through() -> None:
    settings = [histories.setting_of(seed, "one-way-order") for seed in range(100)]

    assert {one.view for one in settings if isinstance(one, OneWaySetting)} == set(VIEWS)


Break = Callable[[pytest.MonkeyPatch], None]


def squashing_all(patch: pytest.MonkeyPatch) -> None:
    """of a key's changes only the last is looked at, wherever the item was before"""
    patch.setattr(Lens, "squashed", lambda _self, _first, second: second)


def old_keys_kept(patch: pytest.MonkeyPatch) -> None:
    """an item that moves stays under its old key, too"""
    patch.setattr(Lens, "_before", lambda _self, _record, _image: None)


def leaving_unseen(patch: pytest.MonkeyPatch) -> None:
    """an item that leaves the view stays at the target"""
    patch.setattr(Lens, "_was_out", lambda _self, _record: True)


def one_key_before(patch: pytest.MonkeyPatch) -> None:
    """a redrive looks only for the key that an item had before the first parked change"""
    distinct = Lens.distinct

    def first(self: Lens, keys: Wire, images: Sequence[Wire]) -> Iterator[Wire]:
        yield from distinct(self, keys, images[:1])

    patch.setattr(Lens, "distinct", first)


def copies_bare(patch: pytest.MonkeyPatch) -> None:
    """a backfill copies items as they are"""
    patch.setattr(
        Links,
        "_copy_target",
        lambda self, place, epoch: OrderTarget(
            place.name, self._targets[place.name], self.rules(place, epoch or 1)
        ),
    )


def copies_unguarded(patch: pytest.MonkeyPatch) -> None:
    """under guard ledger, copies go over what the stream brought"""
    patch.setattr(CopyTarget, "send", OrderTarget.send)
    patch.setattr(CopyTarget, "records_max", 1)


def never_paused(patch: pytest.MonkeyPatch) -> None:
    """the engine goes on while a segment is copied"""

    async def entered(self: Hold) -> Hold:
        self._until_ms = 1 << 62
        return self

    patch.setattr(Hold, "__aenter__", entered)


def ledger_without_condition(patch: pytest.MonkeyPatch) -> None:
    """late and duplicate changes are applied"""
    patch.setattr(one_way, "_NEWER", "attribute_not_exists(#q) OR #q <> :q")


def done_too_soon(patch: pytest.MonkeyPatch) -> None:
    """positions move over what is not applied yet"""
    hand_in = Progress.hand_in

    def handed_in(self: Progress, *given: Any, **named: Any) -> Any:
        page = hand_in(self, *given, **named)
        self.settle(page)
        return page

    patch.setattr(Progress, "hand_in", handed_in)


def unprocessed_unseen(patch: pytest.MonkeyPatch) -> None:
    """what a batch leaves undone counts as done"""
    send = OrderTarget.send

    async def sent(self: OrderTarget, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        await send(self, records)
        return ()

    patch.setattr(OrderTarget, "send", sent)


def refusals_unseen(patch: pytest.MonkeyPatch) -> None:
    """what is refused counts as written, and is not parked"""
    send = LedgerTarget.send

    async def sent(self: LedgerTarget, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        with contextlib.suppress(Exception):
            return await send(self, records)
        return ()

    patch.setattr(LedgerTarget, "send", sent)


KILLERS: dict[Break, tuple[str, int]] = {
    copies_bare: ("one-way-order", 4),
    copies_unguarded: ("one-way-ledger", 1),
    done_too_soon: ("one-way-ledger", 32),
    leaving_unseen: ("one-way-order", 14),
    ledger_without_condition: ("one-way-ledger", 0),
    never_paused: ("one-way-order", 34),
    old_keys_kept: ("one-way-order", 1),
    one_key_before: ("one-way-order", 7),
    refusals_unseen: ("one-way-ledger", 15),
    squashing_all: ("one-way-order", 2),
    unprocessed_unseen: ("one-way-order", 26),
}
"""A history that shows each; an engine that sends its requests in another order tells others, so
some more are tried.
"""

MORE = 60


@pytest.mark.parametrize("broken", KILLERS, ids=lambda one: one.__name__)
def test_a_broken_engine_is_noticed(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece matters: broken, a history ends badly that ends well as shipped."""
    profile, first = KILLERS[broken]
    with monkeypatch.context() as patch:
        broken(patch)
        seeds = range(first, first + MORE)
        seed = next(seed for seed in seeds if histories.run(seed, profile=profile) is not None)

    assert histories.run(seed, profile=profile) is None


def test_a_history_is_its_seed_and_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees it fail reads the few steps that it takes, twice the same."""
    squashing_all(monkeypatch)
    profile, first = KILLERS[squashing_all]
    failures = (histories.run(seed, profile=profile) for seed in range(first, first + MORE))
    failure = next(one for one in failures if one is not None)

    small = histories.shrunk(failure, tries=60)

    assert len(small.tickets) < len(failure.tickets)
    assert histories.told(small) == histories.told(small)
