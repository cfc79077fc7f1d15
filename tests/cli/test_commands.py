from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.engine.regions import BACKOFF, TARGET, Regions
from tests.engine.world import change

from dynamirror.cli.main import COMMANDS, cli
from dynamirror.config.model import Place, Transport
from dynamirror.engine.held.parking import Parking
from dynamirror.errors import Exit, ThrottledError, TransientError
from dynamirror.memory.dynamodb import MemoryDynamoDB

CONFIG = """
[mirrors.stories]
mode = "one-way"
guard = "{guard}"
on_poison = "park"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""

OTHERS = (
    *("demo", "conflicts", "replica", "detach", "view"),
    *("deploy", "destroy", "template", "package", "route"),
)
"""Commands for other mirrors, for AWS as a whole, or for one item."""

MIRRORING = [name for name in COMMANDS if name not in OTHERS]
"""Commands that have something to do for a one-way mirror."""

LOOKS = ("check", "init", "status", "pause", "resume", "limit")
"""Commands whose JSON is one document."""

MORE = {"run": ["--once"], "backfill": ["--yes"], "limit": ["--max-writes-per-second", "9"]}
"""What a command wants beside the configuration."""


@pytest.fixture
def regions() -> Regions:
    """Two regions with a source of three items; init has been run."""
    made = Regions()
    made.now_ms = int(time.time() * 1_000)  # the engine's clock is this machine's
    made.source()
    made.init()
    for name in "abc":
        made.put({"id": {"S": name}, "n": {"N": "1"}})
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mirrors.toml"
    path.write_text(CONFIG.replace("{guard}", "order"))
    return path


def dynamirror(regions: Regions, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments], obj=regions.api_of)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


PATTERN = """
[mirrors.prod]
mode = "one-way"
source = { region = "us-east-1", table = "prod-*" }
targets = [{ region = "eu-west-1", table = "copy-of-*" }]

[mirrors.special]
mode = "one-way"
source = { region = "us-east-1", table = "prod-special" }
targets = [{ region = "eu-west-1" }]
"""


VIEWS = """
[mirrors.people]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
where = "n < 9"
targets = [
  { region = "eu-west-1" },
  { region = "eu-west-1", name = "b", table = "Bbb", attributes = { rename = { id = "pk" } } },
  { region = "eu-west-1", name = "c", table = "Ccc", where = "n > 1" },
  { region = "eu-west-1", name = "d", table = "Ddd", attributes = { exclude = ["id"] } },
]
"""


NOT_THERE = (
    "it can't be there: the view can't be had: exclude names the key attribute 'id': two items "
    "might become one, and none could be traced back to its source; keep keys, or rename them"
)


def test_an_item_is_shown_before_and_after(regions: Regions, tmp_path: Path) -> None:
    """As each target is to have it: the same, in another shape, not at all, or why it can't."""
    config = tmp_path / "mirrors.toml"
    config.write_text(VIEWS)
    regions.put({"id": {"S": "x"}, "n": {"N": "1"}})
    result = dynamirror(regions, "view", config, "--key", '{"id": "x"}')

    assert result.exit_code == Exit.FINDING
    assert result.stdout.splitlines() == [
        "people, at us-east-1:",
        '    id = {"S":"x"}',
        '    n = {"N":"1"}',
        "at eu-west-1: the same",
        "at b:",
        '    n = {"N":"1"}',
        '  * pk = {"S":"x"}',
        "at c: out of view",
        f"at d: {NOT_THERE}",
    ]
    told = dynamirror(regions, "view", config, "--key", '{"id": {"S": "none"}}', "--json")
    assert told.exit_code == Exit.FINDING
    assert json.loads(told.stdout)["mirrors"][0]["image"] is None


def test_a_changed_view_says_so_until_the_tables_were_compared(
    regions: Regions, config: Path
) -> None:
    """What was mirrored before is as the old view had it: status and check ask for a verify."""
    regions.put({"id": {"S": "x"}, "n": {"N": "9"}})
    assert dynamirror(regions, "backfill", config, "--yes").exit_code == Exit.DONE
    assert dynamirror(regions, "status", config).exit_code == Exit.DONE

    config.write_text(f'{config.read_text()}where = "n < 9"\n')
    told = dynamirror(regions, "run", config, "--once")
    assert "the view of eu-west-1 has changed" in told.stderr
    status = dynamirror(regions, "status", config)
    assert status.exit_code == Exit.FINDING
    assert "the view of eu-west-1 has changed since it was copied or verified" in status.stdout
    assert "the view of eu-west-1 has changed" in dynamirror(regions, "check", config).stdout

    assert dynamirror(regions, "verify", config, "--settle", 0).exit_code == Exit.FINDING
    assert dynamirror(regions, "status", config).exit_code == Exit.FINDING
    mended = dynamirror(regions, "verify", config, "--settle", 0, "--repair", "--yes")
    assert mended.exit_code == Exit.DONE, mended.output
    assert dynamirror(regions, "status", config).exit_code == Exit.DONE
    assert {"id": {"S": "x"}, "n": {"N": "9"}} not in regions.eu.table("Stories").contents()


@pytest.mark.parametrize("key", ["id", '{"id": true}', '{"id": {"X": "a"}}', "{}"])
def test_a_key_that_is_none_is_an_error(key: str, regions: Regions, config: Path) -> None:
    """With what to write."""
    result = dynamirror(regions, "view", config, "--key", key)

    assert result.exit_code == Exit.UNUSABLE
    assert "write {" in result.stderr.replace("'", "")


def test_a_numeric_key_is_found_by_every_one_of_its_digits(tmp_path: Path) -> None:
    """DynamoDB's numbers have 38 digits, floats 17: a key that was rounded is another item's."""
    number = "12345678901234567890123456789012345678"
    regions = Regions()
    types = [{"AttributeName": "id", "AttributeType": "N"}]
    regions.source(AttributeDefinitions=types)
    regions.init()
    regions.put({"id": {"N": number}})
    config = tmp_path / "mirrors.toml"
    config.write_text(CONFIG.replace("{guard}", "order"))

    for given in (number, f"{number}.0", f'{{"N": "{number}"}}'):
        key = f'{{"id": {given}}}'
        told = dynamirror(regions, "view", config, "--key", key, "--json")
        assert told.exit_code == Exit.DONE, told.output
        image = json.loads(told.stdout)["mirrors"][0]["image"]
        assert image == {"id": {"N": number}}


def test_a_pattern_mirrors_every_table_of_the_name(regions: Regions, tmp_path: Path) -> None:
    """Each has a mirror of its own; ours, others' and such as another mirror names are left out."""
    config = tmp_path / "mirrors.toml"
    config.write_text(PATTERN)
    for name in ("prod-a", "prod-special", "test-a"):
        regions.source(TableName=name)
        regions.put({"id": {"S": name}}, name)

    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    regions.source(TableName="prod-b")  # a new table is enrolled by the next init
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    assert dynamirror(regions, "backfill", config, "--yes").exit_code == Exit.DONE
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    result = dynamirror(regions, "status", config, "--json")
    assert {one["mirror"] for one in json.loads(result.stdout)["mirrors"]} == {
        "prod.prod-a",
        "prod.prod-b",
        "special",
    }
    assert regions.eu.table("copy-of-a").contents() == [{"id": {"S": "prod-a"}}]
    assert regions.eu.table("prod-special").contents() == [{"id": {"S": "prod-special"}}]
    one = dynamirror(regions, "verify", config, "--mirror", "prod")
    assert one.exit_code == Exit.DONE
    assert "special" not in one.stdout


def test_a_pattern_that_matches_nothing_is_an_error(regions: Regions, tmp_path: Path) -> None:
    """Rather than a run that does nothing and says nothing."""
    config = tmp_path / "mirrors.toml"
    config.write_text(PATTERN.partition("[mirrors.special]")[0])
    result = dynamirror(regions, "run", config, "--once")

    assert result.exit_code == Exit.UNUSABLE
    assert "no table matches 'prod-*'" in result.stderr


def test_a_mirror_from_nothing(regions: Regions, config: Path) -> None:
    """Check, init, backfill, run, verify: what a newcomer types ends with equal tables."""
    regions.us.perform("DeleteTable", {"TableName": "Stories-dynamirror-checkpoints"})

    assert dynamirror(regions, "check", config).exit_code == Exit.UNUSABLE
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    assert dynamirror(regions, "check", config).exit_code == Exit.DONE
    assert dynamirror(regions, "backfill", config, "--yes").exit_code == Exit.DONE
    regions.put({"id": {"S": "d"}})
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    result = dynamirror(regions, "verify", config)
    assert result.exit_code == Exit.DONE
    assert "stories: equal, 4 items compared" in result.stdout
    assert len(regions.eu.table("Stories").items) == 4


def test_init_without_yes_only_shows(config: Path) -> None:
    """A plan is shown before anything is done, and is not done without --yes."""
    regions = Regions()
    regions.source()

    result = dynamirror(regions, "init", config)

    assert result.exit_code == Exit.DONE
    assert "1. create table eu-west-1/Stories like us-east-1/Stories" in result.stdout
    assert "nothing was changed; --yes does it" in result.stdout
    assert regions.called == []


def test_a_second_init_has_nothing_to_do(regions: Regions, config: Path) -> None:
    """Init can be run again at any time."""
    result = dynamirror(regions, "init", config, "--yes")

    assert (result.exit_code, result.stdout) == (
        Exit.DONE,
        "nothing to do: everything is there\n",
    )


def test_drift_is_told_item_by_item(regions: Regions, config: Path) -> None:
    """Verify exits 1 on drift and names each item; as JSON, a line each and a summary last."""
    result = dynamirror(regions, "verify", config)
    told = lines(dynamirror(regions, "verify", config, "--json"))

    assert result.exit_code == Exit.FINDING
    assert 'stories: missing at eu-west-1: {"id":{"S":"a"}}' in result.stdout
    assert [one["kind"] for one in told if one["event"] == "drift"] == ["missing"] * 3
    assert told[-1]["event"] == "summary"
    assert (told[-1]["equal"], told[-1]["missing"]) == (False, 3)


def test_lost_history_is_an_exit_status_of_its_own(regions: Regions, config: Path) -> None:
    """A re-created stream: run and status exit 3 and say what to do, until a backfill."""
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    for on in ({"StreamEnabled": False}, {"StreamEnabled": True}):
        specification = {**on, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        regions.us.perform(
            "UpdateTable", {"TableName": "Stories", "StreamSpecification": specification}
        )
        regions.now_ms += 1_000

    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.HISTORY_LOST
    result = dynamirror(regions, "status", config)
    assert result.exit_code == Exit.HISTORY_LOST
    assert "stories  lost " in result.stdout
    assert f"dynamirror backfill {config} --mirror stories" in result.stdout
    assert dynamirror(regions, "backfill", config, "--yes").exit_code == Exit.DONE
    assert dynamirror(regions, "status", config).exit_code == Exit.DONE


def test_nothing_parked_is_nothing_to_redrive(regions: Regions, config: Path) -> None:
    """Redrive says so where there is nothing to do."""
    result = dynamirror(regions, "redrive", config)

    assert (result.exit_code, result.stdout) == (Exit.DONE, "stories: nothing is parked\n")


FAR = "ap-southeast-2"


class Unreachable:
    """A table that nobody answers for."""

    async def call(self, operation: str, _: bytes) -> bytes:
        raise TransientError("Timeout", f"no answer to {operation}")

    async def close(self) -> None: ...


def test_a_target_that_does_not_answer_is_left_by_a_redrive(regions: Regions, config: Path) -> None:
    """What is parked for the others is redriven; the command says who was left, and exits 1."""
    one = '{ region = "eu-west-1" }'
    config.write_text(config.read_text().replace(one, f'{one}, {{ region = "{FAR}" }}'))
    far = MemoryDynamoDB(FAR, clock=lambda: regions.now_ms)
    away = False

    def connect(place: Place, _: Transport) -> Any:
        if place.region != FAR:
            return regions.api_of(place)
        return Unreachable() if away else far

    def command(*words: str) -> Result:
        name, *options = words
        return CliRunner().invoke(cli, [name, str(config), *options], obj=connect)

    async def park() -> None:
        parked, clock = regions.mirror.parked, lambda: regions.now_ms
        parking = Parking(regions.us, parked, "stories", 1, clock=clock, backoff=BACKOFF)
        for target in (TARGET.name, FAR):
            await parking.park(change("a", 1), target, None)

    assert command("init", "--yes").exit_code == Exit.DONE
    asyncio.run(park())
    away = True
    result = command("redrive", "--json")
    told, summary = lines(result)
    assert (result.exit_code, told["event"], told["target"]) == (Exit.FINDING, "away", FAR)
    assert (summary["keys"], summary["changes"], summary["left"]) == (0, 1, 1)
    assert list(regions.eu.table("Stories").items) == [("a",)]

    away = False
    assert command("redrive").exit_code == Exit.DONE
    assert list(far.table("Stories").items) == [("a",)]


@pytest.mark.parametrize("command", ["init", "backfill", "verify"])
def test_an_unknown_mirror_is_an_error_that_names_the_known(
    command: str, regions: Regions, config: Path
) -> None:
    """A misspelt --mirror exits 2 and lists the mirrors there are."""
    result = dynamirror(regions, command, config, "--mirror", "storys")

    assert result.exit_code == Exit.UNUSABLE
    assert "has no mirror 'storys'; it has: stories" in result.stderr


@pytest.mark.parametrize("command", MIRRORING)
def test_json_is_all_there_is_on_stdout(command: str, regions: Regions, config: Path) -> None:
    """With --json, what a program reads is JSON from the first byte to the last."""
    more = MORE.get(command, [])
    dynamirror(regions, "backfill", config, "--yes")

    result = dynamirror(regions, command, config, "--json", *more)

    told = [json.loads(result.stdout)] if command in LOOKS else lines(result)
    assert told
    assert command in LOOKS or all("event" in one for one in told)


@pytest.mark.parametrize("command", MIRRORING)
def test_what_is_not_a_terminal_gets_plain_text(
    command: str, regions: Regions, config: Path
) -> None:
    """No colours, no bars and no lines that redraw themselves in a pipe or a log file."""
    more = MORE.get(command, [])
    dynamirror(regions, "backfill", config, "--yes")

    result = dynamirror(regions, command, config, *more)

    assert "\x1b" not in result.output
    assert "\r" not in result.output


def test_one_mirrors_failure_does_not_hide_anothers_end(regions: Regions, config: Path) -> None:
    """Mirrors are worked on side by side; the exit status is the gravest, the rest still told."""
    more = CONFIG.replace("{guard}", "order").replace("stories", "other")
    more = more.replace('"Stories"', '"Absent"')
    config.write_text(config.read_text() + more)

    result = dynamirror(regions, "status", config, "--json")

    told = json.loads(result.stdout)
    assert result.exit_code == Exit.UNUSABLE
    assert [one["mirror"] for one in told["mirrors"]] == ["stories"]
    assert [one["mirror"] for one in told["errors"]] == ["other"]


@pytest.mark.parametrize("command", LOOKS)
def test_commands_that_look_give_up(command: str, regions: Regions, config: Path) -> None:
    """A service that never answers ends a command with status 2; it doesn't hang."""

    async def refuse(_: str, __: bytes) -> None:
        raise ThrottledError("ThrottlingException", "slow down")

    regions.us.before = refuse

    result = dynamirror(regions, command, config, *MORE.get(command, []))

    assert result.exit_code == Exit.UNUSABLE
    assert "failed 5 times" in result.stderr


@pytest.mark.parametrize("segment", ["0/4", "5/4", "x", "1", "1/0"])
def test_segments_count_from_one(segment: str, regions: Regions, config: Path) -> None:
    """A share that isn't one of N is refused before anything is copied."""
    result = dynamirror(regions, "backfill", config, "--yes", "--segment", segment)

    assert result.exit_code == Exit.UNUSABLE
    assert "write I/N" in result.stderr


def test_the_shares_of_a_backfill_are_the_whole(regions: Regions, config: Path) -> None:
    """N machines with a share each copy everything."""
    for share in ("1/2", "2/2"):
        assert (
            dynamirror(regions, "backfill", config, "--yes", "--segment", share).exit_code
            == Exit.DONE
        )

    assert len(regions.eu.table("Stories").items) == 3


def test_what_is_to_be_typed_names_the_file_in_use(config: Path) -> None:
    """Hints and remedies can be copied as they are, in text and in JSON."""
    regions = Regions()
    regions.source()

    texts = [dynamirror(regions, "check", config, *more).output for more in ((), ("--json",))]

    for text in texts:
        assert f"dynamirror init {config} --yes" in text
        assert "CONFIG" not in text
    assert f"dynamirror init {config}" in dynamirror(Regions(), "status", config).output


def test_findings_fit_a_terminal(config: Path) -> None:
    """Lines end between words, at 80 columns; what is to be typed stays in one piece."""
    regions = Regions()
    regions.source()

    told = dynamirror(regions, "check", config).stdout.splitlines()

    assert any(f"`dynamirror init {config} --yes`" in line for line in told)
    assert [line for line in told if len(line) > 80 and str(config) not in line] == []


def wait_drained(regions: Regions, config: Path, *more: object) -> Result:
    """Wait with the shortest of patience: the memory's stream shows changes at once."""
    return dynamirror(regions, "status", config, "--wait-drained", "--settle", 0, *more)


def test_the_barrier_opens_when_everything_is_applied(regions: Regions, config: Path) -> None:
    """Not drained within the time is 1 and says why; drained is 0, in text and in JSON."""
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    regions.put({"id": {"S": "d"}})

    behind = wait_drained(regions, config, "--timeout", 1)
    assert behind.exit_code == Exit.FINDING
    assert "stories: not drained: 1 shard is behind, and nobody reads the stream" in behind.stdout

    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    assert wait_drained(regions, config).exit_code == Exit.DONE
    told = json.loads(wait_drained(regions, config, "--json").stdout)
    assert told["drained"] is True
    assert [one["why"] for one in told["mirrors"]] == [None]


def test_the_barrier_waits_for_every_mirror_of_the_file(regions: Regions, config: Path) -> None:
    """In a chain what has reached the first target is not yet everywhere; each mirror is told."""
    onward = """
[mirrors.onward]
mode = "one-way"
source = { region = "eu-west-1", table = "Stories" }
targets = [{ region = "us-east-1", table = "Copy" }]
"""
    first = config.read_text()
    config.write_text(first + onward)
    assert dynamirror(regions, "init", config, "--yes").exit_code == Exit.DONE
    for _ in range(2):
        assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    regions.put({"id": {"S": "e"}})
    config.write_text(first)
    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    config.write_text(first + onward)

    behind = wait_drained(regions, config, "--timeout", 8, "--json")
    assert behind.exit_code == Exit.FINDING
    told = {one["mirror"]: one["why"] for one in json.loads(behind.stdout)["mirrors"]}
    assert "nobody reads the stream" in told["onward"]
    assert "nobody" not in told["stories"]

    assert dynamirror(regions, "run", config, "--once").exit_code == Exit.DONE
    assert wait_drained(regions, config).exit_code == Exit.DONE
    assert len(regions.us.table("Copy").items) == 4


def test_the_barrier_names_a_source_that_is_not_there(config: Path) -> None:
    """A mistake is an error, not a wait without end."""
    result = wait_drained(Regions(), config, "--timeout", 5)

    assert result.exit_code == Exit.UNUSABLE
    assert "there is no table 'Stories'" in result.stderr
