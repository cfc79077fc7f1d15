"""``dynamirror backfill``: what it says before it starts, who must agree, and what comes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli.test_commands import CONFIG as ONE_WAY
from tests.cli.test_commands import dynamirror
from tests.cli.test_two_way import CONFIG as TWO_WAY
from tests.cli.test_two_way import item, save
from tests.engine.regions import Regions

from dynamirror.cli.backfill import array_job
from dynamirror.cli.main import cli
from dynamirror.core.ledger import Ledger, Tombstone
from dynamirror.core.prices import Use
from dynamirror.core.rank import Peers
from dynamirror.core.values import Wire, keys_of_row, row_key
from dynamirror.errors import AccessDeniedError, DynamirrorError, Exit
from dynamirror.wiring import Wiring

ITEMS = 40


def made(tmp_path: Path, text: str, guard: str = "order") -> tuple[Regions, Path]:
    """Return two regions with everything that a mirror needs, and its configuration."""
    regions = Regions()
    regions.now_ms = int(time.time() * 1_000)
    regions.source()
    path = tmp_path / "mirrors.toml"
    path.write_text(text.replace("{guard}", guard))
    assert dynamirror(regions, "init", path, "--yes").exit_code == Exit.DONE
    return regions, path


def filled(tmp_path: Path, guard: str) -> tuple[Regions, Path]:
    regions, path = made(tmp_path, ONE_WAY, guard)
    for number in range(ITEMS):
        regions.put({"id": {"S": f"k{number:02}"}, "text": {"S": "x" * 1_500}})
    return regions, path


def events(result: Result) -> dict[str, dict[str, Any]]:
    told = [json.loads(line) for line in result.stdout.splitlines()]
    return {one["event"]: one for one in told}


@pytest.mark.parametrize("guard", ["order", "ledger"])
def test_what_it_costs_is_told_before_and_is_what_was_consumed(tmp_path: Path, guard: str) -> None:
    """Items of 1.5 KB take two write units each, and six in a transaction with a ledger row."""
    regions, path = filled(tmp_path, guard)

    told = events(dynamirror(regions, "backfill", path, "--yes", "--json"))

    forecast, summary = told["estimate"], told["summary"]
    assert forecast["items"] == summary["items"] == ITEMS
    assert forecast["write_units"] == ITEMS * {"order": 2, "ledger": 6}[guard]
    assert summary["write_units"] == pytest.approx(forecast["write_units"], rel=0.35)
    assert summary["read_units"] == pytest.approx(forecast["read_units"], rel=0.35)
    use = Use(forecast["read_units"], forecast["write_units"], forecast["bytes"])
    assert forecast["usd"] == pytest.approx(use.usd, rel=0.01)


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_without_anybody_to_agree_nothing_is_copied(tmp_path: Path, more: tuple[str]) -> None:
    """Exit 2, and what to type."""
    regions, path = filled(tmp_path, "order")

    result = dynamirror(regions, "backfill", path, *more)

    assert result.exit_code == Exit.UNUSABLE
    assert "say --yes" in result.stderr
    assert not regions.eu.table("Stories").items


@pytest.mark.parametrize(("answer", "copied"), [("y\n", ITEMS), ("\n", ITEMS), ("n\n", 0)])
def test_somebody_at_a_terminal_is_asked(
    tmp_path: Path, answer: str, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions, path = filled(tmp_path, "order")
    monkeypatch.setattr("dynamirror.cli.backfill.at_a_terminal", lambda: True)

    result = CliRunner().invoke(cli, ["backfill", str(path)], input=answer, obj=regions.api_of)

    assert result.exit_code == (Exit.DONE if copied else Exit.UNUSABLE)
    assert "80 write units" in result.stderr
    assert len(regions.eu.table("Stories").items) == copied


def test_a_child_of_an_array_job_takes_its_share() -> None:
    """AWS Batch counts from 0."""
    assert array_job({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "8"}) == "1/8"
    assert array_job({}) is None


def test_a_rate_of_write_units_is_kept(tmp_path: Path) -> None:
    """80 units at 100 a second take the better part of a second, be they 25 to a request or one."""
    for guard, units in (("order", 80), ("ledger", 240)):
        regions, path = filled(tmp_path, guard)
        since = time.monotonic()
        arguments = ("--yes", "--max-write-units", units, "--max-read-units", 1_000)
        assert dynamirror(regions, "backfill", path, *arguments).exit_code == Exit.DONE
        assert 0.3 < time.monotonic() - since < 5


def test_a_delete_that_a_ledger_knows_is_carried_and_not_undone(tmp_path: Path) -> None:
    """It was on its way when history was lost: at one replica the item is gone, and at the other
    it is there yet. One that no ledger knows can't be told from an item that was never there.
    """
    regions, path = made(tmp_path, TWO_WAY)
    for name in ("known", "unknown", "made again"):
        save(regions.eu, name, 5)
    save(regions.us, "made again", 9)
    ledger = Ledger(Peers(["us-east-1", "eu-west-1"]))
    now_s = regions.now_ms // 1_000
    rank = Peers(["us-east-1", "eu-west-1"]).rank(6, "us-east-1")
    for name in ("known", "made again"):
        row = row_key("sessions", ("S", name))
        tombstone = Tombstone(rank, {}, now_s + 86_400)
        bury = ledger.bury("Stories-dynamirror-ledger", row, tombstone, now_s)
        regions.us.perform("UpdateItem", bury)

    told = events(dynamirror(regions, "backfill", path, "--yes", "--json"))

    assert told["summary"]["deletes"] == 2
    assert item(regions.us, "known") is None
    assert item(regions.eu, "known") is None
    assert item(regions.us, "unknown") is not None
    assert item(regions.eu, "made again")["version"] == {"N": "9"}  # type: ignore[index]


def test_two_way_counts_tell_what_was_there_already(tmp_path: Path) -> None:
    """Per side: what it has, and how much of that the other had too."""
    regions, path = made(tmp_path, TWO_WAY)
    save(regions.us, "here", 5)
    save(regions.us, "both", 5)
    save(regions.eu, "both", 7)
    save(regions.eu, "without", None)

    told = events(dynamirror(regions, "backfill", path, "--yes", "--json"))["summary"]

    sides = {side["mirror"]: side for side in told["mirrors"]}
    assert sides["sessions/us-east-1"]["skipped"] == 1
    assert sides["sessions/eu-west-1"]["raised"] == 1
    assert told["items"] >= 4


@pytest.mark.parametrize("key", [("S", "a:b"), ("N", "10"), ("S", "ü", "B", "AAE="), ("S", "")])
def test_a_ledgers_row_tells_its_key(key: tuple[str, ...]) -> None:
    """And another mirror's, or a hash of one, tells none."""
    names = ["id", "at"][: len(key) // 2]
    keys = keys_of_row(row_key("m", key), "m", names)

    assert keys == {
        name: {kind: text}
        for name, kind, text in zip(sorted(names), key[::2], key[1::2], strict=True)
    }
    assert keys_of_row(row_key("other", key), "m", names) is None
    assert keys_of_row(row_key("m", ("S", "x" * 3_000)), "m", ["id"]) is None


class Functions:
    """What Lambda tells of a stream's mappings."""

    def __init__(self, found: Wire | DynamirrorError) -> None:
        self._found = found

    async def call(self, *_: str, **__: str) -> Wire:
        if isinstance(self._found, DynamirrorError):
            raise self._found
        return {"EventSourceMappings": [self._found]}

    async def close(self) -> None: ...


def mapping(name: str, state: str) -> Wire:
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
    return {"UUID": "1", "FunctionArn": arn, "State": state}


@pytest.mark.parametrize(
    ("found", "guard", "more", "end", "said"),
    [
        (mapping("f", "Enabled"), "order", (), Exit.UNUSABLE, "delivered to f"),
        (mapping("f", "Disabled"), "order", (), Exit.DONE, ""),
        (mapping("f", "Disabling"), "item", (), Exit.UNUSABLE, "--deployed"),
        (mapping("f", "Enabled"), "order", ("--other-function", "f"), Exit.DONE, ""),
        (mapping("f", "Enabled"), "ledger", (), Exit.DONE, ""),
        (
            AccessDeniedError("AccessDeniedException", "not allowed"),
            "order",
            (),
            Exit.DONE,
            "doesn't tell",
        ),
    ],
)
def test_a_function_that_applies_the_stream_must_be_paused_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    found: Wire | DynamirrorError,
    guard: str,
    more: tuple[str, ...],
    end: Exit,
    said: str,
) -> None:
    """Nothing can ask it to pause, so copies could replace what it has applied meanwhile."""
    regions, path = filled(tmp_path, guard)
    monkeypatch.setattr(Wiring, "plane", lambda *_: Functions(found))
    monkeypatch.setattr("dynamirror.cli.backfill.on_aws", lambda _: True)

    result = dynamirror(regions, "backfill", path, "--yes", *more)

    assert result.exit_code == end
    assert said in result.stderr
    assert len(regions.eu.table("Stories").items) == (ITEMS if end is Exit.DONE else 0)
